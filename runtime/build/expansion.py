"""Variables and quotes in a Dockerfile's words.

`$name`, `${name}`, `${name:-word}`, `:+`, `:?` and their forms without colon, and `#`, `##`, `%`, `%%`, `/`, `//` with
shell patterns. Source: Dockerfile reference, "Environment replacement".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from runtime.build.errors import DockerfileError

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*|[0-9@*#?\-$!]")


def expand(
    word: str, variables: Mapping[str, str], escape: str = "\\", seen: Callable[[str], object] | None = None
) -> str:
    """Return `word` with its quotes taken away and its variables replaced; an unset one is empty.

    `seen` takes the name of each variable that is used, also where it has a word for the case that it is unset. Raises
    DockerfileError (without a line) for an unclosed quote or brace, an unknown operator, and `${name:?message}`.
    """
    return _Scanner(word, variables, escape, seen=seen).word()


def expand_text(
    text: str, variables: Mapping[str, str], escape: str = "\\", seen: Callable[[str], object] | None = None
) -> str:
    """Return `text` (a here-document) with variables replaced and quotes as they are.

    A backslash is taken away before any character, as BuildKit does, and not only where a shell would.
    """
    return _Scanner(text, variables, escape, keep_quotes=True, seen=seen).word()


class _Scanner:
    def __init__(
        self,
        text: str,
        variables: Mapping[str, str],
        escape: str,
        keep_quotes: bool = False,
        seen: Callable[[str], object] | None = None,
    ) -> None:
        self.text = text
        self.position = 0
        self.variables = variables
        self.escape = escape
        self.keep_quotes = keep_quotes
        self._seen = seen or (lambda name: None)

    def word(self, until: str = "") -> str:
        """Read to the end, or to an unquoted character of `until`, which is consumed."""
        parts: list[str] = []
        while self.position < len(self.text):
            character = self.text[self.position]
            self.position += 1
            if until and character in until:
                return "".join(parts)
            parts.append(self._piece(character))
        if until:
            raise DockerfileError(f"syntax error: missing '{until}' in {self.text!r}")
        return "".join(parts)

    def _pattern(self, until: str) -> str:
        """Read a shell pattern up to `until`, which is consumed; what is escaped stays so, behind a backslash."""
        parts: list[str] = []
        while self.position < len(self.text):
            character = self.text[self.position]
            self.position += 1
            if character == until:
                return "".join(parts)
            if character == self.escape:
                parts.append("\\" + self.text[self.position : self.position + 1])
                self.position += 1
            else:
                parts.append(self._piece(character))
        raise DockerfileError(f"syntax error: missing '{until}' in {self.text!r}")

    def _piece(self, character: str) -> str:
        if character == "$":
            return self._variable()
        if character == self.escape:
            return self._escaped()
        if character == "'" and not self.keep_quotes:
            return self._single_quoted()
        if character == '"' and not self.keep_quotes:
            return self._double_quoted()
        return character

    def _escaped(self) -> str:
        following = self.text[self.position : self.position + 1]
        self.position += 1
        return following

    def _single_quoted(self) -> str:
        end = self.text.find("'", self.position)
        if end < 0:
            raise DockerfileError(
                f"unexpected end of statement while looking for matching single-quote in {self.text!r}"
            )
        start, self.position = self.position, end + 1
        return self.text[start:end]

    def _double_quoted(self) -> str:
        parts: list[str] = []
        while self.position < len(self.text):
            character = self.text[self.position]
            self.position += 1
            if character == '"':
                return "".join(parts)
            if character == "$":
                parts.append(self._variable())
            elif character == self.escape:
                following = self.text[self.position : self.position + 1]
                if following and following in ('"', "$", self.escape):
                    parts.append(following)
                    self.position += 1
                else:
                    parts.append(character)
            else:
                parts.append(character)
        raise DockerfileError(f"unexpected end of statement while looking for matching double-quote in {self.text!r}")

    def _variable(self) -> str:
        if self.text[self.position : self.position + 1] == "{":
            self.position += 1
            return self._braced()
        match = _NAME.match(self.text, self.position)
        if match is None:
            return "$"
        self.position = match.end()
        self._seen(match[0])
        return self.variables.get(match[0]) or ""

    def _braced(self) -> str:
        match = _NAME.match(self.text, self.position)
        if match is None:
            raise DockerfileError(f"syntax error: bad substitution in {self.text!r}")
        self.position = match.end()
        name, value = match[0], self.variables.get(match[0])
        operator = self._take(":") + self._take("-+?#%/}")
        if operator in ("}", "#", "%", "/") or operator.removeprefix(":") in ("-", "+", "?"):
            self._seen(name)
        if operator == "}":
            return value or ""
        if operator in ("#", "%", "/"):
            return self._by_pattern(operator + self._take(operator), value or "")
        if operator.removeprefix(":") not in ("-", "+", "?"):
            if self.position >= len(self.text):
                raise DockerfileError(f"syntax error: missing '}}' in {self.text!r}")
            shown = operator + self.text[self.position : self.position + 1]
            raise DockerfileError(f"unsupported modifier ({shown}) in substitution in {self.text!r}")
        word = self.word(until="}")
        is_set = bool(value) if operator.startswith(":") else value is not None
        if operator.endswith("-"):
            return value or "" if is_set else word
        if operator.endswith("+"):
            return word if is_set else ""
        if not is_set:
            raise DockerfileError(f"{name}: {word or 'not allowed to be unset'}")
        return value or ""

    def _take(self, allowed: str) -> str:
        character = self.text[self.position : self.position + 1]
        if character and character in allowed:
            self.position += 1
            return character
        return ""

    def _by_pattern(self, operator: str, value: str) -> str:
        if operator.startswith("/"):
            pattern = self._pattern(until="/")
            replacement = self.word(until="}")
            count = 0 if operator == "//" else 1
            return re.sub(
                shell_pattern(pattern, greedy=True), lambda _match: replacement, value, count=count, flags=re.DOTALL
            )
        longest = len(operator) == 2
        expression = re.compile(shell_pattern(self._pattern(until="}"), greedy=longest), re.DOTALL)
        if operator.startswith("#"):
            match = expression.match(value)
            return value[match.end() :] if match else value
        starts = range(len(value) + 1) if longest else range(len(value), -1, -1)
        return next((value[:start] for start in starts if expression.fullmatch(value, start)), value)


def shell_pattern(pattern: str, greedy: bool) -> str:
    r"""Return a shell pattern (`*`, `?`, `\x`) as a regular expression."""
    parts: list[str] = []
    characters = iter(pattern)
    for character in characters:
        if character == "*":
            parts.append(".*" if greedy else ".*?")
        elif character == "?":
            parts.append(".")
        else:
            parts.append(re.escape(next(characters, "\\") if character == "\\" else character))
    return "".join(parts)
