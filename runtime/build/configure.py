"""What the instructions that touch no file change in an image's configuration: pure.

The configuration is the `config` object of an OCI image configuration, names as there (OCI image specification,
"Image Configuration").
"""

from __future__ import annotations

import re
import signal
from collections.abc import Callable, Mapping
from typing import Any

from runtime.build import instructions as ins
from runtime.build.errors import DockerfileError, suggestion
from runtime.build.lines import split_words
from runtime.container.spec import DEFAULT_PATH, environment_of

Config = dict[str, Any]
Expand = Callable[[str], str]

DEFAULT_SHELL = ("/bin/sh", "-c")
OWN_COMMAND = "skiff.own_command"
"""Marks, while a stage is built, that its own CMD set the command; never part of an image."""

_OTHER_NAMES = ("SIGCLD", "SIGIOT", "SIGPOLL")
_REAL_TIME = re.compile(r"SIGRTMIN(\+([1-9]|1[0-5]))?|SIGRTMAX(-([1-9]|1[0-4]))?")
_PORT = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?(?:/(tcp|udp|sctp|))?", re.IGNORECASE)


def with_path(config: Mapping[str, Any]) -> Config:
    """Return a base's configuration with Docker's PATH where it has none: expansions see it, and the image stores it."""
    if "PATH" in environment_of(config):
        return dict(config)
    return {**config, "Env": [*(config.get("Env") or ()), f"PATH={DEFAULT_PATH}"]}


def command_line(command: ins.Command, config: Mapping[str, Any]) -> list[str]:
    """Return the argument vector of a command: as it is, or one line for the image's shell."""
    if not command.shell_form:
        return list(command.arguments)
    return [*(config.get("Shell") or DEFAULT_SHELL), *command.arguments]


def configured(
    config: Mapping[str, Any], instruction: ins.Instruction, word: Expand, escape: str = "\\"
) -> Config | None:
    """Return the configuration after `instruction`, or None for one that is not about configuration.

    `word` expands a word. Raises DockerfileError (without a line).
    """
    change = _CHANGES.get(type(instruction))
    if change is None:
        return None
    new = dict(config)
    change(new, instruction, word, escape)
    return new


def _env(config: Config, instruction: ins.Env, word: Expand, escape: str) -> None:
    # all values see the environment from before this instruction
    changes = {word(name): word(value) for name, value in instruction.variables}
    config["Env"] = [f"{name}={value}" for name, value in {**environment_of(config), **changes}.items()]


def _label(config: Config, instruction: ins.Label, word: Expand, escape: str) -> None:
    config["Labels"] = {**(config.get("Labels") or {}), **{word(n): word(value) for n, value in instruction.labels}}


def _user(config: Config, instruction: ins.User, word: Expand, escape: str) -> None:
    user = word(instruction.user)
    config.pop("User", None)
    if user:
        config["User"] = user


def _expose(config: Config, instruction: ins.Expose, word: Expand, escape: str) -> None:
    ports = dict(config.get("ExposedPorts") or {})
    ports.update({port: {} for port in exposed_ports(instruction, word, escape)})
    if ports:
        config["ExposedPorts"] = ports


def exposed_ports(instruction: ins.Expose, word: Expand, escape: str) -> list[str]:
    """Return the ports of an EXPOSE as `80/tcp`, in order. Raises DockerfileError (without a line)."""
    return [
        port
        for written in sorted(instruction.ports)
        for text in split_words(word(written), escape)
        for port in _ports(text)
    ]


def _ports(text: str) -> list[str]:
    # `[address:]port:port` as -p has it is taken, and only what is the container's counts
    *published, own = text.split(":")
    match = _PORT.fullmatch(own)
    first = int(match[1]) if match else 0
    last = int(match[2] or first) if match else 0
    is_published = all(re.fullmatch(r"(\d{1,5}(-\d{1,5})?)?", port) for port in published[-1:])
    if match is None or not first <= last <= 65535 or not is_published:
        raise DockerfileError(f"invalid port: {text!r}", hint="write 80, 80/udp or 8000-8010")
    return [f"{port}/{(match[3] or 'tcp').lower()}" for port in range(first, last + 1)]


def _volume(config: Config, instruction: ins.VolumeInstruction, word: Expand, escape: str) -> None:
    paths = [word(path) for path in instruction.paths]
    if "" in paths:
        raise DockerfileError("VOLUME specified can not be an empty string")
    config["Volumes"] = {**(config.get("Volumes") or {}), **{path: {} for path in paths}}


def _cmd(config: Config, instruction: ins.Cmd, word: Expand, escape: str) -> None:
    _set_command(config, "Cmd", instruction.command)
    config[OWN_COMMAND] = True


def _entrypoint(config: Config, instruction: ins.Entrypoint, word: Expand, escape: str) -> None:
    _set_command(config, "Entrypoint", instruction.command)
    # a command that came with the base belongs to the base's entry point (Dockerfile reference, "CMD and ENTRYPOINT")
    if not config.get(OWN_COMMAND):
        config.pop("Cmd", None)


def _set_command(config: Config, name: str, command: ins.Command) -> None:
    """Set a command; an empty one in JSON form is none."""
    arguments = command_line(command, config)
    if arguments:
        config[name] = arguments
    else:
        config.pop(name, None)


def _shell(config: Config, instruction: ins.Shell, word: Expand, escape: str) -> None:
    config["Shell"] = list(instruction.arguments)


def _stop_signal(config: Config, instruction: ins.StopSignal, word: Expand, escape: str) -> None:
    written = word(instruction.signal)
    names = [*(member.name for member in signal.Signals), *_OTHER_NAMES]
    name = f"SIG{written.upper().removeprefix('SIG')}"
    is_number = re.fullmatch(r"[+-]?\d+", written) is not None and int(written) != 0
    if not is_number and name not in names and not _REAL_TIME.fullmatch(name):
        raise DockerfileError(f"invalid signal: {written}", hint=suggestion(name, names))
    config["StopSignal"] = written


def _healthcheck(config: Config, instruction: ins.Healthcheck, word: Expand, escape: str) -> None:
    if instruction.command is None:
        config["Healthcheck"] = {"Test": ["NONE"]}
        return
    kind = "CMD-SHELL" if instruction.command.shell_form else "CMD"
    values = {
        "Test": [kind, *instruction.command.arguments],
        "Interval": instruction.interval_ns,
        "Timeout": instruction.timeout_ns,
        "StartPeriod": instruction.start_period_ns,
        "StartInterval": instruction.start_interval_ns,
        "Retries": instruction.retries,
    }
    config["Healthcheck"] = {name: value for name, value in values.items() if value}


def _on_build(config: Config, instruction: ins.OnBuild, word: Expand, escape: str) -> None:
    config["OnBuild"] = [*(config.get("OnBuild") or ()), instruction.trigger]


_CHANGES: dict[type, Callable[[Config, Any, Expand, str], None]] = {
    ins.Env: _env,
    ins.Label: _label,
    ins.User: _user,
    ins.Expose: _expose,
    ins.VolumeInstruction: _volume,
    ins.Cmd: _cmd,
    ins.Entrypoint: _entrypoint,
    ins.Shell: _shell,
    ins.StopSignal: _stop_signal,
    ins.Healthcheck: _healthcheck,
    ins.OnBuild: _on_build,
}
