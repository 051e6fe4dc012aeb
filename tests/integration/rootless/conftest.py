"""The engine of a user without root."""

import os
import stat
from pathlib import Path

import pytest

from tests.support.unprivileged import UserHome, served, unprivileged_user

TUN = Path("/dev/net/tun")


@pytest.fixture(scope="session")
def user():
    """A user with ranges of subordinate IDs."""
    with unprivileged_user(has_ranges=True) as user:
        yield user


@pytest.fixture(scope="session")
def lone_user():
    """A user without such ranges."""
    with unprivileged_user(has_ranges=False) as user:
        yield user


@pytest.fixture(scope="session")
def user_home(user, busybox_tar):
    """The user's engine, with the image busybox."""
    with served(UserHome(user), busybox_tar) as home:
        yield home


@pytest.fixture
def way_out():
    """Users may make network devices, as on machines with udev."""
    mode = stat.S_IMODE(TUN.stat().st_mode)
    os.chmod(TUN, 0o666)
    yield
    os.chmod(TUN, mode)
