"""Times and lengths of time, as short as people read them, seen from one moment."""

import time
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import Protocol

from google.protobuf.timestamp_pb2 import Timestamp

__all__ = ["Clock", "Moments", "SystemClock", "seconds_of", "span_text", "whole_text"]

MINUTE_S = 60
HOUR_S = 60 * MINUTE_S
DAY_S = 24 * HOUR_S
SUBSECOND_S = 10


class Clock(Protocol):
    """Tells the time."""

    def now_s(self) -> float:
        """Return the seconds since 1970."""

    def monotonic_s(self) -> float:
        """Return seconds that only ever grow, whatever is done to the machine's clock."""


class SystemClock:
    """The clock of the machine."""

    def now_s(self) -> float:
        """Return the seconds since 1970."""
        return time.time()

    def monotonic_s(self) -> float:
        """Return seconds that only ever grow."""
        return time.monotonic()


def seconds_of(timestamp: Timestamp) -> float:
    """Return a timestamp as seconds since 1970."""
    return timestamp.seconds + timestamp.nanos / 1e9


def span_text(seconds: float) -> str:
    """Return a length of time, for example `0.412s`, `12s`, `2m05s`, `3h04m` or `2d03h`."""
    if seconds < 0:
        return "-" + span_text(-seconds)
    if seconds < SUBSECOND_S:
        return f"{seconds:.3f}s"
    return _units(int(seconds), exact=True)


def whole_text(seconds: float) -> str:
    """Return a length of time without fractions, for example `0s`, `12s` or `2m05s`."""
    return _units(max(int(seconds), 0), exact=True)


def _units(whole: int, *, exact: bool) -> str:
    """Return whole seconds in their largest unit, with the next smaller one where it is wanted exactly."""
    if whole < MINUTE_S:
        return f"{whole}s"
    if whole < HOUR_S:
        return f"{whole // MINUTE_S}m{whole % MINUTE_S:02d}s" if exact else f"{whole // MINUTE_S}m"
    if whole < DAY_S:
        return f"{whole // HOUR_S}h{whole % HOUR_S // MINUTE_S:02d}m" if exact else f"{whole // HOUR_S}h"
    return f"{whole // DAY_S}d{whole % DAY_S // HOUR_S:02d}h" if exact else f"{whole // DAY_S}d"


@dataclass(frozen=True, slots=True)
class Moments:
    """Times as somebody sees them now and here.

    Attributes:
        now_s: The present time, in seconds since 1970.
        zone: Where it is read; None for the time zone of the machine.
    """

    now_s: float
    zone: tzinfo | None = None

    def age(self, time_s: float) -> str:
        """Return how long ago in one unit, for example `2m`; a time to come is `0s`."""
        return _units(max(int(self.now_s - time_s), 0), exact=False)

    def until(self, time_s: float) -> str:
        """Return how far ahead in one unit, for example `in 58m`, or `now` for what is due."""
        ahead_s = int(time_s - self.now_s)
        return f"in {_units(ahead_s, exact=False)}" if ahead_s > 0 else "now"

    def clock(self, time_s: float) -> str:
        """Return when: `14:03:22` today, `Nov 23 14:03` this year, else `2025-11-23 14:03`."""
        local, today = self._local(time_s), self._local(self.now_s)
        if local is None or today is None:
            return f"{time_s:.0f} s since 1970"
        if local.date() == today.date():
            return f"{local:%H:%M:%S}"
        return f"{local:%b %d %H:%M}" if local.year == today.year else f"{local:%Y-%m-%d %H:%M}"

    def ago(self, time_s: float) -> str:
        """Return both, for example `14:03:22 (2m ago)` or `15:03:22 (in 58m)`."""
        relative = self.until(time_s) if time_s > self.now_s else f"{self.age(time_s)} ago"
        return f"{self.clock(time_s)} ({relative})"

    def _local(self, time_s: float) -> datetime | None:
        """Return a time in the reader's zone; None if the calendar does not reach it."""
        try:
            return datetime.fromtimestamp(time_s, UTC).astimezone(self.zone)
        except (ValueError, OverflowError, OSError):
            return None
