"""Time: what the server needs of a clock, and the clocks of the operating system.

A clock tells the time and rings when something is due. Whoever has something due is asked when, because much of what
was due once is not any more; so a clock that skips time never stops where nothing happens.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, Self

__all__ = ["Alarm", "Clock", "Clocks", "SystemClock", "monotonic_us", "wall_clock_us"]

SHORTEST_SLEEP_US = 1_000
"""What is due close one after the other rings once."""
LONGEST_SLEEP_US = 1_000_000
"""A clock may be set while an alarm sleeps, or the machine be suspended, and the sleep notices neither: so none sleeps
longer than this without a look at the clock. A look costs microseconds."""


def wall_clock_us() -> int:
    """Microseconds since the Unix epoch."""
    return time.time_ns() // 1_000


def monotonic_us() -> int:
    """Microseconds since some moment, by a clock that nobody sets."""
    return time.monotonic_ns() // 1_000


class Alarm(Protocol):
    """Rings for one owner. It sleeps until the owner has said that something is due; it may ring too early."""

    def look(self) -> None:
        """Asks anew when the owner has something due. Each ring has to be followed by this."""

    def expect(self, due_us: int) -> None:
        """The owner has something due at that time, which may be sooner than all else."""

    def stop(self) -> None:
        """Rings no more, until it looks again."""


class Clock(Protocol):
    """Tells the time, in microseconds since the Unix epoch."""

    def now_us(self) -> int:
        """The time."""

    def alarm(self, next_us: Callable[[], int | None], ring: Callable[[], None]) -> Alarm:
        """An alarm by this clock.

        Args:
            next_us: when the owner has something due; None for never.
            ring: called from the event loop when that time has come.
        """


@dataclass(frozen=True, slots=True)
class Clocks:
    """The clocks of one server. In production one steady clock is both of the last two.

    Attributes:
        runs: what people read, and what timers and histories go by.
        attempts: what limits of attempts go by.
        workers: what leases and parked polls go by: a length of time between processes that live.
    """

    runs: Clock
    attempts: Clock
    workers: Clock

    @classmethod
    def system(cls, clock_us: Callable[[], int] = wall_clock_us, elapsed_us: Callable[[], int] = monotonic_us) -> Self:
        """The clocks of the operating system.

        Leases and limits are lengths of time in which processes live, so a wall clock that is set must neither take
        all leases away nor keep those of dead workers for hours.

        Args:
            clock_us: microseconds since the Unix epoch; may be set while the server runs. Runs go by it.
            elapsed_us: microseconds since some moment, never set. All else goes by it.
        """
        ahead_us = clock_us() - elapsed_us()
        steady = SystemClock(lambda: ahead_us + elapsed_us())
        return cls(SystemClock(clock_us), steady, steady)


class SystemClock:
    """A clock that goes by itself; it must be used inside an event loop.

    Args:
        now_us: microseconds since the Unix epoch.
    """

    def __init__(self, now_us: Callable[[], int]) -> None:
        self.now_us = now_us

    def alarm(self, next_us: Callable[[], int | None], ring: Callable[[], None]) -> "_SystemAlarm":
        """An alarm on asyncio's timers."""
        return _SystemAlarm(self.now_us, next_us, ring)


class _SystemAlarm:
    __slots__ = ("_next_us", "_now_us", "_ring", "_sleep", "_wake_us")

    def __init__(self, now_us: Callable[[], int], next_us: Callable[[], int | None], ring: Callable[[], None]) -> None:
        self._now_us = now_us
        self._next_us = next_us
        self._ring = ring
        self._sleep: asyncio.TimerHandle | None = None
        self._wake_us: int | None = None

    def look(self) -> None:
        self.stop()
        due_us = self._wake_us = self._next_us()
        if due_us is None:
            return
        wait_us = due_us - self._now_us()
        delay_us = min(max(wait_us, SHORTEST_SLEEP_US), LONGEST_SLEEP_US) if wait_us > 0 else 0
        self._sleep = asyncio.get_running_loop().call_later(delay_us / 1_000_000, self._ring)

    def expect(self, due_us: int) -> None:
        if self._wake_us is None or due_us < self._wake_us:
            self.look()

    def stop(self) -> None:
        self._wake_us = None
        if self._sleep is not None:
            self._sleep.cancel()
            self._sleep = None
