"""A run the database does not take, on a disk that fails while the others of its group are saved from it."""

import asyncio
import itertools
from collections.abc import Sequence
from pathlib import Path

import apsw
import grpc
import pytest
from grpc import aio

from holdfast.v1 import run_service_pb2 as runs
from holdfast.v1.run_pb2 import WaitingReason
from holdfast.v1.signal_pb2 import Signal
from holdfast_server.app import Server
from tests.chaos.power.driver import driver_over
from tests.chaos.power.faults import EIO, ENOSPC, Fault, Faults
from tests.chaos.power.server_load import Eyes, ServerLoad, serving
from tests.chaos.power.sweep import ALL, chance_of, tell
from tests.chaos.power.vfs import TracingVfs
from tests.integration.raw import Refusal, Stubs, refusal_of

pytestmark = [pytest.mark.asyncio, pytest.mark.chaos, pytest.mark.timeout(0 if ALL else 60)]

RUNS = 8


async def _signal(stubs: Stubs, run_id: str) -> Refusal | None:
    """Send a signal until there is an answer other than that the database is not available."""
    request = runs.SignalRunRequest(run_id=run_id, signal=Signal(name="other"), request_id="1")
    while True:
        try:
            await stubs.runs.SignalRun(request)
            return None
        except aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.UNAVAILABLE:
                told = await refusal_of(stubs.runs.SignalRun(request))
                if told.code is not grpc.StatusCode.UNAVAILABLE:
                    return told


async def _poison(server: Server, vfs: TracingVfs, database: Path, run_id: str) -> int:
    """Take the place of the next event of a run. Answers the key of the run."""
    row = await server.runtime.store.run("default", run_id)
    assert row is not None
    with apsw.Connection(str(database), vfs=vfs.name) as connection:
        connection.set_busy_timeout(5_000)
        connection.execute("INSERT INTO history (run, first_seq, count, blob) VALUES (?, 3, 1, x'')", (row.key,))
    connection.close()
    return row.key


@pytest.mark.parametrize("fault", [ENOSPC, EIO], ids=lambda fault: fault.name)
async def test_only_the_poisoned_run_is_quarantined(tmp_path: Path, fault: Fault) -> None:
    database = tmp_path / "holdfast.db"
    bad: list[str] = []
    every = 1 if ALL else 12
    with TracingVfs() as vfs:
        faults = Faults(vfs)
        async with serving(database, driver_over(vfs.name), hot_runs=1_000) as (server, stubs):
            server.runtime.health._retry_s = 0.02
            load = ServerLoad(stubs, Eyes(), vfs.mark)
            await load.go_short_round("0")
            for nth in itertools.count(chance_of("quarantine").randint(1, every), every):
                run_ids = [f"run-{nth}-{number}" for number in range(RUNS)]
                await load.start_all("hold", run_ids)
                poisoned = chance_of("poisoned", nth).choice(run_ids)
                await _poison(server, vfs, database, poisoned)
                faults.arm(fault, nth, lasting=False, torn=bool(nth % 2))
                answers = await asyncio.gather(*(_signal(stubs, run_id) for run_id in run_ids))
                faults.heal()
                await _only(stubs, poisoned, run_ids, answers)
                for run_id in run_ids:
                    if run_id != poisoned:
                        kinds = await load.kinds(run_id)
                        assert kinds == ["run_started", "wait_opened", "signal_received"]
                bad.append(poisoned)
                if faults.hit is None:
                    break
    tell(f"a run that is not taken, {fault.name}", **{f"operations failed, {fault.name}": faults.all_hits.total()})
    with apsw.Connection(str(database)) as connection:
        connection.execute("DELETE FROM history WHERE blob = x''")
    connection.close()
    async with serving(database) as (_server, stubs):
        load = ServerLoad(stubs, load.eyes, lambda _mark: None)
        for run_id in bad:
            await load.signal(run_id, "go", "mended")
        await load.finish()


async def _only(stubs: Stubs, poisoned: str, run_ids: Sequence[str], answers: Sequence[Refusal | None]) -> None:
    for run_id, answer in zip(run_ids, answers, strict=True):
        if run_id == poisoned:
            assert answer is not None
            assert answer.reason == "RUN_QUARANTINED", answer
        else:
            assert answer is None, answer
    run = (await stubs.runs.GetRun(runs.GetRunRequest(run_id=poisoned))).run
    assert run.summary.waiting_reason == WaitingReason.WAITING_REASON_QUARANTINED
