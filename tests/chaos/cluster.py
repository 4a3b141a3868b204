"""A server, workers and clients as processes that can be killed one by one, and what they leave behind."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from grpc import aio

from holdfast import Client
from holdfast.client import RunHandle
from holdfast.errors import RunNotFoundError
from holdfast.testing.processes import ProcessError, ServerProcess
from holdfast.v1.history_pb2 import HistoryEvent
from holdfast.v1.run_service_pb2 import GetRunRequest
from holdfast.v1.run_service_pb2_grpc import RunServiceStub
from tests.chaos.client import BULK_FLAG, STOP_FLAG
from tests.chaos.notes import Began, Done, Tail, Wrong, read
from tests.chaos.oracle import Findings, RunNotes, by_run, check
from tests.chaos.scripts import USUAL
from tests.chaos.workflows import DEFINITIONS

__all__ = ["ChaosError", "Cluster", "Program", "died"]

ROOT = Path(__file__).parents[2]
KILLED = -signal.SIGKILL
HISTORIES_AT_ONCE = 16
RUNS_MAX = 1_000_000
LEASE_S = 2
SERVER_ARGUMENTS = (
    *("--lease-s", str(LEASE_S), "--adoption-grace-s", "1", "--cancel-grace-s", "2"),
    *("--hot-runs", "4", "--evict-after-s", "1"),
)
"""Short, so that what is waited for comes within a test; and so few runs in memory that most of those that wait leave
it."""
WITNESS = """
name: witness
steps:
  - {name: end, wait: {signal: end}}
"""


class ChaosError(Exception):
    """The test itself cannot go on, or a program broke by itself."""


async def died(pid: int, within_s: float) -> bool:
    """Return whether a process ends within so long."""
    loop = asyncio.get_running_loop()
    descriptor = os.pidfd_open(pid)
    ended = asyncio.Event()
    loop.add_reader(descriptor, ended.set)
    try:
        async with asyncio.timeout(within_s):
            await ended.wait()
    except TimeoutError:
        return False
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)
    return True


class Program:
    """A process in a place of its own; when it is killed, the next one takes the place.

    Args:
        arguments: Module and arguments.
        log: File its output is added to.
    """

    def __init__(self, arguments: Sequence[str], log: Path) -> None:
        self.arguments = list(arguments)
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process that runs, or ran last."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start a process."""
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", *self.arguments],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                process_group=0,
            )

    def kill(self) -> None:
        """Kill the process.

        Raises:
            ChaosError: It had ended by itself.
        """
        assert self._process is not None
        self.check()
        self._process.kill()
        self._process.wait()

    def check(self) -> None:
        """See that the process runs.

        Raises:
            ChaosError: It does not.
        """
        assert self._process is not None
        code = self._process.poll()
        if code is not None:
            raise ChaosError(f"{' '.join(self.arguments)} ended by itself with exit code {code}\n{self.tail()}")

    async def finish(self, within_s: float, *, ask: bool) -> bool:
        """Wait for the end of the process, and return whether it comes in time; else it is killed.

        Args:
            within_s: How long it may take.
            ask: Whether to ask it to end (SIGTERM), or to let it end by itself.

        Raises:
            ChaosError: It ended with a fault.
        """
        process = self._process
        assert process is not None
        if ask:
            process.terminate()
        in_time = await died(process.pid, within_s)
        if not in_time:
            process.kill()
        code = process.wait()
        if in_time and code not in ({0, -signal.SIGTERM} if ask else {0}):
            raise ChaosError(f"{' '.join(self.arguments)} ended with exit code {code}\n{self.tail()}")
        return in_time

    def close(self) -> None:
        """Leave no process behind."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def tail(self) -> str:
        """Return the end of its output."""
        return self._log.read_text(encoding="utf-8", errors="replace")[-4000:]


class Cluster:
    """Everything that is broken.

    Attributes:
        server: The server.
        workers: The places of workers.
        clients: The places of clients.
        witness: A run that is open all the time.
    """

    def __init__(
        self,
        folder: Path,
        seed: str,
        *,
        workers: int = 3,
        clients: int = 2,
        drivers: int = 6,
        server: type[ServerProcess] = ServerProcess,
        arguments: Sequence[str] = SERVER_ARGUMENTS,
        environment: Mapping[str, str] | None = None,
        choice: str = USUAL,
        route: Callable[[str, str], Awaitable[str]] | None = None,
    ) -> None:
        """Describe it; `async with` starts it.

        Args:
            folder: Where everything is kept.
            seed: Decides what clients do.
            workers: Places of workers.
            clients: Places of clients.
            drivers: Runs each client has in hand at once.
            server: Kind of server.
            arguments: More arguments of the server.
            environment: Added to the server's environment.
            choice: Which scripts clients choose from.
            route: Gives the address at which a place reaches the server, from the place and the server's own address;
                None if it is that one.
        """
        self._folder = folder
        self._seed = seed
        self._sizes = (workers, clients, drivers)
        self._choice = choice
        self._route = route
        self._generation = 0
        self._tails: list[Tail] = []
        self._exit = AsyncExitStack()
        self._environment = dict(environment or {})
        self.server = server(
            folder / "holdfast.db",
            arguments=arguments,
            log=folder / "server.log",
            folder=ROOT,
            environment=self._environment,
        )
        self.workers: dict[str, Program] = {}
        self.clients: dict[str, Program] = {}
        self.witness = ""
        self._lost: list[str] = []

    async def __aenter__(self) -> Self:
        self._folder.mkdir(parents=True, exist_ok=True)
        workers, clients, drivers = self._sizes
        try:
            await self._exit.enter_async_context(self.server)
            await self._prepare()
            for place in [f"w{number}" for number in range(1, workers + 1)]:
                target = await self._target_of(place)
                arguments = ["tests.chaos.worker", target, str(self._worker_notes), place]
                self.workers[place] = self._begin(place, arguments)
            for place in [f"c{number}" for number in range(1, clients + 1)]:
                target = await self._target_of(place)
                notes = str(self._client_notes(place))
                arguments = ["tests.chaos.client", target, notes, place, str(drivers), self._seed, self._choice]
                self.clients[place] = self._begin(place, arguments)
                self._tails.append(Tail(self._client_notes(place)))
        except BaseException:
            await self._exit.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._exit.aclose()

    async def _target_of(self, place: str) -> str:
        target = self.server.target
        return target if self._route is None else await self._route(place, target)

    async def _prepare(self) -> None:
        async with Client(self.server.target) as client:
            for definition in (*DEFINITIONS, WITNESS):
                await client.register(definition)
            self.witness = (await client.start("witness")).run_id

    def _begin(self, place: str, arguments: Sequence[str]) -> Program:
        program = Program(arguments, self._folder / f"{place}.log")
        self._exit.callback(program.close)
        program.start()
        return program

    @property
    def _worker_notes(self) -> Path:
        return self._folder / "workers.notes"

    def _client_notes(self, place: str) -> Path:
        return self._folder / f"{place}.notes"

    @property
    def _notes(self) -> list[Path]:
        notes = [self._worker_notes, *(self._client_notes(place) for place in self.clients)]
        return [file for file in notes if file.exists()]

    # -- while it runs -----------------------------------------------------------------------------------------------

    def replace_worker(self, place: str, *, same_id: bool) -> None:
        """Kill a worker and start another one, under the same id or a new one."""
        program = self.workers[place]
        program.kill()
        if not same_id:
            self._generation += 1
            program.arguments[-1] = f"{place}-{self._generation}"
        program.start()

    def replace_client(self, place: str) -> None:
        """Kill a client and let another one go on with its runs."""
        self.clients[place].kill()
        self.clients[place].start()

    def bulk(self, *, on: bool) -> None:
        """Let clients start large runs, or no more."""
        flag = self._folder / BULK_FLAG
        if on:
            flag.touch()
        else:
            flag.unlink(missing_ok=True)

    def runs_ended(self) -> int:
        """Return how many runs clients are through with."""
        return sum(tail.count("Done") for tail in self._tails)

    async def revive(self, failpoint: str = "") -> bool:
        """Start the server that was killed, and return whether it got as far as to be ready.

        Args:
            failpoint: The place at which it is to die.

        Raises:
            ProcessError: It did not start, and not because of the failpoint.
        """
        self.server._environment["HOLDFAST_FAILPOINT"] = failpoint
        try:
            await asyncio.to_thread(self.server.start)
        except ProcessError:
            if failpoint and self.server.kill() == KILLED:
                return False
            raise
        return True

    async def answers(self) -> None:
        """Wait for the answer about a run that was open before the server died, over a connection of its own."""
        options = (("grpc.use_local_subchannel_pool", 1),)
        request = GetRunRequest(namespace="default", run_id=self.witness)
        async with aio.insecure_channel(self.server.target, options=options) as channel:
            try:
                await RunServiceStub(channel).GetRun(request, wait_for_ready=True)
            except aio.AioRpcError as fault:
                self._lost.append(f"the run that was open all the time: {fault.details()}")

    # -- the end -----------------------------------------------------------------------------------------------------

    async def finish(
        self,
        within_s: float,
        say: Callable[[str], None] = lambda _: None,
        more: Callable[[Sequence[HistoryEvent]], Iterable[str]] = lambda _: (),
        runs_max: int = RUNS_MAX,
    ) -> Findings:
        """Let everything that is begun come to its end, and hold what was noted against the histories.

        Args:
            within_s: How long it may take; what is open then is stuck.
            say: Told what is going on.
            more: Yields what is wrong with a history besides.
            runs_max: Most runs whose histories are read: all that are open or wrong, and the last ones.
        """
        say("letting runs end")
        (self._folder / STOP_FLAG).touch()
        await asyncio.gather(*(program.finish(within_s, ask=False) for program in self.clients.values()))
        for program in self.workers.values():
            program.check()
        findings = Findings(lost=self._lost)
        notes = self._notes_of(runs_max)
        async with Client(self.server.target) as client:
            if not self._lost:
                await client.handle(self.witness).signal("end")
                await client.handle(self.witness).result(timeout_s=within_s)
            await self._check_all(client, notes, findings, say, more)
        await asyncio.gather(*(program.finish(within_s, ask=True) for program in self.workers.values()))
        await asyncio.to_thread(self.server.stop)
        self._check_log(findings)
        return findings

    def _notes_of(self, runs_max: int) -> dict[str, RunNotes]:
        """Sort the notes by run, of the last runs and of those that are open or wrong."""
        began: dict[str, None] = {}  # a set in order
        closed: set[str] = set()
        wrong: set[str] = set()
        for note in read(self._notes):
            match note:
                case Began(run_id):
                    began[run_id] = None
                case Done(run_id):
                    closed.add(run_id)
                case Wrong(run_id):
                    wrong.add(run_id)
        chosen = wrong.union(began.keys() - closed, list(began)[-runs_max:])
        return by_run(note for note in read(self._notes) if note.run_id in chosen)

    async def _check_all(
        self,
        client: Client,
        notes: dict[str, RunNotes],
        findings: Findings,
        say: Callable[[str], None],
        more: Callable[[Sequence[HistoryEvent]], Iterable[str]],
    ) -> None:
        waiting = iter(list(notes.items()))
        total = len(notes)

        async def some() -> None:
            for run_id, one in waiting:
                handle = client.handle(run_id)
                history = await history_of(handle)
                if one.began and not one.done:
                    findings.stuck.append(f"{run_id}: {await _reason(handle)}" if history else run_id)
                check(run_id, one, history, findings)
                findings.wrong += [f"{run_id}: {what}" for what in more(history)]
                if findings.runs % 1000 == 0:
                    say(f"reading histories: {findings.runs:,} of {total:,}")

        async with asyncio.TaskGroup() as group:
            for _ in range(HISTORIES_AT_ONCE):
                group.create_task(some())

    def _check_log(self, findings: Findings) -> None:
        """A fault of the server's own is one, also if nothing came of it."""
        text = self.server.log.read_text(encoding="utf-8", errors="replace")
        if "Traceback" in text:
            findings.wrong.append(f"the server ran into a fault of its own:\n{text[text.index('Traceback') :][:4000]}")


async def history_of(handle: RunHandle) -> list[HistoryEvent]:
    """Return the events of a run; none if there is no such run."""
    try:
        return [event async for event in handle.history()]
    except RunNotFoundError:
        return []


async def _reason(handle: RunHandle) -> str:
    """Return what an open run says it waits for."""
    run = await handle.get()
    return "; ".join(waiting.message for waiting in run.waiting_on) or f"state {run.summary.state}, waits for nothing"
