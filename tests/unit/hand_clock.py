"""A clock that stands still until a test moves it."""

from collections.abc import Callable

__all__ = ["HandAlarm", "HandClock"]


class HandAlarm:
    """Rings when the clock is moved past the time that its owner named when it looked last.

    Attributes:
        wake_us: That time; None if it waits for nothing.
    """

    def __init__(self, next_us: Callable[[], int | None], ring: Callable[[], None]) -> None:
        self._next_us = next_us
        self._ring = ring
        self.wake_us: int | None = None

    def look(self) -> None:
        self.wake_us = self._next_us()

    def expect(self, due_us: int) -> None:
        if self.wake_us is None or due_us < self.wake_us:
            self.look()

    def stop(self) -> None:
        self.wake_us = None

    def ring(self) -> None:
        self._ring()


class HandClock:
    """A clock, and all its alarms.

    Attributes:
        time_us: The time.
    """

    def __init__(self, time_us: int) -> None:
        self.time_us = time_us
        self.alarms: list[HandAlarm] = []

    def now_us(self) -> int:
        return self.time_us

    def alarm(self, next_us: Callable[[], int | None], ring: Callable[[], None]) -> HandAlarm:
        alarm = HandAlarm(next_us, ring)
        self.alarms.append(alarm)
        return alarm

    def forget(self) -> None:
        """Those who had alarms are gone."""
        self.alarms.clear()

    def pass_to(self, end_us: int) -> None:
        """Lets time pass; whatever is due on the way happens at its time."""
        while True:
            set_alarms = [alarm for alarm in self.alarms if alarm.wake_us is not None and alarm.wake_us <= end_us]
            first = min(set_alarms, key=lambda alarm: alarm.wake_us or 0, default=None)
            if first is None or first.wake_us is None:
                break
            self.time_us = max(self.time_us, first.wake_us)
            first.ring()
        self.time_us = end_us
