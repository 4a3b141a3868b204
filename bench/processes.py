"""The three processes of a measurement, the CPU time each of them takes, and the disk they write to."""

import asyncio
import json
import os
import shutil
import sys
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from types import TracebackType
from typing import Any, Self

from holdfast.testing import ServerProcess, WorkerProcess

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "bench" / "results"
ROLES = ("server", "worker", "client")
SLOTS = 1_000
FSYNCS = 40
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


class BenchError(Exception):
    """The measurement cannot be made, or is void."""


@dataclass(frozen=True, slots=True)
class Cpu:
    """CPU time of one process, in seconds: its own code, and the kernel's on its behalf."""

    user_s: float
    system_s: float

    def __sub__(self, other: Self) -> "Cpu":
        return Cpu(self.user_s - other.user_s, self.system_s - other.system_s)


def cpu_of(pid: int) -> Cpu | None:
    """Return the CPU time a process has taken so far with all its threads; None where there is no `/proc`."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    fields = stat.rpartition(")")[2].split()  # the name before may hold anything
    return Cpu(int(fields[11]) / _TICKS_PER_S, int(fields[12]) / _TICKS_PER_S)


def memory_mib_of(pid: int) -> float | None:
    """Return the resident memory of a process in MiB; None where there is no `/proc`."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    kib = next((line.split()[1] for line in status.splitlines() if line.startswith("VmRSS:")), None)
    return None if kib is None else int(kib) / 1024


@dataclass(frozen=True, slots=True)
class Answer:
    """What the load process measured, and the CPU time the processes took meanwhile.

    Attributes:
        result: The workload's own figures.
        cpu: By role; empty where it cannot be read.
        wall_s: Length of what was measured.
        server_mib: Resident memory of the server at its end; None where it cannot be read.
    """

    result: dict[str, Any]
    cpu: dict[str, Cpu]
    wall_s: float
    server_mib: float | None


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

    async def measure(self, order: dict[str, Any], on_mark: Callable[[str], None] = lambda _: None) -> Answer:
        """Let the load process do a workload.

        Args:
            order: The workload and its fields.
            on_mark: Called with `begin` and `end` of what counts.

        Raises:
            BenchError: The load process ended; what it said is on the standard error.
        """
        assert self._load is not None  # noqa: S101 - for the type checker
        assert self._load.stdin is not None  # noqa: S101 - likewise
        assert self._load.stdout is not None  # noqa: S101 - likewise
        self._load.stdin.write(json.dumps(order).encode() + b"\n")
        await self._load.stdin.drain()
        taken: dict[str, dict[str, Cpu | None]] = {}
        times: dict[str, float] = {}
        async for line in self._load.stdout:
            message = json.loads(line)
            if mark := message.get("mark"):
                taken[mark] = {role: cpu_of(pid) for role, pid in self.pids.items()}
                times[mark] = time.perf_counter()
                on_mark(mark)
            else:
                return Answer(
                    result=message["result"],
                    cpu={
                        role: after - before
                        for role in ROLES
                        if (after := taken["end"][role]) is not None and (before := taken["begin"][role]) is not None
                    },
                    wall_s=times["end"] - times["begin"],
                    server_mib=memory_mib_of(self.server.pid),
                )
        tails = f"server: {self.server.log_tail()}\nworker: {self.worker.log_tail()}"
        raise BenchError(f"the load process ended with exit code {await self._load.wait()}\n{tails}")

    async def _end_load(self) -> None:
        assert self._load is not None  # noqa: S101 - for the type checker
        if self._load.stdin is not None:
            self._load.stdin.close()
        if self._load.returncode is None:
            self._load.terminate()
        await self._load.wait()


@dataclass(frozen=True, slots=True)
class Disk:
    """The disk of the database.

    Attributes:
        kind: Its file system.
        fsync_ms: Median time to append 4 KiB and have it on disk, with nothing else going on.
    """

    kind: str
    fsync_ms: float


def disk_of(folder: Path) -> Disk:
    """Look at the disk a folder is on.

    Raises:
        BenchError: It is no disk but memory, so nothing measured there says anything about durability.
    """
    kind = _file_system(folder)
    if kind in {"tmpfs", "ramfs"}:
        raise BenchError(f"{folder} is {kind}, that is memory; name a folder on a disk with --folder")
    probe = folder / "fsync-probe"
    times = []
    with probe.open("wb", buffering=0) as file:
        for _ in range(FSYNCS):
            begun = time.perf_counter()
            file.write(bytes(4096))
            os.fsync(file.fileno())
            times.append(time.perf_counter() - begun)
    probe.unlink()
    return Disk(kind=kind, fsync_ms=median(times) * 1e3)


def _file_system(folder: Path) -> str:
    try:
        mounts = Path("/proc/mounts").read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return "unknown"
    place = str(folder.resolve())
    fitting = [
        (len(point), kind)
        for _, point, kind, *_ in map(str.split, mounts)
        if place == point or place.startswith(point.rstrip("/") + "/")
    ]
    return max(fitting)[1] if fitting else "unknown"
