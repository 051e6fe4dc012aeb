"""An event loop with callbacks for descriptors and timers. Standard library alone."""

from __future__ import annotations

import heapq
import select
import time
from collections.abc import Callable
from itertools import count

READ, WRITE = select.EPOLLIN, select.EPOLLOUT
MAX_EVENTS = 256


class Loop:
    """Runs callbacks until it is stopped."""

    def __init__(self) -> None:
        self._poll = select.epoll()
        self._callbacks: dict[int, Callable[[int], None]] = {}
        self._interests: dict[int, int] = {}
        self._moments: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = count()
        self._is_stopped = False

    def watch(self, descriptor: int, interest: int, callback: Callable[[int], None]) -> None:
        """Call `callback(events)` for events in `interest` of a descriptor; 0 pauses it.

        A paused descriptor is removed from epoll, which always reports EPOLLHUP: a closed connection whose data can't be
        written to the other side yet would cause a busy loop.
        """
        before = self._interests.get(descriptor, 0)
        self._callbacks[descriptor] = callback
        if interest == before:
            return
        if not interest:
            self._poll.unregister(descriptor)
        elif not before:
            self._poll.register(descriptor, interest)
        else:
            self._poll.modify(descriptor, interest)
        self._interests[descriptor] = interest

    def forget(self, descriptor: int) -> None:
        """Remove a descriptor; must be called before closing it."""
        if self._interests.pop(descriptor, 0):
            self._poll.unregister(descriptor)
        self._callbacks.pop(descriptor, None)

    def later(self, seconds: float, callback: Callable[[], None]) -> None:
        """Call `callback` once after `seconds`."""
        heapq.heappush(self._moments, (time.monotonic() + seconds, next(self._numbers), callback))

    def stop(self) -> None:
        """Return from `run`."""
        self._is_stopped = True

    def run(self) -> None:
        """Run until `stop` is called."""
        while not self._is_stopped:
            left_s = self._moments[0][0] - time.monotonic() if self._moments else -1
            for descriptor, events in self._poll.poll(max(left_s, 0) if self._moments else None, MAX_EVENTS):
                # an earlier callback of this round may have closed it
                callback = self._callbacks.get(descriptor)
                if callback is not None:
                    callback(events)
            while self._moments and self._moments[0][0] <= time.monotonic():
                heapq.heappop(self._moments)[2]()
