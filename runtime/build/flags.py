"""The `--flags` of instructions: which there are, and how they are taken off the line (Dockerfile reference)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from runtime.build.errors import DockerfileError, suggestion

Flag = tuple[str, str | None]
"""Name and value, None where none was written."""

FLAGS: Mapping[str, Sequence[str]] = {
    "FROM": ("platform",),
    "RUN": ("mount", "network", "security"),
    "COPY": ("from", "chown", "chmod", "link", "parents", "exclude"),
    "ADD": ("chown", "chmod", "link", "exclude", "checksum", "keep-git-dir", "unpack"),
    "HEALTHCHECK": ("interval", "timeout", "start-period", "start-interval", "retries"),
}
"""The flags of each instruction; the others have none."""
SWITCHES = ("link", "parents", "keep-git-dir", "unpack")
REPEATED = ("mount", "exclude")


def take_flags(rest: str, keyword: str, line: int) -> tuple[tuple[Flag, ...], str]:
    """Return the flags that `rest`, the text after `keyword`, begins with, and what follows them.

    Quotes are taken away, and so is a backslash before a character. Raises DockerfileError for a flag that `keyword` does
    not have, that is there twice, or that lacks its value.
    """
    flags: list[Flag] = []
    position = 0
    while rest.startswith("--", position):
        word, position = _word(rest, position)
        while position < len(rest) and rest[position].isspace():
            position += 1
        if word == "--":
            break
        flags.append(_checked(word, keyword, line, flags))
    return tuple(flags), rest[position:]


def _word(text: str, position: int) -> tuple[str, int]:
    word: list[str] = []
    quote = ""
    while position < len(text):
        character = text[position]
        if not quote and character.isspace():
            break
        position += 1
        if character == quote:
            quote = ""
        elif not quote and character in "\"'":
            quote = character
        elif character == "\\":
            word.append(text[position : position + 1])
            position += 1
        else:
            word.append(character)
    return "".join(word), position


def _checked(word: str, keyword: str, line: int, before: Sequence[Flag]) -> Flag:
    name, equals, value = word[2:].partition("=")
    own = FLAGS.get(keyword, ())
    if name not in own:
        hint = suggestion(f"--{name}", [f"--{flag}" for flag in own])
        raise DockerfileError(f"unknown flag: --{name} for {keyword}", line, hint)
    if name not in REPEATED and any(name == other for other, _ in before):
        raise DockerfileError(f"duplicate flag specified: --{name}", line, "write it once")
    if name not in SWITCHES:
        if not equals:
            raise DockerfileError(f"missing a value on flag: --{name}", line, f"write --{name}=…")
        return name, value
    if equals and not value:
        raise DockerfileError(f"missing a value on flag: --{name}", line, "write true or false")
    if equals and value.lower() not in ("true", "false"):
        raise DockerfileError(f"expecting boolean value for flag {name}, not: {value}", line, "write true or false")
    return name, value.lower() if equals else None
