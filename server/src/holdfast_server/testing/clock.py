"""A clock that stands still until it is moved, and says where the next thing is due."""

import asyncio
from collections.abc import Callable

__all__ = ["SkippingClock"]


class SkippingClock:
    """A clock for `Clocks`.

    Args:
        start_us: the time it begins with, microseconds since the Unix epoch.
        on_rung: called when an alarm has rung.
    """

    def __init__(self, start_us: int, on_rung: Callable[[], None]) -> None:
        self._time_us = start_us
        self._on_rung = on_rung
        self._alarms: list[_SkippingAlarm] = []

    def now_us(self) -> int:
        """The time."""
        return self._time_us

    def alarm(self, next_us: Callable[[], int | None], ring: Callable[[], None]) -> "_SkippingAlarm":
        """An alarm by this clock."""
        alarm = _SkippingAlarm(self, next_us, ring, self._on_rung)
        self._alarms.append(alarm)
        return alarm

    @property
    def ringing(self) -> bool:
        """Whether something is due that has not happened yet."""
        return any(alarm.ringing for alarm in self._alarms)

    def next_us(self) -> int | None:
        """When the next thing is due; None if there is none."""
        return min((due for alarm in self._alarms if (due := alarm.next_us()) is not None), default=None)

    def move(self, to_us: int) -> None:
        """Sets the time, which must not fall. What is due by then rings from the event loop."""
        if to_us < self._time_us:
            message = f"{to_us} is before {self._time_us}"
            raise ValueError(message)
        self._time_us = to_us
        for alarm in self._alarms:
            alarm.ring_if_due()


class _SkippingAlarm:
    __slots__ = ("_clock", "_next_us", "_on", "_on_rung", "_ring", "ringing")

    def __init__(
        self,
        clock: SkippingClock,
        next_us: Callable[[], int | None],
        ring: Callable[[], None],
        on_rung: Callable[[], None],
    ) -> None:
        self._clock = clock
        self._next_us = next_us
        self._ring = ring
        self._on_rung = on_rung
        self._on = False
        self.ringing = False

    def look(self) -> None:
        self._on = True
        self.ring_if_due()

    def expect(self, due_us: int) -> None:
        if not self._on or due_us <= self._clock.now_us():
            self.look()

    def stop(self) -> None:
        self._on = False

    def next_us(self) -> int | None:
        return self._next_us() if self._on else None

    def ring_if_due(self) -> None:
        due_us = self.next_us()
        if due_us is not None and due_us <= self._clock.now_us() and not self.ringing:
            self.ringing = True
            asyncio.get_running_loop().call_soon(self._ring_now)

    def _ring_now(self) -> None:
        self.ringing = False
        try:
            if self._on:
                self._ring()
        finally:
            self._on_rung()
