"""The workloads: what the load process does, one module each."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from bench.outside import Outside
from bench.workloads import w1, w2, w3, w4, w5, w6, w7
from holdfast import Client


@dataclass(frozen=True, slots=True)
class Workload:
    """One of them.

    Attributes:
        order: The class that says how much of it to do.
        measure: Does it; returns a dataclass with the figures, which has `steps`, `runs` and `checked` among them.
    """

    order: Callable[..., Any]
    measure: Callable[[Client, Any, Outside], Awaitable[Any]]


WORKLOADS = {
    "W1": Workload(w1.Load, w1.measure),
    "W2": Workload(w2.Runs, w2.measure),
    "W3": Workload(w3.Runs, w3.measure),
    "W4": Workload(w4.Flood, w4.measure),
    "W5": Workload(w5.Signals, w5.measure),
    "W6": Workload(w6.Runs, w6.measure),
    "W7": Workload(w7.Crowd, w7.measure),
}
