"""An engine that systemd holds, in a virtual machine whose first process is Debian's systemd, over a reboot."""

import sys

import pytest

from tests.support import systemd_machine

pytestmark = pytest.mark.root

LONGEST_S = 400
"""A boot and its job; emulated, on a machine that has other things to do."""
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
TOOLS = f"""
set -eu
S=/run/skiff/engine.sock
skiff() {{ {sys.executable} -m compose.cli.main "$@"; }}
ask() {{ curl -sS --max-time 60 --unix-socket $S "http://skiff$1"; }}
post() {{ curl -sS --max-time 60 --unix-socket $S -X POST "http://skiff$1"; }}
unit_states() {{ systemctl is-active skiff.socket skiff.service | tr '\\n' ' '; }}
see() {{ echo "@ $1=$2"; echo "# $(cut -d. -f1 /proc/uptime) s"; }}
eventually() {{ n=0; until eval "$1"; do n=$((n+1)); [ $n -lt 600 ] || {{ echo "never: $1"; exit 1; }}; sleep 0.1; done; }}
field() {{ ask /containers/app-$1-1/json | grep -o "\\"$2\\": *[^,}}]*" | head -n 1 | sed 's/.*: *//; s/"//g'; }}
running() {{ cat /sys/fs/cgroup/skiff-*/*/cgroup.procs 2>/dev/null | wc -l; }}
limits() {{ (cd /sys/fs/cgroup/skiff-*/$1 && cat memory.max pids.max cgroup.controllers) | tr '\\n' ' '; }}
"""
FIRST = """
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
"""
SECOND = """
eventually '[ $(running) -ge 3 ]'
see back_after_boot_s "$(cut -d. -f1 /proc/uptime)"
see states "$(for one in web asked stopped once; do field $one Status; done | tr '\\n' ' ')"
see ends "$(cat /var/lib/skiff/volumes/app_data/_data/ends)"
pid=$(field web Pid)
skiff engine uninstall
see left "$(find /etc/systemd /run/systemd /run/skiff -name 'skiff.s*' ! -name '*.d' -o -name engine.sock; unit_states)"
see kept_by_uninstall "$([ -d /proc/$pid ] && echo yes)"
"""


def observed(boot):
    """Return what the job has seen, by name."""
    print(f"(a boot of {boot.took_s:.0f} s)\n{boot.output}")
    assert boot.exit_code == 0, f"{boot.output}\n{boot.console[-4000:]}"
    lines = (line[2:].partition("=") for line in boot.output.splitlines() if line.startswith("@ "))
    return {name: value.strip() for name, _, value in lines}


def test_systemd_starts_engines_for_clients_and_stacks_at_boot(tmp_path, busybox_tar):
    reason = systemd_machine.why_not()
    if reason:
        pytest.skip(reason)
    results, disk = tmp_path / "results", tmp_path / "disk"
    results.mkdir()
    (results / "busybox.tar").write_bytes(busybox_tar.read_bytes())
    idle = {"etc/systemd/system/skiff.service.d/idle.conf": "[Service]\nEnvironment=SKIFF_IDLE_S=1\n"}
    systemd_machine.make_disk(disk, {"/var/lib/skiff": 0}, {"stack/compose.yaml": STACK, **idle})
    first = observed(systemd_machine.boot(results, disk, TOOLS + FIRST, timeout_s=LONGEST_S))
    assert first == {
        "enabled": "enabled enabled",
        "left_when_idle": "0",
        "ping": "OK active",
        "mode": "700 root 600 root",
        "limits": first["limits"],
        "kept_over_restart": "yes",
        "kept_limits": "yes",
    }
    assert first["limits"].startswith(f"{48 << 20} 40 ")
    second = observed(systemd_machine.boot(results, disk, TOOLS + SECOND, timeout_s=LONGEST_S, is_last=True))
    assert int(second.pop("back_after_boot_s")) < LONGEST_S
    assert second == {
        "states": "running running exited exited",
        "ends": "asked",
        "left": "inactive inactive",
        "kept_by_uninstall": "yes",
    }
