"""What a container uses of the machine, from the engine's numbers, as `docker stats` shows it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from compose.render.sparkline import Histories
from compose.render.table import size

COLUMNS = (
    ("CONTAINER ID", "ID"),
    ("NAME", "Name"),
    ("CPU %", "CPUPerc"),
    ("MEM USAGE / LIMIT", "MemUsage"),
    ("MEM %", "MemPerc"),
    ("NET I/O", "NetIO"),
    ("BLOCK I/O", "BlockIO"),
    ("PIDS", "PIDs"),
)
HISTORIES = (("CPU", "CPUHistory"), ("MEM", "MemHistory"))
"""Columns of what was used in the last seconds, for who watches."""
UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def usage_row(id: str, name: str, document: Mapping[str, Any]) -> dict[str, str]:
    """Return the cells of one container from a document of "Get container stats"."""
    memory = document.get("memory_stats") or {}
    stats = memory.get("stats") or {}
    # what the kernel can take back at any time does not count (docker stats does the same)
    cached = int(stats.get("inactive_file") or stats.get("total_inactive_file") or 0)
    used = max(0, int(memory.get("usage") or 0) - cached)
    limit = int(memory.get("limit") or 0)
    networks = (document.get("networks") or {}).values()
    blocks = (document.get("blkio_stats") or {}).get("io_service_bytes_recursive") or ()
    return {
        "BlockIO": f"{size(_blocks(blocks, 'read'))} / {size(_blocks(blocks, 'write'))}",
        "CPUPerc": f"{_cpu_percent(document):.2f}%",
        "Container": id,
        "ID": id,
        "MemPerc": f"{used / limit * 100 if limit else 0:.2f}%",
        "MemUsage": f"{_binary(used)} / {_binary(limit)}",
        "Name": name,
        "NetIO": f"{size(sum(n['rx_bytes'] for n in networks))} / {size(sum(n['tx_bytes'] for n in networks))}",
        "PIDs": str((document.get("pids_stats") or {}).get("current") or 0),
    }


def history_cells(row: Mapping[str, str], cpu: Histories, memory: Histories) -> dict[str, str]:
    """Return the cells of HISTORIES, with the numbers of `row` as the latest; the highest block is a whole CPU, or all."""
    name = row["Name"]
    return {
        "CPUHistory": cpu.add(name, float(row["CPUPerc"].rstrip("%")), 100.0),
        "MemHistory": memory.add(name, float(row["MemPerc"].rstrip("%"))),
    }


def _cpu_percent(document: Mapping[str, Any]) -> float:
    """Return the share of one CPU that was used between the two measurements of the document."""
    now, before = document.get("cpu_stats") or {}, document.get("precpu_stats") or {}
    used = (now.get("cpu_usage") or {}).get("total_usage", 0) - (before.get("cpu_usage") or {}).get("total_usage", 0)
    passed = (now.get("system_cpu_usage") or 0) - (before.get("system_cpu_usage") or 0)
    return used / passed * (now.get("online_cpus") or 1) * 100 if used > 0 and passed > 0 else 0.0


def _blocks(entries: Iterable[Mapping[str, Any]], operation: str) -> int:
    return sum(int(entry["value"]) for entry in entries if str(entry["op"]).lower() == operation)


def _binary(amount: float) -> str:
    for unit in UNITS:
        if amount < 1024 or unit == UNITS[-1]:
            return f"{amount:.4g}{unit}"
        amount /= 1024
    return ""
