"""W3: one run whose steps are all ready at once, and a last one that joins them."""

import time
from dataclasses import dataclass
from statistics import median

from bench.outside import Outside
from bench.workloads.definitions import fan_out
from bench.workloads.runs import histories, run_echo
from holdfast import Client, RunHandle


@dataclass(frozen=True, slots=True)
class Runs:
    """How many runs to make, one after the other.

    Attributes:
        parts: Steps that run in parallel.
        warm_up: Runs before anything is counted.
        runs: Runs that count.
    """

    parts: int
    warm_up: int
    runs: int


@dataclass(frozen=True, slots=True)
class Parallel:
    """What was measured.

    Attributes:
        seconds: Median time from start to result.
        slowest_s: Longest time.
        steps_per_s: Steps of a run, with its joins, divided by the median time.
        width: Steps that ran in parallel.
        steps: Steps of all runs.
        runs: Runs that count; all of them SUCCEEDED.
        checked: Of these, how many histories were read, with every step succeeded.
    """

    seconds: float
    slowest_s: float
    steps_per_s: float
    width: int
    steps: float
    runs: int
    checked: int


async def measure(client: Client, order: Runs, outside: Outside) -> Parallel:
    """Make the runs and take their times.

    Raises:
        WrongRunError: A run did not do what it should.
        RunNotSucceededError: A run did not succeed.
    """
    workflow = fan_out(order.parts)
    await client.register(workflow)
    for _ in range(order.warm_up):
        await run_echo(client, workflow.name)
    handles: list[RunHandle] = []
    times = []
    await outside.begin()
    for _ in range(order.runs):
        begun = time.perf_counter()
        handles.append(await run_echo(client, workflow.name))
        times.append(time.perf_counter() - begun)
    await outside.end()
    steps = len(workflow.steps)
    await histories(handles, steps)
    return Parallel(
        seconds=median(times),
        slowest_s=max(times),
        steps_per_s=steps / median(times),
        width=order.parts,
        steps=len(handles) * steps,
        runs=len(handles),
        checked=len(handles),
    )
