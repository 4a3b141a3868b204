"""How long and how often is measured: `quick` within a minute, `full` as the figures in the documents are taken."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.workloads import w1, w2, w3, w4, w5, w6, w7


@dataclass(frozen=True, slots=True)
class Plan:
    """What is done.

    Attributes:
        passes: How often all of it is done with fresh processes and databases; medians are taken.
        orders: By workload: how much of it, one order for each row of its table. Workloads not named are left out.
    """

    passes: int
    orders: Mapping[str, Sequence[Any]]


STACKS = (("W2", "W1"), ("W5", "W3", "W6"), ("W4",), ("W7",))
"""Workloads that share processes and a database, in order: quiet ones first, while the database is small. Where the
memory of the server counts, a workload is alone."""

_QUICK_CONCURRENCIES = (10, 100, 500, 2_000)
_FULL_CONCURRENCIES = (10, 20, 50, 100, 200, 500, 1_000, 2_000)
PARTS = 995
"""Parallel steps of W3: with their four joins and the last step they are the 1,000 steps a definition may have."""

PLANS = {
    "quick": Plan(
        passes=1,
        orders={
            "W1": [
                w1.Load(concurrency, warm_up_s=1.5, slices=3, slice_s=1.3, checked_max=1_000)
                for concurrency in _QUICK_CONCURRENCIES
            ],
            "W2": [w2.Runs(warm_up=20, repeats=3, runs=80)],
            "W3": [w3.Runs(parts=PARTS, warm_up=1, runs=5)],
            "W4": [w4.Flood(warm_up=200, runs=10_000, checked_max=1_000)],
            "W5": [w5.Signals(warm_up=50, runs=300)],
            "W6": [w6.Runs(length=1_000, warm_up=1, runs=3)],
        },
    ),
    "full": Plan(
        passes=3,
        orders={
            "W1": [
                w1.Load(concurrency, warm_up_s=3.0, slices=3, slice_s=4.0, checked_max=1_000_000)
                for concurrency in _FULL_CONCURRENCIES
            ],
            "W2": [w2.Runs(warm_up=100, repeats=3, runs=500)],
            "W3": [w3.Runs(parts=PARTS, warm_up=2, runs=15)],
            "W4": [w4.Flood(warm_up=500, runs=10_000, checked_max=10_000)],
            "W5": [w5.Signals(warm_up=200, runs=1_000)],
            "W6": [w6.Runs(length=1_000, warm_up=2, runs=7)],
            "W7": [w7.Crowd(waiting=100_000, warm_up=50, decisions=500, checked_max=2_000)],
        },
    ),
}
