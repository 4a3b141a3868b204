"""Times are local and short, and say how long ago."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from holdfast.cli.render.times import Moments, rfc3339, span

NOW = datetime(2026, 11, 23, 23, 30, tzinfo=UTC)
BERLIN = Moments(NOW, timezone(timedelta(hours=1)))  # where it is the 24th already


def at(**ago: float) -> Timestamp:
    time = Timestamp()
    time.FromDatetime(NOW - timedelta(**ago))
    return time


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.000s"),
        (0.0124, "0.012s"),
        (9.9994, "9.999s"),
        (12.34, "12.3s"),
        (125, "2m05s"),
        (3_600, "1h00m"),
        (11_045, "3h04m"),
        (183_600, "2d03h"),
        (-125, "-2m05s"),
    ],
)
def test_lengths_of_time(seconds: float, text: str) -> None:
    assert span(seconds) == text


@pytest.mark.parametrize(
    ("time", "clock", "when", "full"),
    [
        (at(seconds=5), "00:29:55", "00:29 5s ago", "00:29:55 (5s ago)"),
        (at(minutes=-2), "00:32:00", "00:32 in 2m", "00:32:00 (in 2m)"),
        (at(hours=1), "Nov 23 23:30", "Nov 23 1h ago", "Nov 23 23:30 (1h ago)"),
        (at(days=400), "2025-10-20", "2025-10-20", "2025-10-20 (400d ago)"),
    ],
)
def test_times_in_the_zone_of_the_reader(time: Timestamp, clock: str, when: str, full: str) -> None:
    assert (BERLIN.clock(time), BERLIN.when(time), BERLIN.full(time)) == (clock, when, full)


def test_a_time_no_calendar_reaches_is_shown_all_the_same() -> None:
    never = Timestamp(seconds=2**60)

    assert rfc3339(never) == f"{2**60}.000000000"
    assert BERLIN.when(never) == rfc3339(never)
    assert BERLIN.age_s(never) == 0
