"""Duration texts of definitions: `500ms`, `60s`, `10m`, `24h`, `7d`."""

import re

__all__ = ["DurationError", "parse_duration_us"]

UNITS_US = {"ms": 1_000, "s": 1_000_000, "m": 60_000_000, "h": 3_600_000_000, "d": 86_400_000_000}
FORM = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,6})?)(ms|s|m|h|d)")
LONGEST_US = 100 * 365 * UNITS_US["d"]


class DurationError(ValueError):
    """A text that is no duration, or one above a hundred years."""


def parse_duration_us(text: str) -> int:
    """A duration text in microseconds.

    Raises:
        DurationError: it is not a number with one of the units ms, s, m, h, d.
    """
    found = FORM.fullmatch(text.strip())
    if found is None:
        message = f"{text[:60]!r} is not a duration; write a number and a unit, such as 500ms, 60s, 10m, 24h or 7d"
        raise DurationError(message)
    value_us = round(float(found[1]) * UNITS_US[found[2]])
    if value_us > LONGEST_US:
        message = f"{text[:60]!r} is longer than 36500d, the longest duration"
        raise DurationError(message)
    return value_us
