"""W7: very many runs that wait for people: how soon a killed server is back, and how soon a decision counts."""

import asyncio
import time
from dataclasses import dataclass

from bench.outside import Outside
from bench.workloads.definitions import gated
from bench.workloads.runs import PAYLOAD, check_waiting, evenly, expect, histories, spread
from holdfast import Client, RunHandle
from holdfast.v1.gate_pb2 import Gate

STARTED_AT_ONCE = 2_000


@dataclass(frozen=True, slots=True)
class Crowd:
    """How many runs wait, and how many of them are decided, one after the other.

    Attributes:
        waiting: Runs that wait at a gate.
        warm_up: Decisions before anything is counted.
        decisions: Decisions that count.
        checked_max: Of how many runs that go on waiting the histories are read afterwards.
    """

    waiting: int
    warm_up: int
    decisions: int
    checked_max: int


@dataclass(frozen=True, slots=True)
class Decided:
    """What was measured.

    Attributes:
        restart_s: Time from the start of the new server until it can be called.
        peak_mb: Most resident memory of that server, from its start to the last decision; None if it is not known.
        filled_mb: The same of the one before, from its start until all runs waited.
        p50_ms: Median time from sending a decision to having the run's result, of runs nobody touched since the
            restart.
        p95_ms: 95th percentile of it.
        p99_ms: 99th percentile of it.
        starts_per_s: Starts that were accepted per second.
        waiting: Runs that waited.
        steps: Steps of the runs that were decided: one each.
        runs: Runs that were decided and count; all of them SUCCEEDED.
        checked: How many histories were read: of these, which hold one succeeded step, and of runs that still wait.
    """

    restart_s: float
    peak_mb: float | None
    filled_mb: float | None
    p50_ms: float
    p95_ms: float
    p99_ms: float
    starts_per_s: float
    waiting: int
    steps: float
    runs: int
    checked: int


async def measure(client: Client, order: Crowd, outside: Outside) -> Decided:
    """Let the runs wait, kill the server, and decide some of them at the next one.

    Raises:
        WrongRunError: A run did not do what it should.
        RunNotSucceededError: A run did not succeed.
    """
    workflow = gated()
    await client.register(workflow)
    begun = time.perf_counter()
    handles = await _start(client, workflow.name, order.waiting)
    starting_s = time.perf_counter() - begun
    decided = evenly(handles, order.warm_up + order.decisions)
    # Shown before the restart, so that afterwards the decision is the first thing that touches the run.
    gates = [await client.gates.get(handle.run_id) for handle in decided]
    filled_mb = await outside.server_peak_mb()
    restart_s = await outside.restart_server()
    await client.operations.server_info()  # the connection is there again
    pairs = list(zip(decided, gates, strict=True))
    for handle, gate in pairs[: order.warm_up]:
        await _decide(client, handle, gate)
    await outside.begin()
    times = [await _decide(client, handle, gate) for handle, gate in pairs[order.warm_up :]]
    await outside.end()
    peak_mb = await outside.server_peak_mb()
    await histories(decided, 1)
    ended = {handle.run_id for handle in decided}
    still = evenly([handle for handle in handles if handle.run_id not in ended], order.checked_max)
    await check_waiting(still, "gate_opened")
    taken = spread(times)
    return Decided(
        restart_s=restart_s,
        peak_mb=peak_mb,
        filled_mb=filled_mb,
        p50_ms=taken.p50_ms,
        p95_ms=taken.p95_ms,
        p99_ms=taken.p99_ms,
        starts_per_s=order.waiting / starting_s,
        waiting=order.waiting,
        steps=order.decisions,
        runs=order.decisions,
        checked=order.decisions + len(still),
    )


async def _start(client: Client, workflow: str, count: int) -> list[RunHandle]:
    handles: list[RunHandle] = []
    while len(handles) < count:
        together = min(STARTED_AT_ONCE, count - len(handles))
        handles += await asyncio.gather(*(client.start(workflow, PAYLOAD) for _ in range(together)))
    return handles


async def _decide(client: Client, handle: RunHandle, gate: Gate) -> float:
    """Approve, wait for the result, and return how many seconds that took."""
    begun = time.perf_counter()
    await client.gates.approve(gate)
    await expect(handle, "APPROVED")
    return time.perf_counter() - begun
