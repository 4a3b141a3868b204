"""W5: how long it takes from a signal until the run that waits for it has ended."""

import asyncio
import time
from dataclasses import dataclass

from bench.outside import Outside
from bench.workloads.definitions import waiting
from bench.workloads.runs import PAYLOAD, check_waiting, expect, histories, spread
from holdfast import Client, RunHandle


@dataclass(frozen=True, slots=True)
class Signals:
    """How many runs get their signal, one after the other; all of them wait from the beginning.

    Attributes:
        warm_up: Runs before anything is counted.
        runs: Runs that count.
    """

    warm_up: int
    runs: int


@dataclass(frozen=True, slots=True)
class Signalled:
    """What was measured.

    Attributes:
        p50_ms: Median time from sending the signal to having the result.
        p95_ms: 95th percentile of it.
        p99_ms: 99th percentile of it.
        steps: Steps of all runs: one each.
        runs: Runs that count; all of them SUCCEEDED.
        checked: Of these, how many histories were read and hold exactly one succeeded step.
    """

    p50_ms: float
    p95_ms: float
    p99_ms: float
    steps: float
    runs: int
    checked: int


async def measure(client: Client, order: Signals, outside: Outside) -> Signalled:
    """Start the runs, then send the signals and take the times.

    Raises:
        WrongRunError: A run did not do what it should.
        RunNotSucceededError: A run did not succeed.
    """
    workflow = waiting()
    await client.register(workflow)
    count = order.warm_up + order.runs
    handles = await asyncio.gather(*(client.start(workflow) for _ in range(count)))
    await check_waiting(handles, "wait_opened")
    async with asyncio.TaskGroup() as group:
        # Ids go out in order on one stream: the results of the warm-up show that the server knows of all who wait.
        pairs = [(handle, group.create_task(expect(handle, PAYLOAD))) for handle in handles]
        for handle, result in pairs[: order.warm_up]:
            await _signal(handle, result)
        await outside.begin()
        times = [await _signal(handle, result) for handle, result in pairs[order.warm_up :]]
        await outside.end()
    await histories(handles, 1)
    taken = spread(times)
    return Signalled(
        p50_ms=taken.p50_ms,
        p95_ms=taken.p95_ms,
        p99_ms=taken.p99_ms,
        steps=order.runs,
        runs=order.runs,
        checked=order.runs,
    )


async def _signal(handle: RunHandle, result: asyncio.Task[None]) -> float:
    """Let a run end whose result is waited for already, and return how many seconds that took."""
    begun = time.perf_counter()
    await handle.signal("go", PAYLOAD)
    await result
    return time.perf_counter() - begun
