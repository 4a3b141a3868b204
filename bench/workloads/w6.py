"""W6: one run with a long history: steps one after the other, of which the last must not cost more than the first."""

import time
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from bench.outside import Outside
from bench.workloads.definitions import long_chain
from bench.workloads.runs import History, histories, run_echo
from holdfast import Client, RunHandle


@dataclass(frozen=True, slots=True)
class Runs:
    """How many runs to make, one after the other.

    Attributes:
        length: Steps of a run.
        warm_up: Runs before anything is counted.
        runs: Runs that count.
    """

    length: int
    warm_up: int
    runs: int


@dataclass(frozen=True, slots=True)
class Sequential:
    """What was measured.

    Attributes:
        seconds: Median time from start to result.
        decile_ratio: Median over the runs of how long a step took in the last tenth, divided by that in the first.
        bytes_per_step: What the database grew by, after a checkpoint, divided by the steps.
        steps_per_s: Steps of a run divided by the median time.
        length: Steps of a run.
        steps: Steps of all runs.
        runs: Runs that count; all of them SUCCEEDED.
        checked: Of these, how many histories were read, with every step succeeded.
    """

    seconds: float
    decile_ratio: float
    bytes_per_step: float
    steps_per_s: float
    length: int
    steps: float
    runs: int
    checked: int


async def measure(client: Client, order: Runs, outside: Outside) -> Sequential:
    """Make the runs and take their times.

    Raises:
        WrongRunError: A run did not do what it should.
        RunNotSucceededError: A run did not succeed.
    """
    workflow = long_chain(order.length)
    await client.register(workflow)
    for _ in range(order.warm_up):
        await run_echo(client, workflow.name)
    handles: list[RunHandle] = []
    times = []
    before = await outside.database_bytes()
    await outside.begin()
    for _ in range(order.runs):
        begun = time.perf_counter()
        handles.append(await run_echo(client, workflow.name))
        times.append(time.perf_counter() - begun)
    await outside.end()
    after = await outside.database_bytes()
    read = await histories(handles, order.length)
    steps = len(handles) * order.length
    return Sequential(
        seconds=median(times),
        decile_ratio=median([decile_ratio(history) for history in read]),
        bytes_per_step=(after - before) / steps,
        steps_per_s=order.length / median(times),
        length=order.length,
        steps=steps,
        runs=len(handles),
        checked=len(handles),
    )


def decile_ratio(history: History) -> float:
    """Return how long a step took in the last tenth of a run, divided by that in the first tenth.

    Both are medians, so that a pause of the disk in one of them does not look like growth.
    """
    taken = [later - earlier for earlier, later in pairwise([history.started, *history.steps])]
    tenth = len(taken) // 10
    return median(taken[-tenth:]) / median(taken[:tenth])
