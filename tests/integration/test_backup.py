"""A backup that is taken under load, restored elsewhere and gone on with: nothing is missing, and all runs end."""

import asyncio
import json
import os
import random
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from holdfast import Client
from holdfast.testing.processes import ServerProcess, WorkerProcess
from holdfast.v1.run_pb2 import RunState
from holdfast_server.engine.state import OPEN_RUN

CHANCE = random.Random()  # noqa: S311 - chooses what runs do, no secret
BACKUPS = 2
DRIVERS = 10
HANDLERS = """
from holdfast import Failure, TaskContext, handler

@handler
async def step(ctx: TaskContext, value: object) -> object:
    if ctx.attempt == 1 and hash(ctx.run_id) % 5 == 0:
        raise Failure("not at once", type="Slow")
    return value
"""
CHAIN = """
name: chain
steps:
  - {name: a, task: {handler: step}, input: "${input}", retry: {initial_interval: 10ms}}
  - {name: b, after: [{step: a}], task: {handler: step}, input: "${steps.a.output}", retry: {initial_interval: 10ms}}
  - {name: c, after: [{step: b}], task: {handler: step}, input: "${steps.b.output}", retry: {initial_interval: 10ms}}
output: "${steps.c.output}"
"""
WAITS = """
name: waits
steps:
  - {name: ask, gate: {title: Go on?}}
  - {name: hold, wait: {signal: go}}
  - {name: nap, sleep: {for: 2s}}
  - name: last
    after: [{step: ask}, {step: hold}, {step: nap}]
    join: {mode: ALL}
    task: {handler: step}
    input: "${input}"
    retry: {initial_interval: 10ms}
output: "${steps.last.output}"
"""
STEPS = {"chain": 3, "waits": 4}


@dataclass
class Load:
    """Runs that are started and ended over and over, and what is known of them."""

    client: Client
    inputs: dict[str, Any] = field(default_factory=dict)
    """Of each run whose start was accepted."""
    ended: set[str] = field(default_factory=set)
    deleted: set[str] = field(default_factory=set)
    _progress: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def drive(self) -> None:
        while True:
            value = CHANCE.choice([CHANCE.randrange(1_000), "x" * 20_000, "y" * 9_000 + str(CHANCE.randrange(3))])
            workflow = CHANCE.choice(["chain", "chain", "waits"])
            handle = await self.client.start(workflow, value)
            self.inputs[handle.run_id] = value
            if workflow == "chain":
                assert await handle.result() == value
                self.ended.add(handle.run_id)
                if CHANCE.random() < 0.2:
                    self.deleted.add(handle.run_id)
                    await handle.delete()
            async with self._progress:
                self._progress.notify_all()

    async def progress(self, runs: int) -> None:
        """Waits until so many more runs were started."""
        target = len(self.inputs) + runs
        async with self._progress:
            await self._progress.wait_for(lambda: len(self.inputs) >= target)


@asynccontextmanager
async def load_on(client: Client) -> AsyncIterator[Load]:
    for definition in (CHAIN, WAITS):
        await client.register(definition)
    load = Load(client)
    drivers = [asyncio.create_task(load.drive()) for _ in range(DRIVERS)]
    try:
        yield load
    finally:
        for driver in drivers:
            driver.cancel()
        for ended in await asyncio.gather(*drivers, return_exceptions=True):
            if isinstance(ended, Exception):
                raise ended


async def admin(*arguments: str) -> dict[str, Any]:
    """A command that has to go well."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "holdfast", "admin", *arguments, "--output", "json"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "COLUMNS": "200"},
    )
    said, complaint = await process.communicate()
    assert process.returncode == 0, (said, complaint)
    found: dict[str, Any] = json.loads(said)
    return found


@pytest.mark.asyncio
@pytest.mark.timeout(300)
async def test_a_backup_under_load_has_all_runs_and_they_end(tmp_path: Path) -> None:
    (tmp_path / "my_handlers.py").write_text(HANDLERS, encoding="utf-8")
    database = tmp_path / "holdfast.db"
    arguments = ("--hot-runs", "30", "--evict-after-s", "1")
    backups: list[tuple[Path, dict[str, Any], set[str]]] = []
    async with (
        ServerProcess(database, arguments=arguments) as server,
        WorkerProcess("my_handlers", target=server.target, folder=tmp_path),
        Client(server.target) as client,
        load_on(client) as load,
    ):
        for number in range(BACKUPS):
            await load.progress(50)
            # What is accepted before must be in it; what is deleted meanwhile may be.
            accepted, ended = dict(load.inputs), set(load.ended)
            backup = tmp_path / f"backup-{number}.db"
            await admin("backup", str(backup), "--database", str(database))
            expected = {run_id: value for run_id, value in accepted.items() if run_id not in load.deleted}
            backups.append((backup, expected, ended - load.deleted))
        await load.progress(20)
        assert (await admin("verify", "--database", str(database)))["faults"] == []
    for backup, expected, ended in backups:
        await _goes_on(tmp_path, backup, expected, ended)


async def _goes_on(folder: Path, backup: Path, expected: dict[str, Any], ended: set[str]) -> None:
    restored = backup.with_name(f"restored-{backup.name}")
    report = await admin("restore", str(backup), "--database", str(restored))
    assert report["restored"]
    assert report["runs"] >= len(expected)
    async with (
        ServerProcess(restored, arguments=("--adoption-grace-s", "0.2", "--hot-runs", "20")) as server,
        WorkerProcess("my_handlers", target=server.target, folder=folder),
        Client(server.target) as client,
    ):
        found = {run.run_id: run async for run in client.runs.list()}
        assert set(expected) - set(found) == set()
        assert {run_id for run_id in ended if found[run_id].state != RunState.RUN_STATE_SUCCEEDED} == set()
        waiting = [run.run_id for run in found.values() if run.workflow == "waits" and run.state in OPEN_RUN]
        assert waiting
        for run_id in waiting:
            await client.handle(run_id).signal("go")
        async for gate in client.gates.list():
            await client.gates.approve(gate)
        for run_id, run in found.items():
            result = await client.handle(run_id).result()
            assert run_id not in expected or result == expected[run_id]
            history = [event async for event in client.handle(run_id).history()]
            succeeded = [event.step_succeeded.path for event in history if event.HasField("step_succeeded")]
            assert len(set(succeeded)) == len(succeeded) == STEPS[run.workflow]
    assert (await admin("verify", "--database", str(restored)))["faults"] == []
