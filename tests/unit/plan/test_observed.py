import pytest

from compose.plan.project import ObservedContainer


def observed(state, status):
    return ObservedContainer.of({"Id": "1", "State": state, "Status": status})


@pytest.mark.parametrize(
    ("state", "status", "health", "exit_code"),
    [
        ("running", "Up 2 hours", "", None),
        ("running", "Up 2 hours (healthy)", "healthy", None),
        ("running", "Up 2 hours (unhealthy)", "unhealthy", None),
        ("running", "Up 2 seconds (health: starting)", "starting", None),
        ("paused", "Up 2 seconds (Paused)", "", None),
        ("restarting", "Restarting (1) 2 seconds ago", "", None),
        ("exited", "Exited (0) 2 seconds ago", "", 0),
        ("exited", "Exited (137) 2 seconds ago", "", 137),
        ("created", "Created", "", None),
        ("dead", "Dead", "", None),
        ("exited", "", "", None),
    ],
)
def test_health_and_exit_code_are_in_the_list_s_status(state, status, health, exit_code):
    container = observed(state, status)
    assert (container.health, container.exit_code) == (health, exit_code)
