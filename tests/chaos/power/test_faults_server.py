"""ENOSPC and EIO at every operation of a load on a server: what it says meanwhile, and that it goes on by itself."""

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import grpc
import pytest
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from holdfast.v1 import operations_service_pb2 as operations, run_service_pb2 as runs
from holdfast.v1.operations_service_pb2 import HealthState
from holdfast.v1.run_pb2 import RunState
from holdfast.v1.signal_pb2 import Signal
from holdfast.v1.workflow_service_pb2 import RegisterWorkflowRequest
from tests.chaos.power.disk import Mark, Operation
from tests.chaos.power.driver import driver_over
from tests.chaos.power.faults import EIO, EIO_AT_READS, ENOSPC, Fault, Faults
from tests.chaos.power.server_load import Eyes, ServerLoad, check_server, serving
from tests.chaos.power.sweep import ALL, Figures, chance_of, memory_folder, moments, sweep, tell
from tests.chaos.power.vfs import TracingVfs
from tests.integration.raw import Stubs, refusal_of, refused

pytestmark = [
    pytest.mark.usefixtures("frequent_checkpoints"),
    pytest.mark.asyncio,
    pytest.mark.chaos,
    pytest.mark.timeout(0 if ALL else 100),
]

OK = HealthState.HEALTH_STATE_OK
ROUNDS = 30
"""In the life of one server; in each another operation fails."""
MOMENTS = 20 if ALL else 3


class Operator:
    """Sees what a server says of itself while its disk fails, and mends the disk.

    Args:
        stubs: the server.
        faults: of its disk.
        eyes: what callers were shown.
        reads: whether the server can read meanwhile; one connection that met an I/O error has to be opened again first.

    Attributes:
        looked: how often a server that takes no changes was looked at.
    """

    def __init__(self, stubs: Stubs, faults: Faults, eyes: Eyes, *, reads: bool) -> None:
        self._stubs = stubs
        self._reads = reads
        self._faults = faults
        self._eyes = eyes
        self.looked = 0

    async def refused(self, error: Exception | None) -> None:
        """Something was refused: it is right that it was, the server says so, and in the end it goes on."""
        if isinstance(error, aio.AioRpcError):
            assert error.code() is grpc.StatusCode.UNAVAILABLE, error
        if self._faults.lasts and self._faults.hit is not None and self._faults.hit.what != "read":
            await self._look()
        self._faults.heal()
        await self.well()

    async def well(self) -> None:
        """Returns once the server takes changes, which it has to find out by itself."""
        while (await self._stubs.operations.GetServerInfo(operations.GetServerInfoRequest())).health != OK:
            pass

    async def _look(self) -> None:
        info = await self._stubs.operations.GetServerInfo(operations.GetServerInfoRequest())
        if info.health == OK:
            return  # what failed was not a commit
        self.looked += 1
        assert info.health == HealthState.HEALTH_STATE_READ_ONLY, info
        assert "the database refuses writes" in info.health_message
        health = health_pb2_grpc.HealthStub(self._stubs.channel)
        answer = await health.Check(health_pb2.HealthCheckRequest(service="holdfast.v1.RunService"))  # type: ignore[attr-defined]
        assert answer.status == health_pb2.HealthCheckResponse.NOT_SERVING
        await self._changes_are_refused()
        if self._reads:
            await self._what_was_shown_is_shown()

    async def _changes_are_refused(self) -> None:
        stubs = self._stubs
        with refused("STORE_UNAVAILABLE", "UNAVAILABLE"):
            await stubs.runs.StartRun(runs.StartRunRequest(workflow="hold"))
        with refused("STORE_UNAVAILABLE", "UNAVAILABLE"):
            await stubs.workflows.RegisterWorkflow(
                RegisterWorkflowRequest(source="{name: w, steps: [{name: s, wait: {signal: go}}]}")
            )
        for run_id in [one for one in self._eyes.histories if one.startswith("left-")][-1:]:
            with refused("STORE_UNAVAILABLE", "UNAVAILABLE"):
                await stubs.runs.SignalRun(runs.SignalRunRequest(run_id=run_id, signal=Signal(name="lost")))
            with refused("STORE_UNAVAILABLE", "UNAVAILABLE"):
                await stubs.runs.CancelRun(runs.CancelRunRequest(run_id=run_id))

    async def _what_was_shown_is_shown(self) -> None:
        """And nothing of what was refused."""
        accepted, histories, together = self._eyes.accepted, self._eyes.histories, self._eyes.together
        for run_id in self._eyes.tried - accepted - together:
            told = await refusal_of(self._stubs.runs.GetHistory(runs.GetHistoryRequest(run_id=run_id)))
            assert told.reason == "RUN_NOT_FOUND", f"{run_id} was refused and is there: {told}"
        for run_id in [one for one in histories if one not in self._eyes.deleting][-10:]:
            request = runs.GetHistoryRequest(run_id=run_id, page_size=1_000)
            events = (await self._stubs.runs.GetHistory(request)).events
            shown = tuple(event.SerializeToString(deterministic=True) for event in events)
            assert shown[: len(histories[run_id])] == histories[run_id], f"{run_id} is shown otherwise than before"
        listed = (await self._stubs.runs.ListRuns(runs.ListRunsRequest(page_size=20))).runs
        assert {one.run_id for one in listed} <= accepted | together
        for one in [one for one in listed if one.run_id not in self._eyes.deleting]:
            request = runs.GetHistoryRequest(run_id=one.run_id, page_size=1_000)
            events = (await self._stubs.runs.GetHistory(request)).events
            closed = not any(one.state == state for state in (RunState.RUN_STATE_RUNNING, RunState.RUN_STATE_PAUSED))
            ended = str(events[-1].WhichOneof("body")).startswith("run_") and events[-1].WhichOneof("body") not in {
                "run_started",
                "run_paused",
                "run_resumed",
                "run_cancel_requested",
                "run_reopened",
            }
            assert closed == ended, f"{one.run_id} is listed as {one.state}"


@pytest.mark.parametrize("several", [True, False], ids=["several connections", "one connection"])
@pytest.mark.parametrize("fault", [ENOSPC, EIO, EIO_AT_READS], ids=lambda fault: fault.name)
async def test_any_operation_may_fail(tmp_path: Path, fault: Fault, several: bool) -> None:
    """In each round one operation fails, or all from one on until somebody has looked at the server."""
    # With one connection it is the same server; some operations will do.
    # Reads are few: what was read once is in memory.
    every = 1 if ALL and several else 7 if ALL else 3 if fault is EIO_AT_READS else 61
    hits: Counter[str] = Counter()
    figures = Figures()
    looked = rounds = 0
    positions: Iterator[int] = itertools.count(chance_of("first").randint(1, every), every)
    more = True
    while more:
        with memory_folder() as folder, TracingVfs() as vfs:
            faults = Faults(vfs)
            eyes = Eyes()
            async with serving(folder / "holdfast.db", driver_over(vfs.name, several_connections=several)) as running:
                server, stubs = running
                server.runtime.health._retry_s = 0.02
                operator = Operator(stubs, faults, eyes, reads=several or fault is ENOSPC)
                load = ServerLoad(stubs, eyes, vfs.mark, operator.refused)
                await load.go_short_round("0")
                for nth in itertools.islice(positions, ROUNDS):
                    chance = chance_of("fault", nth)
                    faults.arm(fault, nth, lasting=chance.random() < 0.6, torn=chance.random() < 0.5)
                    await load.go_short_round(f"{nth}")
                    faults.heal()
                    await operator.well()
                    rounds += 1
                    more = faults.hit is not None
                    if not more:
                        break
                await load.finish()
            await check_server(folder / "holdfast.db", eyes)
        looked += operator.looked
        hits += faults.all_hits
        chosen = moments(vfs.trace, MOMENTS, chance_of("moments", rounds))
        figures.add(await sweep(vfs.trace, chosen, 1, look, tmp_path / "kept"))

    assert hits
    assert looked or fault is EIO_AT_READS or not ALL
    numbers = {f"operations failed, {fault.name}": hits.total(), "looks at a server that refuses changes": looked}
    tell(f"a server, {fault.name}: {dict(hits)}", rounds=rounds, **numbers, **figures.numbers)


async def look(image: Path, before: Sequence[Operation]) -> None:
    """After the faults the power went."""
    eyes = Eyes()
    for operation in before:
        if isinstance(operation, Mark):
            eyes.take(operation.what)
    await check_server(image / "holdfast.db", eyes)
