"""The three processes of a measurement, what the load process asks about them, and the CPU time each of them takes."""

import asyncio
import json
import shutil
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from bench.database import checkpointed_bytes
from bench.machine import BenchError, Cpu, cpu_of, peak_mb_of
from holdfast.testing import ServerProcess, WorkerProcess

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "bench" / "results"
ROLES = ("server", "worker", "client")
SLOTS = 1_000
MARKS = frozenset({"begin", "end"})


@dataclass(frozen=True, slots=True)
class Answer:
    """What the load process measured, and the CPU time the processes took meanwhile.

    Attributes:
        result: The workload's own figures.
        cpu: By role; empty where it cannot be read.
        wall_s: Length of what was measured.
    """

    result: dict[str, Any]
    cpu: dict[str, Cpu]
    wall_s: float


@dataclass(frozen=True, slots=True)
class _Mark:
    time_s: float
    cpu: dict[str, Cpu | None]


class Stack:
    """Server, worker and load process on a fresh database."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._exit = AsyncExitStack()
        self._load: asyncio.subprocess.Process | None = None
        self.server = ServerProcess(folder / "bench.db", log=folder / "server.log", folder=ROOT)

    async def __aenter__(self) -> Self:
        self._folder.mkdir(parents=True)
        self._exit.callback(shutil.rmtree, self._folder)
        try:
            await self._exit.enter_async_context(self.server)
            self.worker = await self._exit.enter_async_context(
                WorkerProcess(
                    "bench.handlers",
                    target=self.server.target,
                    arguments=("--slots", str(SLOTS)),
                    log=self._folder / "worker.log",
                    folder=ROOT,
                )
            )
            self._load = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "bench.load",
                self.server.target,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                cwd=ROOT,
            )
            self._exit.push_async_callback(self._end_load)
        except BaseException:
            await self._exit.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._exit.aclose()

    @property
    def pids(self) -> dict[str, int]:
        """Return the process ids by role."""
        assert self._load is not None  # noqa: S101 - for the type checker
        return {"server": self.server.pid, "worker": self.worker.pid, "client": self._load.pid}

    async def measure(self, order: dict[str, Any], on_mark: Callable[[str], Awaitable[None]] | None = None) -> Answer:
        """Let the load process do a workload.

        Args:
            order: The workload and its fields.
            on_mark: Awaited at `begin` and `end` of what counts; the load process waits for it.

        Raises:
            BenchError: The load process ended; what it said is on the standard error.
            ProcessError: The server did not come back when it was started again.
        """
        assert self._load is not None  # noqa: S101 - for the type checker
        assert self._load.stdout is not None  # noqa: S101 - likewise
        marks: dict[str, _Mark] = {}
        await self._send(order)
        async for line in self._load.stdout:
            message = json.loads(line)
            question = message.get("ask")
            if question is None:
                return _answer(message["result"], marks["begin"], marks["end"])
            if question == "end":
                marks[question] = self._mark()
            if question in MARKS and on_mark is not None:
                await on_mark(question)
            if question == "begin":
                marks[question] = self._mark()
            await self._send({"answer": None if question in MARKS else await self._look(question)})
        tails = f"server: {self.server.log_tail()}\nworker: {self.worker.log_tail()}"
        raise BenchError(f"the load process ended with exit code {await self._load.wait()}\n{tails}")

    async def _send(self, message: dict[str, Any]) -> None:
        assert self._load is not None  # noqa: S101 - for the type checker
        assert self._load.stdin is not None  # noqa: S101 - likewise
        self._load.stdin.write(json.dumps(message).encode() + b"\n")
        await self._load.stdin.drain()

    def _mark(self) -> _Mark:
        return _Mark(time.perf_counter(), {role: cpu_of(pid) for role, pid in self.pids.items()})

    async def _look(self, question: str) -> float | None:
        match question:
            case "peak":
                return peak_mb_of(self.server.pid)
            case "database":
                return await asyncio.to_thread(checkpointed_bytes, self.server.database)
            case "restart":
                return await asyncio.to_thread(self._restart)
        raise BenchError(f"the load process asks {question!r}, which nobody knows")

    def _restart(self) -> float:
        self.server.kill()
        begun = time.perf_counter()
        self.server.start()
        return time.perf_counter() - begun

    async def _end_load(self) -> None:
        assert self._load is not None  # noqa: S101 - for the type checker
        if self._load.stdin is not None:
            self._load.stdin.close()
        if self._load.returncode is None:
            self._load.terminate()
        await self._load.wait()


def _answer(result: dict[str, Any], begin: _Mark, end: _Mark) -> Answer:
    cpu = {
        role: after - before
        for role in ROLES
        if (after := end.cpu[role]) is not None and (before := begin.cpu[role]) is not None
    }
    return Answer(result, cpu, end.time_s - begin.time_s)
