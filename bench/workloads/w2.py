"""W2: how long a run takes when nothing else goes on: one at a time."""

import time
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from bench.percentiles import percentiles
from bench.workloads.chain import STEPS, run_chain, step_times
from bench.workloads.w1 import Mark
from holdfast import Client, RunHandle


@dataclass(frozen=True, slots=True)
class Runs:
    """How many runs to make, one after the other.

    Attributes:
        warm_up: Runs before anything is counted.
        repeats: How often the percentiles are taken; the result is their median.
        runs: Runs in one repeat.
    """

    warm_up: int
    repeats: int
    runs: int


@dataclass(frozen=True, slots=True)
class Latency:
    """What was measured.

    Attributes:
        p50_ms: Median over the repeats of the median time from start to result.
        p95_ms: The same for the 95th percentile.
        p99_ms: The same for the 99th percentile.
        steps: Steps of all runs.
        runs: Runs in all repeats; all of them SUCCEEDED.
        checked: Of these, how many histories were read and hold exactly five succeeded steps.
    """

    p50_ms: float
    p95_ms: float
    p99_ms: float
    steps: float
    runs: int
    checked: int

    def as_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        return asdict(self)


async def measure(client: Client, order: Runs, mark: Mark) -> Latency:
    """Make the runs and take their times; `mark` is called with `begin` and `end` of what counts.

    Raises:
        WrongRunError: A run did not do what it should.
        RunNotSucceededError: A run did not succeed.
    """
    for _ in range(order.warm_up):
        await run_chain(client)
    handles: list[RunHandle] = []
    repeats = []
    mark("begin")
    for _ in range(order.repeats):
        times = []
        for _ in range(order.runs):
            begun = time.perf_counter()
            handles.append(await run_chain(client))
            times.append(time.perf_counter() - begun)
        repeats.append(percentiles(times))
    mark("end")
    await step_times(handles)
    return Latency(
        p50_ms=median([times[50] for times in repeats]) * 1e3,
        p95_ms=median([times[95] for times in repeats]) * 1e3,
        p99_ms=median([times[99] for times in repeats]) * 1e3,
        steps=len(handles) * STEPS,
        runs=len(handles),
        checked=len(handles),
    )
