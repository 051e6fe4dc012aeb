"""The contents of the systemd units. Pure."""

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
    """The units' parameters: the engine's directories, the Python interpreter (absolute path), system or user.

    Members of `group` can use the socket of the system's engine; "" means root only.
    """

    paths: Paths
    python: str
    is_system: bool
    group: str = ""


def units(installation: Installation) -> dict[str, str]:
    """Return the units' contents by name."""
    return {SOCKET: socket_unit(installation), SERVICE: service_unit(installation)}


def socket_unit(installation: Installation) -> str:
    """Return the socket unit (systemd.socket(5)): the Docker Engine API's socket, independent of a running engine."""
    group, path = installation.group, installation.paths.engine_socket
    access = ["SocketMode=0600", "DirectoryMode=0700"]
    if group:
        access = ["SocketMode=0660", f"SocketGroup={_escaped(group)}", "DirectoryMode=0710"]
    return _text(
        ("Unit", ["Description=Socket of the Skiff engine (Docker Engine API)"]),
        # RemoveOnStop: a leftover socket file would block an engine that is started without systemd
        ("Socket", [f"ListenStream={_escaped(str(path))}", *access, "RemoveOnStop=yes"]),
        ("Install", ["WantedBy=sockets.target"]),
    )


def service_unit(installation: Installation) -> str:
    """Return the service unit (systemd.service(5)): the engine, started at boot and when a client connects.

    - `KillMode=process`: keeper and doorman are in the service's cgroup, and must survive the engine, as containers do.
    - No `RuntimeDirectory=`: it would be removed with the service, but has the namespaces of running containers.
    - `Restart=on-failure`: an idle engine exits with 0, and the socket starts the next one. There is no limit of starts,
      as systemd would close the socket then; an engine that can't start responds to waiting clients itself.
    - `OOMPolicy=continue`: if one process of the cgroup is killed, the engine goes on.
    - Limits are those of Docker; containers inherit the limits of processes (none) and of core files.
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
        # for published ports and containers' routes; and after firewalls that flush the ruleset when they start
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
    """Whether a unit's content was written by us."""
    return text.startswith(MARKER)


def state_root(service: str) -> Path | None:
    """Return the state root in the content of a service unit."""
    found = re.search(r'^Environment="SKIFF_ROOT=(.*)"$', service, re.MULTILINE)
    return Path(re.sub(r"\\(.)", r"\1", found[1]).replace("%%", "%")) if found else None


def _text(*sections: tuple[str, list[str]]) -> str:
    written = (f"[{name}]\n" + "".join(f"{line}\n" for line in lines) for name, lines in sections)
    return f"{MARKER}\n\n" + "\n".join(written)


def _escaped(value: str) -> str:
    """Escape `value` for a setting that is not split into words: only specifiers are special (systemd.unit(5))."""
    return value.replace("%", "%%")


def _quoted(value: str, *, in_command: bool = False) -> str:
    """Quote `value` as one word (systemd.syntax(7), "Quoting"); in a command, `$` is escaped, too."""
    escaped = _escaped(value).replace("\\", "\\\\").replace('"', '\\"')
    return '"' + (escaped.replace("$", "$$") if in_command else escaped) + '"'
