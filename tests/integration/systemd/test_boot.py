"""An engine that systemd holds, in a virtual machine whose first process is Debian's systemd, over a reboot."""

import json
import sys
from pathlib import Path

import pytest

from tests.support import systemd_machine
from tests.support.unprivileged import CHECKOUT

ANN = 54321
"""The number of a user with lingering, whose services run from boot on."""
CLOSED = sorted({str(folder) for path in (sys.base_prefix, sys.prefix, CHECKOUT) for folder in Path(path).parents})
"""What a user has to pass through to run the interpreter and this checkout."""
LONGEST_S, PATIENCE_S = 600, 240
"""A boot and its job, and what it waits for in there; emulated, on a machine that has other things to do."""
pytestmark = [pytest.mark.root, pytest.mark.first, pytest.mark.timeout(2 * LONGEST_S + 60)]
STACK = """
name: app
services:
  web: {image: busybox, command: sleep infinity, init: true, restart: always, mem_limit: 48m, pids_limit: 40}
  asked:
    image: busybox
    command: ["sh", "-c", "trap 'echo asked >>/data/ends; exit 0' QUIT; while true; do sleep 1 & wait; done"]
    stop_signal: SIGQUIT
    restart: unless-stopped
    volumes: [data:/data]
  stopped: {image: busybox, command: sleep infinity, init: true, restart: unless-stopped}
  once: {image: busybox, command: sleep infinity, init: true}
volumes: {data: {}}
"""
CONTAINER = {
    "Image": "busybox",
    "Cmd": ["sleep", "infinity"],
    "HostConfig": {"RestartPolicy": {"Name": "always"}, "Init": True, "Memory": 48 << 20},
}
TOOLS = f"""
set -eu
ANN={ANN} CONTAINER='{json.dumps(CONTAINER)}'
S=/run/skiff/engine.sock A=/run/user/$ANN/skiff/engine.sock
chmod a+x {" ".join(CLOSED)}
skiff() {{ {sys.executable} -m compose.cli.main "$@"; }}
ask() {{ curl -sS --max-time 60 --unix-socket $S "http://skiff$1"; }}
post() {{ curl -sS --max-time 60 --unix-socket $S -X POST "http://skiff$1"; }}
unit_states() {{ systemctl is-active skiff.socket skiff.service | tr '\\n' ' '; }}
as_ann() {{ setpriv --reuid=$ANN --regid=$ANN --init-groups env -C / HOME=/home/ann XDG_RUNTIME_DIR=/run/user/$ANN "$@"; }}
as_ann_skiff() {{ as_ann {sys.executable} -m compose.cli.main "$@"; }}
ask_ann() {{ curl -sS --max-time 60 --unix-socket $A "http://skiff$1"; }}
see() {{ echo "@ $1=$2"; echo "# $(now) s"; }}
now() {{ cut -d. -f1 /proc/uptime; }}
in_time() {{ [ $(now) -lt $end ] || {{ echo "never: $1"; exit 1; }}; }}
eventually() {{ end=$(($(now) + {PATIENCE_S})); until eval "$1"; do in_time "$1"; sleep 0.1; done; }}
field() {{ ask /containers/app-$1-1/json | grep -o "\\"$2\\": *[^,}}]*" | head -n 1 | sed 's/.*: *//; s/"//g'; }}
running() {{ cat /sys/fs/cgroup/skiff-*/*/cgroup.procs 2>/dev/null | wc -l; }}
limits() {{ (cd /sys/fs/cgroup/skiff-*/$1 && cat memory.max pids.max cgroup.controllers) | tr '\\n' ' '; }}
"""
FIRST = """
ann() {
    eventually '[ -S /run/user/$ANN/systemd/private ]'
    as_ann_skiff engine install
    see ann_ping "$(ask_ann /_ping)"
    curl -sS --unix-socket $A -X POST -T /skiff-results/busybox.tar http://skiff/images/load
    curl -sS --unix-socket $A -H 'Content-Type: application/json' -d "$CONTAINER" 'http://skiff/containers/create?name=own'
    curl -sS --unix-socket $A -X POST http://skiff/containers/own/start
    see ann_cgroup "$(cut -d/ -f4 /proc/$(ask_ann /containers/own/json | grep -o '"Pid": *[0-9]*' | tr -dc 0-9)/cgroup)"
}
ann >ann.log 2>&1 &
skiff engine install
see enabled "$(systemctl is-enabled skiff.socket skiff.service | tr '\\n' ' ')"
eventually '[ "$(systemctl is-active skiff.service)" = inactive ]'
see left_when_idle "$(cat /sys/fs/cgroup/system.slice/skiff.service/cgroup.procs 2>/dev/null | wc -l)"
see ping "$(ask /_ping) $(systemctl is-active skiff.service)"
see mode "$(stat -c '%a %U' /run/skiff /run/skiff/engine.sock | tr '\\n' ' ')"

curl -sS --unix-socket $S -X POST -T /skiff-results/busybox.tar http://skiff/images/load
cd /stack
skiff up -d
post /containers/app-stopped-1/stop
pid=$(field web Pid) id=$(field web Id)
before=$(limits $id)
see limits "$before"
systemctl daemon-reload
systemctl restart skiff.service
see kept_over_restart "$([ $(field web Pid) = $pid ] && [ -d /proc/$pid ] && echo yes)"
see kept_limits "$([ "$(limits $id)" = "$before" ] && echo yes)"
cd /skiff-results
wait $! || code=$?
cat ann.log
exit ${code:-0}
"""
SECOND = """
ann_runs() { cat /sys/fs/cgroup/user.slice/user-$ANN.slice/user@$ANN.service/skiff-*/*/cgroup.procs 2>/dev/null | grep -q .; }
eventually ann_runs
see ann_back_after_boot_s "$(cut -d. -f1 /proc/uptime)"
eventually '[ $(running) -ge 3 ]'
see back_after_boot_s "$(cut -d. -f1 /proc/uptime)"
see states "$(for one in web asked stopped once; do field $one Status; done | tr '\\n' ' ')"
see ends "$(cat /var/lib/skiff/volumes/app_data/_data/ends)"
pid=$(field web Pid)
skiff engine uninstall
see left "$(find /etc/systemd /run/systemd /run/skiff -name 'skiff.s*' ! -name '*.d' -o -name engine.sock; unit_states)"
see kept_by_uninstall "$([ -d /proc/$pid ] && echo yes)"
as_ann_skiff engine uninstall
see ann_left "$(find /home/ann/.config /run/user/$ANN -name 'skiff.s*' -o -name engine.sock)"
"""


def observed(boot):
    """Return what the job has seen, by name."""
    print(f"(a boot of {boot.took_s:.0f} s)\n{boot.output}")
    assert boot.exit_code == 0, f"{boot.output}\n{boot.console[-4000:]}"
    lines = (line[2:].partition("=") for line in boot.output.splitlines() if line.startswith("@ "))
    return {name: value.strip() for name, _, value in lines}


def account(name, uid):
    """Return the files of a machine that has the user, with lingering."""
    added = {
        "passwd": f"{name}:x:{uid}:{uid}::/home/{name}:/bin/sh\n",
        "shadow": f"{name}:!:19000:0:99999:7:::\n",
        "group": f"{name}:x:{uid}:\n",
    }
    files = {f"etc/{file}": Path(f"/etc/{file}").read_text() + line for file, line in added.items()}
    ranges = {f"etc/{file}": f"{name}:200000:65536\n" for file in ("subuid", "subgid")}
    return {**files, **ranges, f"var/lib/systemd/linger/{name}": ""}


def test_systemd_starts_engines_for_clients_and_stacks_at_boot(tmp_path, busybox_tar):
    reason = systemd_machine.why_not()
    if reason:
        pytest.skip(reason)
    results, disk = tmp_path / "results", tmp_path / "disk"
    results.mkdir()
    (results / "busybox.tar").write_bytes(busybox_tar.read_bytes())
    idle = {"etc/systemd/system/skiff.service.d/idle.conf": "[Service]\nEnvironment=SKIFF_IDLE_S=1\n"}
    systemd_machine.make_disk(
        disk, {"/var/lib/skiff": 0, "/home/ann": ANN}, {"stack/compose.yaml": STACK, **idle, **account("ann", ANN)}
    )
    first = observed(systemd_machine.boot(results, disk, TOOLS + FIRST, timeout_s=LONGEST_S))
    assert first == {
        "enabled": "enabled enabled",
        "left_when_idle": "0",
        "ping": "OK active",
        "mode": "700 root 600 root",
        "limits": first["limits"],
        "kept_over_restart": "yes",
        "kept_limits": "yes",
        "ann_ping": "OK",
        "ann_cgroup": f"user@{ANN}.service",
    }
    assert first["limits"].startswith(f"{48 << 20} 40 ")
    second = observed(systemd_machine.boot(results, disk, TOOLS + SECOND, timeout_s=LONGEST_S, is_last=True))
    for who in ("", "ann_"):
        assert int(second.pop(f"{who}back_after_boot_s")) < LONGEST_S
    assert second == {
        "states": "running running exited exited",
        "ends": "asked",
        "left": "inactive inactive",
        "kept_by_uninstall": "yes",
        "ann_left": "",
    }
