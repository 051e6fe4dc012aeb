"""What an image's history says of each instruction, in BuildKit's words: tools read it there (`docker history`)."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from runtime.build import instructions as ins
from runtime.build.configure import exposed_ports

_ESCAPED = {
    "\a": "\\a",
    "\b": "\\b",
    "\f": "\\f",
    "\n": "\\n",
    "\r": "\\r",
    "\t": "\\t",
    "\v": "\\v",
    "'": "\\'",
    "\\": "\\\\",
}
"""How Go writes some characters between quotes, which the number of retries is shown as."""
COMMENT = "buildkit.dockerfile.v0"
"""The name of this form of history, not of who built the image."""
_UNITS = ((3600 * 10**9, "h"), (60 * 10**9, "m"))
_SMALL_UNITS = ((10**6, "ms"), (10**3, "µs"), (1, "ns"))


def created_by(
    instruction: ins.Instruction, config: Mapping[str, Any], word: Callable[[str], str], escape: str = "\\"
) -> str | None:
    """Return the history's text for an instruction that ran no command, None for one that has none.

    `config` is the configuration after it, `word` expands a word with the variables from before it.
    """
    if isinstance(instruction, ins.Env):
        return " ".join(["ENV", *(f"{word(name)}={word(value)}" for name, value in instruction.variables)])
    if isinstance(instruction, ins.Label):
        return " ".join(["LABEL", *(f"{word(name)}={word(value)}" for name, value in instruction.labels)])
    if isinstance(instruction, ins.Expose):
        return f"EXPOSE [{' '.join(exposed_ports(instruction, word, escape))}]"
    if isinstance(instruction, ins.VolumeInstruction):
        return f"VOLUME [{' '.join(word(path) for path in instruction.paths)}]"
    if isinstance(instruction, ins.Healthcheck):
        return f"HEALTHCHECK {_health(config.get('Healthcheck') or {})}"
    if isinstance(instruction, ins.Copy):
        return f"{_copy(instruction, word)} # buildkit"
    if isinstance(instruction, ins.OnBuild):
        return None
    texts: dict[type, Callable[[], str]] = {
        ins.Cmd: lambda: f"CMD {_quoted(config.get('Cmd') or ())}",
        ins.Entrypoint: lambda: f"ENTRYPOINT {_quoted(config.get('Entrypoint') or ())}",
        ins.User: lambda: f"USER {config.get('User', '')}",
        ins.StopSignal: lambda: f"STOPSIGNAL {config.get('StopSignal', '')}",
        ins.Shell: lambda: f"SHELL [{' '.join(config.get('Shell') or ())}]",
        ins.Workdir: lambda: f"WORKDIR {config.get('WorkingDir', '')}",
    }
    found = texts.get(type(instruction))
    return found() if found is not None else instruction.text


def dated(entries: Sequence[Mapping[str, Any]], created: str) -> list[dict[str, Any]]:
    """Return `entries`, those without a time with that of the next one that has any, or else `created`."""
    found: list[dict[str, Any]] = []
    for entry in reversed(entries):
        created = entry.get("created") or created
        found.append({**entry, "created": created})
    return found[::-1]


def run_by(arguments: Sequence[str], declared: Sequence[str], variables: Mapping[str, str]) -> str:
    """Return the history's text for a RUN: the arguments that it sees, then the command line."""
    given = [f"{name}={variables.get(name, '')}" for name in declared]
    return " ".join(["RUN", *([f"|{len(given)}", *given] if given else []), *arguments, "# buildkit"])


def argument_by(pairs: Sequence[tuple[str, str | None]]) -> str:
    """Return the history's text for an ARG, whose values are `pairs`."""
    return " ".join(["ARG", *(name if value is None else f"{name}={value}" for name, value in pairs)])


def _copy(instruction: ins.Copy, word: Callable[[str], str]) -> str:
    documents = {document.name for document in instruction.heredocs}
    plain = [source for source in instruction.sources if _document_name(source) not in documents]
    flags = ["--parents"] if instruction.parents else []
    written = (("chown", word(instruction.chown or "")), ("chmod", word(instruction.chmod or "")))
    flags += [f"--{name}={value}" for name, value in written if value]
    return " ".join(
        [
            "ADD" if instruction.is_add else "COPY",
            *flags,
            *(word(source) for source in plain),
            *(f"<<{document.name}" for document in instruction.heredocs),
            word(instruction.destination),
        ]
    )


def _document_name(source: str) -> str:
    return source.lstrip("0123456789").removeprefix("<<").removeprefix("-").strip("\"'") if "<<" in source else ""


def _quoted(texts: Sequence[str]) -> str:
    return f"[{' '.join(json.dumps(text, ensure_ascii=False) for text in texts)}]"


def _health(check: Mapping[str, Any]) -> str:
    times = [f'"{_duration(check.get(name, 0))}"' for name in ("Interval", "Timeout", "StartPeriod", "StartInterval")]
    retries = check.get("Retries", 0)
    shown = _ESCAPED.get(chr(retries)) or (chr(retries) if 31 < retries < 127 else f"\\x{retries:02x}")
    return f"&{{{_quoted(check.get('Test') or ())} {' '.join(times)} '{shown}'}}"


def _duration(nanoseconds: int) -> str:
    """Return a duration as Go writes it: 1m30s, 500ms."""
    if 0 < nanoseconds < 10**9:
        size, unit = next((size, unit) for size, unit in _SMALL_UNITS if nanoseconds >= size)
        return f"{nanoseconds / size:g}{unit}"
    text, rest = "", nanoseconds
    for size, unit in _UNITS:
        if rest >= size or text:
            text += f"{rest // size}{unit}"
            rest %= size
    return f"{text}{rest / 10**9:.9g}s"
