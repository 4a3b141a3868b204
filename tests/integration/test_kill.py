"""Kill -9 of server and workers under load: nothing accepted is lost, nothing that succeeded runs again, all ends."""

import asyncio
import os
import random
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from holdfast import Client
from holdfast.testing.processes import ServerProcess
from tests.integration.oracle import Oracle, lost

KILLS = int(os.environ.get("CHAOS_CYCLES", "20"))
DRIVERS = 20
CHANCE = random.Random()  # noqa: S311 - chooses when to kill, no secret
ROOT = Path(__file__).parents[2]

CHAIN = """
name: chain
steps:
  - {name: a, task: {handler: step}, input: "${input}"}
  - {name: b, after: [{step: a}], task: {handler: step}, input: "${steps.a.output}"}
  - {name: c, after: [{step: b}], task: {handler: step}, input: "${steps.b.output}"}
output: "${steps.c.output}"
"""
DIAMOND = """
name: diamond
steps:
  - {name: split, task: {handler: step}, input: "${input}"}
  - {name: left, after: [{step: split}], task: {handler: step}, input: "${steps.split.output}"}
  - {name: right, after: [{step: split}], task: {handler: step}, input: "${steps.split.output}"}
  - {name: never, after: [{step: split, when: "steps.split.output < 0"}], task: {handler: step}}
  - name: join
    after: [{step: left}, {step: right}, {step: never}]
    task: {handler: step}
    input: "${steps.left.output}"
output: "${steps.join.output}"
"""
STEPS = {"chain": 3, "diamond": 4}
"""How many steps of each succeed."""


@dataclass
class Load:
    """Runs started and ended so far; others wait for its progress."""

    client: Client
    ended: int = 0
    stop: bool = False
    accepted: dict[str, str] = field(default_factory=dict)
    """Workflow of each run whose start was accepted."""
    _progress: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def drive(self, number: int) -> None:
        """Starts runs one after the other until told to stop, and checks what comes out."""
        while not self.stop:
            workflow = CHANCE.choice(sorted(STEPS))
            handle = await self.client.start(workflow, number)
            self.accepted[handle.run_id] = workflow
            assert await handle.result() == number
            async with self._progress:
                self.ended += 1
                self._progress.notify_all()

    async def progress(self, runs: int) -> None:
        """Waits until so many more runs have ended."""
        target = self.ended + runs
        async with self._progress:
            await self._progress.wait_for(lambda: self.ended >= target)


@contextmanager
def oracle_worker(target: str, file: Path) -> Iterator["subprocess.Popen[bytes]"]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.integration.oracle_worker", target, str(file)], cwd=ROOT, stdin=subprocess.DEVNULL
    )
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


@asynccontextmanager
async def load_on(server: ServerProcess) -> AsyncIterator[Load]:
    async with Client(server.target) as client:
        for definition in (CHAIN, DIAMOND):
            await client.register(definition)
        load = Load(client)
        drivers = [asyncio.create_task(load.drive(number)) for number in range(DRIVERS)]
        try:
            yield load
            load.stop = True
            await asyncio.gather(*drivers)
        finally:
            for driver in drivers:
                driver.cancel()
            await asyncio.gather(*drivers, return_exceptions=True)


async def check(server: ServerProcess, load: Load, file: Path) -> Oracle:
    """Holds what workers saw against the histories."""
    oracle = Oracle(file)
    recorded: set[tuple[str, str, int]] = set()
    async with Client(server.target) as client:
        for run_id, workflow in load.accepted.items():
            history = [event async for event in client.handle(run_id).history()]
            succeeded = [event.step_succeeded for event in history if event.HasField("step_succeeded")]
            assert len({one.path for one in succeeded}) == len(succeeded) == STEPS[workflow]
            recorded |= {(run_id, one.path, one.attempt) for one in succeeded}
    assert lost(oracle.accepted, recorded) == []
    assert oracle.run_again() == []
    assert all(len(keys) == 1 for _activation, keys in oracle.idempotency_keys())
    return oracle


@pytest.mark.asyncio
@pytest.mark.timeout(300)
async def test_nothing_is_lost_when_the_server_is_killed(tmp_path: Path) -> None:
    file = tmp_path / "seen.txt"
    async with ServerProcess(tmp_path / "holdfast.db", arguments=("--adoption-grace-s", "1")) as server:
        with oracle_worker(server.target, file):
            async with load_on(server) as load:
                for _ in range(KILLS):
                    await load.progress(CHANCE.randint(1, 40))
                    server.kill()
                    await asyncio.to_thread(server.start)
            oracle = await check(server, load, file)
    assert sum(oracle.executions().values()) >= sum(STEPS[one] for one in load.accepted.values())


@pytest.mark.asyncio
@pytest.mark.timeout(300)
async def test_nothing_is_lost_when_workers_are_killed(tmp_path: Path) -> None:
    file = tmp_path / "seen.txt"
    arguments = ("--lease-s", "2", "--adoption-grace-s", "1")
    async with ServerProcess(tmp_path / "holdfast.db", arguments=arguments) as server:
        async with load_on(server) as load:
            for _ in range(KILLS):
                await _with_worker(server, file, lambda: load.progress(CHANCE.randint(1, 40)))
            with oracle_worker(server.target, file):
                load.stop = True
                await load.progress(DRIVERS)
        await check(server, load, file)


async def _with_worker(server: ServerProcess, file: Path, until: Callable[[], Awaitable[None]]) -> None:
    with oracle_worker(server.target, file) as worker:
        await until()
        worker.send_signal(signal.SIGKILL)
        worker.wait()
