"""Docker's restart policies: whether and when an exited container is restarted. Pure."""

from __future__ import annotations

from dataclasses import dataclass

FIRST_DELAY_S, LONGEST_DELAY_S, STEADY_S = 0.1, 60.0, 10.0


@dataclass(frozen=True)
class RestartPolicy:
    """`name`: "no", "always", "unless-stopped" or "on-failure"; `maximum` restarts for the latter, 0 for any number."""

    name: str = "no"
    maximum: int = 0

    def restarts(self, exit_code: int, count: int, stopped_by_user: bool) -> bool:
        """Whether a container that exited with `exit_code` after `count` restarts is restarted."""
        if stopped_by_user:
            return False
        if self.name == "on-failure":
            return exit_code != 0 and (self.maximum == 0 or count < self.maximum)
        return self.name in ("always", "unless-stopped")

    def starts_with_engine(self, stopped_by_user: bool) -> bool:
        """Whether a stopped container is started when the engine starts."""
        return self.name == "always" or (self.name == "unless-stopped" and not stopped_by_user)


def next_delay(last_delay_s: float, ran_for_s: float) -> float:
    """Return the delay of the next restart in seconds: doubled each time, reset after a run of STEADY_S."""
    if ran_for_s >= STEADY_S or last_delay_s <= 0:
        return FIRST_DELAY_S
    return min(last_delay_s * 2, LONGEST_DELAY_S)
