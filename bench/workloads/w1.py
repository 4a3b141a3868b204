"""W1: steps per second at a given number of runs in flight."""

import asyncio
import time
from dataclasses import dataclass
from statistics import median

from bench.outside import Outside
from bench.percentiles import percentiles
from bench.workloads.definitions import CHAIN, CHAIN_NAME, CHAIN_STEPS
from bench.workloads.runs import evenly, histories, run_echo
from holdfast import Client, RunHandle


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
        steps: Steps in all slices.
        runs: Runs that were under way in the slices; all of them SUCCEEDED.
        checked: Of these, how many histories were read and hold exactly five succeeded steps.
        p50_ms: Median time from start to result.
        p99_ms: 99th percentile of it.
    """

    concurrency: int
    steps_per_s: float
    slices: list[float]
    steps: float
    runs: int
    checked: int
    p50_ms: float
    p99_ms: float


async def measure(client: Client, load: Load, outside: Outside) -> Point:
    """Keep the runs in flight and count.

    Raises:
        WrongRunError: A run did not do what it should.
        RunNotSucceededError: A run did not succeed.
    """
    await client.register(CHAIN)
    ended: list[_Ended] = []
    stop = asyncio.Event()

    async def keep_one_going() -> None:
        while not stop.is_set():
            begun = time.time()
            handle = await run_echo(client, CHAIN_NAME)
            ended.append(_Ended(begun, time.time(), handle))

    async with asyncio.TaskGroup() as group:
        for _ in range(load.concurrency):
            group.create_task(keep_one_going())
        await asyncio.sleep(load.warm_up_s)
        await outside.begin()
        first = time.time()
        await asyncio.sleep(load.slices * load.slice_s)
        last = time.time()
        await outside.end()
        stop.set()
    return await _point(load, ended, first, last)


@dataclass(frozen=True, slots=True)
class _Ended:
    """A run that ended, with when the client began it and had its result, in seconds since the epoch."""

    begun: float
    ended: float
    handle: RunHandle


async def _point(load: Load, ended: list[_Ended], first: float, last: float) -> Point:
    """Count the steps that succeeded between two times, by the histories of the runs that were under way.

    Runs begun together go in waves, so counting runs that end would count waves. Where not all histories are read, an
    even sample stands for all.
    """
    under_way = [run for run in ended if run.ended >= first and run.begun < last]
    chosen = evenly(under_way, load.checked_max)
    weight = len(under_way) / max(1, len(chosen))
    length = (last - first) / load.slices
    steps = [0.0] * load.slices
    for history in await histories([run.handle for run in chosen], CHAIN_STEPS):
        for when in history.steps:
            if first <= when < last:
                steps[min(load.slices - 1, int((when - first) / length))] += weight
    rates = [count / length for count in steps]
    taken = percentiles([run.ended - run.begun for run in under_way])
    return Point(
        concurrency=load.concurrency,
        steps_per_s=median(rates),
        slices=rates,
        steps=sum(steps),
        runs=len(under_way),
        checked=len(chosen),
        p50_ms=taken[50] * 1e3,
        p99_ms=taken[99] * 1e3,
    )
