"""W1: steps per second at a given number of runs in flight."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from bench.percentiles import percentiles
from bench.workloads.chain import STEPS, count_steps, evenly, run_chain
from holdfast import Client, RunHandle

Mark = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Load:
    """How to put load on the server.

    Attributes:
        concurrency: Runs in flight; as one ends the next is started.
        warm_up_s: How long before anything is counted.
        slices: Into how many repeats the time is cut; the result is their median.
        slice_s: Length of one.
        checked_max: Of how many runs the histories are read afterwards.
    """

    concurrency: int
    warm_up_s: float
    slices: int
    slice_s: float
    checked_max: int


@dataclass(frozen=True, slots=True)
class Point:
    """What was measured at one concurrency.

    Attributes:
        concurrency: Runs in flight.
        steps_per_s: Median over the slices.
        slices: Steps per second of each slice.
        runs: Runs that ended in the slices; all of them SUCCEEDED.
        checked: Of these, how many histories were read and hold exactly five succeeded steps.
        p50_ms: Median time from start to result.
        p99_ms: 99th percentile of it.
    """

    concurrency: int
    steps_per_s: float
    slices: list[float]
    runs: int
    checked: int
    p50_ms: float
    p99_ms: float

    def as_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        return asdict(self)


async def measure(client: Client, load: Load, mark: Mark) -> Point:
    """Keep the runs in flight and count; `mark` is called with `begin` and `end` of what counts.

    Raises:
        WrongRunError: A run did not do what it should.
        RunNotSucceededError: A run did not succeed.
    """
    ended: list[tuple[float, float, RunHandle]] = []
    stop = asyncio.Event()

    async def keep_one_going() -> None:
        while not stop.is_set():
            begun = time.perf_counter()
            handle = await run_chain(client)
            ended.append((time.perf_counter(), begun, handle))

    async with asyncio.TaskGroup() as group:
        for _ in range(load.concurrency):
            group.create_task(keep_one_going())
        await asyncio.sleep(load.warm_up_s)
        mark("begin")
        first = time.perf_counter()
        await asyncio.sleep(load.slices * load.slice_s)
        last = time.perf_counter()
        mark("end")
        stop.set()
    return await _point(load, ended, first, last)


async def _point(load: Load, ended: list[tuple[float, float, RunHandle]], first: float, last: float) -> Point:
    counted = [entry for entry in ended if first <= entry[0] < last]
    length = (last - first) / load.slices
    runs = [0] * load.slices
    for end, _, _ in counted:
        runs[min(load.slices - 1, int((end - first) / length))] += 1
    chosen = evenly([handle for _, _, handle in counted], load.checked_max)
    steps_per_run = await count_steps(chosen) / len(chosen) if chosen else STEPS
    rates = [count * steps_per_run / length for count in runs]
    times = percentiles([end - begun for end, begun, _ in counted])
    return Point(
        concurrency=load.concurrency,
        steps_per_s=median(rates),
        slices=rates,
        runs=len(counted),
        checked=len(chosen),
        p50_ms=times[50] * 1e3,
        p99_ms=times[99] * 1e3,
    )
