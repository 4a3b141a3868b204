"""W2: how long a run takes when nothing else goes on: one at a time."""

import time
from dataclasses import dataclass
from statistics import median

from bench.outside import Outside
from bench.workloads.definitions import CHAIN, CHAIN_NAME, CHAIN_STEPS
from bench.workloads.runs import histories, run_echo, spread
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


async def measure(client: Client, order: Runs, outside: Outside) -> Latency:
    """Make the runs and take their times.

    Raises:
        WrongRunError: A run did not do what it should.
        RunNotSucceededError: A run did not succeed.
    """
    await client.register(CHAIN)
    for _ in range(order.warm_up):
        await run_echo(client, CHAIN_NAME)
    handles: list[RunHandle] = []
    repeats = []
    await outside.begin()
    for _ in range(order.repeats):
        times = []
        for _ in range(order.runs):
            begun = time.perf_counter()
            handles.append(await run_echo(client, CHAIN_NAME))
            times.append(time.perf_counter() - begun)
        repeats.append(spread(times))
    await outside.end()
    await histories(handles, CHAIN_STEPS)
    return Latency(
        p50_ms=median([times.p50_ms for times in repeats]),
        p95_ms=median([times.p95_ms for times in repeats]),
        p99_ms=median([times.p99_ms for times in repeats]),
        steps=len(handles) * CHAIN_STEPS,
        runs=len(handles),
        checked=len(handles),
    )
