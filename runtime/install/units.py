"""The text of the systemd units. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from runtime.paths import Paths

SOCKET, SERVICE = "skiff.socket", "skiff.service"
MARKER = '# Written by "skiff engine install"; "skiff engine uninstall" removes it. Change it with "systemctl edit".'
RESTART_PAUSE_S = 1


@dataclass(frozen=True)
class Installation:
    """What the units are about: the engine's directories, the interpreter (absolute path), whose systemd it is.

    `group` may use the socket of the system's engine; "" for nobody else.
    """

    paths: Paths
    python: str
    is_system: bool
    group: str = ""


def units(installation: Installation) -> dict[str, str]:
    """Return the units' texts by their names."""
    return {SOCKET: socket_unit(installation), SERVICE: service_unit(installation)}


def socket_unit(installation: Installation) -> str:
    """Return the socket unit (systemd.socket(5)): the Docker Engine API's socket, there before and after any engine."""
    group, path = installation.group, installation.paths.engine_socket
    access = ["SocketMode=0600", "DirectoryMode=0700"]
    if group:
        access = ["SocketMode=0660", f"SocketGroup={_escaped(group)}", "DirectoryMode=0710"]
    return _text(
        ("Unit", ["Description=Socket of the Skiff engine (Docker Engine API)"]),
        # a path without a name would be in the way of an engine that is started without systemd
        ("Socket", [f"ListenStream={_escaped(str(path))}", *access, "RemoveOnStop=yes"]),
        ("Install", ["WantedBy=sockets.target"]),
    )


def service_unit(installation: Installation) -> str:
    """Return the service unit (systemd.service(5)): the engine, at boot and whenever a client comes.

    - `KillMode=process`: keeper and doorman are in the service's cgroup, and outlive the engine with the containers.
    - No `RuntimeDirectory=`: it would be removed with the service, and has the live containers' namespaces in it.
    - `Restart=on-failure`: an idle engine ends with 0, and the socket brings the next one. Without a limit of starts,
      beyond which systemd would close the socket; whoever waits for an engine that can't start is told by itself.
    - `OOMPolicy=continue`: the end of one process of the cgroup is not the engine's.
    - Limits are Docker's; containers inherit those of processes (no limit) and of core files.
    """
    paths = installation.paths
    environment = {"SKIFF_ROOT": str(paths.root), "SKIFF_RUN": str(paths.run)}
    if installation.group:
        environment["SKIFF_GROUP"] = installation.group
    python = _quoted(installation.python, in_command=True)
    unit = [
        "Description=Skiff engine",
        f"Requires={SOCKET}",
        f"After={SOCKET}",
        f"RequiresMountsFor={_quoted(str(paths.root))}",
        "StartLimitIntervalSec=0",
    ]
    if installation.is_system:
        # containers' addresses and ports are the machine's; firewalls that flush rules do so before
        unit += ["Wants=network-online.target", "After=network-online.target nftables.service firewalld.service"]
    service = [
        "Type=notify",
        "NotifyAccess=all",  # a user's engine is a child of the process that systemd starts
        f"ExecStart={python} -m runtime.daemon",
        f"ExecStop={python} -m runtime.install.stopping",
        *(f"Environment={_quoted(f'{name}={value}')}" for name, value in environment.items()),
        "WorkingDirectory=/",
        "KillMode=process",
        "Restart=on-failure",
        f"RestartSec={RESTART_PAUSE_S}",
        "TimeoutStartSec=5min",
        "OOMPolicy=continue",
        "Delegate=yes",
        "TasksMax=infinity",
        "LimitNOFILE=1048576",
        "LimitNPROC=infinity",
        "LimitCORE=infinity",
    ]
    target = "multi-user.target" if installation.is_system else "default.target"
    return _text(("Unit", unit), ("Service", service), ("Install", [f"WantedBy={target}"]))


def is_ours(text: str) -> bool:
    """Whether a unit's text is one of ours."""
    return text.startswith(MARKER)


def state_root(service: str) -> Path | None:
    """Return the state root of the engine that the text of a service is about."""
    found = re.search(r'^Environment="SKIFF_ROOT=(.*)"$', service, re.MULTILINE)
    return Path(re.sub(r"\\(.)", r"\1", found[1]).replace("%%", "%")) if found else None


def _text(*sections: tuple[str, list[str]]) -> str:
    written = (f"[{name}]\n" + "".join(f"{line}\n" for line in lines) for name, lines in sections)
    return f"{MARKER}\n\n" + "\n".join(written)


def _escaped(value: str) -> str:
    """Return `value` as a setting that is not split into words: only specifiers mean something (systemd.unit(5))."""
    return value.replace("%", "%%")


def _quoted(value: str, *, in_command: bool = False) -> str:
    """Return `value` as one word (systemd.syntax(7), "Quoting"); in a command, `$` begins a variable."""
    escaped = _escaped(value).replace("\\", "\\\\").replace('"', '\\"')
    return '"' + (escaped.replace("$", "$$") if in_command else escaped) + '"'
