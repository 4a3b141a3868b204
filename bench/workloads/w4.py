"""W4: as many runs as possible started at once, and how long the server takes until it has done all of them."""

import asyncio
import time
from dataclasses import dataclass

from bench.outside import Outside
from bench.workloads.definitions import CHAIN, CHAIN_NAME, CHAIN_STEPS
from bench.workloads.runs import PAYLOAD, evenly, expect, histories, run_echo
from holdfast import Client, RunHandle


@dataclass(frozen=True, slots=True)
class Flood:
    """How many runs to start.

    Attributes:
        warm_up: Runs before anything is counted.
        runs: Runs that are started at once.
        checked_max: Of how many the histories are read afterwards.
    """

    warm_up: int
    runs: int
    checked_max: int


@dataclass(frozen=True, slots=True)
class Flooded:
    """What was measured.

    Attributes:
        starts_per_s: Starts that were accepted, divided by the time until the last of them was.
        seconds: Time from the first start until the last result.
        peak_mb: Most resident memory of the server until then; None where that cannot be read.
        steps_per_s: Steps of all runs divided by that time.
        width: Runs that were started at once.
        steps: Steps of all runs.
        runs: The runs; all of them SUCCEEDED.
        checked: Of these, how many histories were read and hold exactly five succeeded steps.
    """

    starts_per_s: float
    seconds: float
    peak_mb: float | None
    steps_per_s: float
    width: int
    steps: float
    runs: int
    checked: int


async def measure(client: Client, order: Flood, outside: Outside) -> Flooded:
    """Start the runs and wait for their results.

    Raises:
        WrongRunError: A run did not do what it should.
        RunNotSucceededError: A run did not succeed.
    """
    await client.register(CHAIN)
    for _ in range(order.warm_up):
        await run_echo(client, CHAIN_NAME)
    accepted = 0.0

    async def run() -> RunHandle:
        nonlocal accepted
        handle = await client.start(CHAIN_NAME, PAYLOAD)
        accepted = time.perf_counter()
        await expect(handle, PAYLOAD)
        return handle

    await outside.begin()
    begun = time.perf_counter()
    handles = await asyncio.gather(*(run() for _ in range(order.runs)))
    seconds = time.perf_counter() - begun
    await outside.end()
    peak_mb = await outside.server_peak_mb()
    chosen = evenly(handles, order.checked_max)
    await histories(chosen, CHAIN_STEPS)
    return Flooded(
        starts_per_s=len(handles) / (accepted - begun),
        seconds=seconds,
        peak_mb=peak_mb,
        steps_per_s=len(handles) * CHAIN_STEPS / seconds,
        width=order.runs,
        steps=len(handles) * CHAIN_STEPS,
        runs=len(handles),
        checked=len(chosen),
    )
