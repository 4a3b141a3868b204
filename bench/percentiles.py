"""Percentiles of measured values."""

import math
from collections.abc import Sequence


def percentiles(values: Sequence[float]) -> dict[int, float]:
    """Return the 50th, 95th and 99th percentile: the smallest value that as many per cent do not exceed.

    Without values all are NaN.
    """
    ordered = sorted(values)
    if not ordered:
        return dict.fromkeys((50, 95, 99), math.nan)
    return {share: ordered[max(0, math.ceil(share / 100 * len(ordered)) - 1)] for share in (50, 95, 99)}
