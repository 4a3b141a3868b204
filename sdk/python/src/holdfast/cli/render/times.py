"""Times and lengths of time, as short as people read them."""

from datetime import UTC, datetime, timedelta, tzinfo

from google.protobuf.timestamp_pb2 import Timestamp

__all__ = ["Moments", "rfc3339", "seconds_between", "span"]

MINUTE_S = 60
HOUR_S = 60 * MINUTE_S
DAY_S = 24 * HOUR_S


def rfc3339(time: Timestamp) -> str:
    """Return a time for programs: UTC, microseconds."""
    try:
        return time.ToDatetime(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    except (ValueError, OverflowError):  # beyond what the calendar of Python reaches
        return f"{time.seconds}.{time.nanos:09d}"


def seconds_between(start: Timestamp, end: Timestamp) -> float:
    """Return the seconds from one time to another."""
    return (end.ToNanoseconds() - start.ToNanoseconds()) / 1e9


def span(seconds: float) -> str:
    """Return a length of time, for example `0.412s`, `12.3s`, `2m05s`, `3h04m` or `2d03h`."""
    if seconds < 0:
        return "-" + span(-seconds)
    if seconds < 10:  # noqa: PLR2004 - below, milliseconds are worth reading
        return f"{seconds:.3f}s"
    if seconds < MINUTE_S:
        return f"{seconds:.1f}s"
    whole = int(seconds)
    if whole < HOUR_S:
        return f"{whole // MINUTE_S}m{whole % MINUTE_S:02d}s"
    if whole < DAY_S:
        return f"{whole // HOUR_S}h{whole % HOUR_S // MINUTE_S:02d}m"
    return f"{whole // DAY_S}d{whole % DAY_S // HOUR_S:02d}h"


class Moments:
    """Times as somebody sees them now and here."""

    def __init__(self, now: datetime, zone: tzinfo | None = None) -> None:
        """Build it.

        Args:
            now: The present time.
            zone: Where it is read; None for the time zone of the machine.
        """
        self.now = now
        self._zone = zone

    def local(self, time: Timestamp) -> datetime | None:
        """Return a time in the reader's zone; None if the calendar does not reach it."""
        try:
            return time.ToDatetime(UTC).astimezone(self._zone)
        except (ValueError, OverflowError):
            return None

    def clock(self, time: Timestamp) -> str:
        """Return when: `14:03:22` today, `Nov 23 14:03` this year, else `2025-11-23`."""
        local = self.local(time)
        if local is None:
            return rfc3339(time)
        today = self.now.astimezone(self._zone)
        if local.date() == today.date():
            return f"{local:%H:%M:%S}"
        return f"{local:%b %d %H:%M}" if local.year == today.year else f"{local:%Y-%m-%d}"

    def age_s(self, time: Timestamp) -> float:
        """Return the seconds since a time; negative for one to come."""
        local = self.local(time)
        return 0.0 if local is None else (self.now - local) / timedelta(seconds=1)

    def ago(self, time: Timestamp) -> str:
        """Return how long ago or how far ahead, for example `2m ago` or `in 23h`."""
        seconds = self.age_s(time)
        text = _coarse(abs(seconds))
        return f"in {text}" if seconds < 0 else f"{text} ago"

    def when(self, time: Timestamp) -> str:
        """Return both as short as a column of a table: `14:03 2m ago`, `Nov 20 3d ago`, or only `2025-11-20`."""
        local, today = self.local(time), self.now.astimezone(self._zone)
        if local is None or local.year != today.year:
            return self.clock(time)
        return f"{local:%H:%M} {self.ago(time)}" if local.date() == today.date() else f"{local:%b %d} {self.ago(time)}"

    def full(self, time: Timestamp) -> str:
        """Return both in words, for example `14:03:22 (2m ago)`."""
        return f"{self.clock(time)} ({self.ago(time)})"


def _coarse(seconds: float) -> str:
    for length_s, unit in ((DAY_S, "d"), (HOUR_S, "h"), (MINUTE_S, "m")):
        if seconds >= length_s:
            return f"{int(seconds // length_s)}{unit}"
    return f"{int(seconds)}s"
