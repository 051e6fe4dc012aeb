"""Docker's HEALTHCHECK: settings, and the health state after each probe. Pure.

starting ── probe succeeds ───────────────────────────────────────▶ healthy
starting ── `retries` failures, not counted in the start period ──▶ unhealthy
healthy ─── `retries` failures in a row ──────────────────────────▶ unhealthy
unhealthy ─ probe succeeds ───────────────────────────────────────▶ healthy
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

from runtime.bodies import HealthConfig

STARTING, HEALTHY, UNHEALTHY = "starting", "healthy", "unhealthy"
KEPT_PROBES, KEPT_OUTPUT = 5, 4096
NS = 1_000_000_000
_Duration = Literal["Interval", "Timeout", "StartPeriod", "StartInterval"]


@dataclass(frozen=True)
class HealthCheck:
    """The settings of a health check; `test` is the command."""

    test: tuple[str, ...]
    interval_s: float = 30.0
    timeout_s: float = 30.0
    retries: int = 3
    start_period_s: float = 0.0
    start_interval_s: float = 5.0

    @classmethod
    def of(cls, config: HealthConfig | None, shell: tuple[str, ...] = ("/bin/sh", "-c")) -> HealthCheck | None:
        """Parse a container's `Healthcheck` (durations in ns); None if it has none, or it is disabled."""
        test = list((config or {}).get("Test") or ())
        if not config or not test or test[0] not in ("CMD", "CMD-SHELL"):
            return None
        command = (*shell, *test[1:]) if test[0] == "CMD-SHELL" else tuple(test[1:])
        if not command:
            return None

        def seconds(key: _Duration, default: float) -> float:
            return config[key] / NS if config.get(key) else default

        return cls(
            command,
            seconds("Interval", 30.0),
            seconds("Timeout", 30.0),
            config.get("Retries") or 3,
            seconds("StartPeriod", 0.0),
            seconds("StartInterval", 5.0),
        )


class ProbeOutput:
    """Collects the first KEPT_OUTPUT bytes of a probe's output."""

    def __init__(self) -> None:
        self._kept = bytearray()
        self._is_cut = False

    def take(self, data: bytes) -> None:
        """Add `data`, as far as it fits."""
        room = KEPT_OUTPUT - len(self._kept)
        self._is_cut = self._is_cut or len(data) > room
        self._kept += data[:room]

    def __str__(self) -> str:
        return self._kept.decode(errors="replace") + ("..." if self._is_cut else "")


@dataclass(frozen=True)
class Health:
    """The health state, the number of failures in a row, and the last probes (Docker's `State.Health`)."""

    status: str = STARTING
    failing_streak: int = 0
    log: tuple[dict[str, Any], ...] = ()

    def after(self, check: HealthCheck, probe: dict[str, Any], age_s: float) -> Health:
        """Return the health after `probe`, which was started `age_s` after the container."""
        log = (*self.log, probe)[-KEPT_PROBES:]
        if probe["ExitCode"] == 0:
            return Health(HEALTHY, 0, log)
        if self.status == STARTING and age_s < check.start_period_s:
            return replace(self, log=log)
        streak = self.failing_streak + 1
        return Health(UNHEALTHY if streak >= check.retries else self.status, streak, log)

    def after_early(self, probe: dict[str, Any]) -> Health:
        """Return the health after an additional probe before Docker's first one: a failure is ignored."""
        return Health(HEALTHY, 0, (*self.log, probe)[-KEPT_PROBES:]) if probe["ExitCode"] == 0 else self

    def pause_s(self, check: HealthCheck, age_s: float) -> float:
        """Return the seconds until the next probe; also from the start to the first (as moby, daemon/health.go)."""
        if self.status == STARTING and age_s < check.start_period_s:
            return check.start_interval_s
        return check.interval_s

    def document(self) -> dict[str, Any]:
        """Return Docker's `State.Health`."""
        return {"Status": self.status, "FailingStreak": self.failing_streak, "Log": list(self.log)}
