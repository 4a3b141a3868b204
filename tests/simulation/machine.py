"""The machine servers run on, one after the other: they start, listen, crash or stop, and go on with what is left."""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from random import Random
from types import SimpleNamespace
from typing import Any
from unittest import mock

from holdfast.v1.definition_pb2 import WorkflowDefinition
from holdfast_server import app
from holdfast_server.app import Server
from holdfast_server.clock import Clocks
from holdfast_server.config import ServerConfig
from holdfast_server.engine.compile import compile_plan
from holdfast_server.engine.plan import Plan
from holdfast_server.runtime import catalog
from holdfast_server.store.port import StoreError
from tests.simulation.answers import Answers
from tests.simulation.disk import Disk
from tests.simulation.loop import Process, SimulatedLoop
from tests.simulation.network import Network, Transport
from tests.simulation.store import SimulatedStore, Weather
from tests.simulation.witness import Witness

__all__ = ["Machine", "Parts", "Plans"]

SECOND_US = 1_000_000
STOP_S = 120.0
"""However busy, a server stops within this."""
UP_S = 240.0
"""However bad it was, a server is up again within this once nothing goes wrong any more."""


class Plans:
    """Compiles each version once: a server that starts again compiles what it had before, and that takes time."""

    def __init__(self) -> None:
        self._made: dict[tuple[bytes, int], Plan] = {}

    def compile(self, definition: WorkflowDefinition, version: int, definition_hash: bytes) -> Plan:
        """The plan of a version."""
        found = self._made.get((definition_hash, version))
        if found is None:
            found = self._made[definition_hash, version] = compile_plan(definition, version, definition_hash)
        return found


@dataclass(frozen=True, slots=True)
class Parts:
    """What a machine is made of."""

    loop: SimulatedLoop
    chance: Random
    disk: Disk
    weather: Weather
    network: Network
    witness: Witness
    answers: Answers
    plans: Plans
    clock_us: Callable[[], int]
    note: Callable[[str, str], None]


class Machine:
    """Keeps a server up.

    Args:
        parts: what it is made of.
        config: settings of all servers.
        doom: at which step the next server dies; None for never.
        payloads_kept_bytes: how many bytes of large payloads servers keep in memory.
        constants: of the server's modules, by `module.NAME`: what is small here is met more often.

    Attributes:
        server: the one that listens.
        listens_since_us: since when it does; 0 if none does.
        rest_s: how long the machine is down after a crash.
    """

    def __init__(
        self,
        parts: Parts,
        config: ServerConfig,
        doom: Callable[[], int | None],
        constants: Mapping[str, int],
        payloads_kept_bytes: int,
    ) -> None:
        self._parts = parts
        self._payloads_kept_bytes = payloads_kept_bytes
        self._constants = constants
        self._config = config
        self._doom = doom
        self._starts = 0
        self._process = Process(parts.loop, "server-0")
        self._transport: Transport | None = None
        self._gone: asyncio.Future[None]
        self._over = False
        self.rest_s: Callable[[], float] = lambda: 0.1
        self.server: Server | None = None
        self.listens_since_us = 0
        self._change = asyncio.Event()

    @contextmanager
    def wired(self) -> Iterator[None]:
        """Puts network, chance and ids of the simulation where the server has its own."""
        parts = self._parts
        ids = iter(range(1, 1_000_000))

        def new_run_id() -> str:
            return f"run-{next(ids)}"

        def transport(options: Any, interceptors: Any) -> Transport:
            self._transport = Transport(parts.network, self._listens, parts.answers)
            return self._transport

        with ExitStack() as patched:
            for name, value in self._constants.items():
                patched.enter_context(mock.patch(f"holdfast_server.{name}", value))
            for patch in self._patches(transport, new_run_id):
                patched.enter_context(patch)
            yield

    def _patches(self, transport: Callable[..., Transport], new_run_id: Callable[[], str]) -> list[Any]:
        return [
            mock.patch.object(app, "aio", SimpleNamespace(server=transport)),
            mock.patch.object(app, "new_run_id", new_run_id),
            mock.patch.object(app, "new_traceparent", return_value=f"00-{'1' * 32}-{'2' * 16}-01"),
            mock.patch.object(app, "add_reflection"),
            mock.patch.object(app, "version", return_value="simulated"),
            mock.patch.object(catalog, "compile_plan", self._parts.plans.compile),
        ]

    # -- lives of servers --------------------------------------------------------------------------------------------

    async def keep_up(self) -> None:
        """Starts servers until it is over."""
        while not self._over:
            if await self._start():
                await self._gone
            await asyncio.sleep(self.rest_s())

    async def _start(self) -> bool:
        """Whether a server has come up."""
        parts = self._parts
        self._starts += 1
        self._gone = parts.loop.create_future()
        self._process = process = Process(parts.loop, f"server-{self._starts}")
        process.doomed_at, process.on_doom = self._doom(), self.crash
        store = SimulatedStore(parts.disk, parts.weather, process.name, parts.witness.written)
        self.server = server = Server(self._config, store, self._clocks(), parts.chance.random)
        server._server_id = process.name
        parts.note(process.name, "starts")
        starting = process.spawn(server.start())
        await asyncio.wait([starting, self._gone], return_when=asyncio.FIRST_COMPLETED)
        if not starting.done():
            return False
        error = starting.exception()
        if error is None:
            return True
        if not isinstance(error, StoreError):
            parts.witness.fail(f"a server does not start: {type(error).__name__}: {error}", error)
        parts.note(process.name, f"cannot start: {error}")
        self._end(process)
        return False

    def _clocks(self) -> Clocks:
        loop = self._parts.loop
        return Clocks.system(self._parts.clock_us, lambda: round(loop.time() * SECOND_US))

    def _listens(self) -> None:
        assert self.server is not None
        self._parts.note(self._process.name, "listens")
        self._parts.witness.attend(self.server)
        self.server.runtime.payloads._limit_bytes = self._payloads_kept_bytes
        self.listens_since_us = self._parts.clock_us()
        self._change.set()

    def crash(self) -> None:
        """The server is killed where it is."""
        if self._process.alive:
            self._parts.note(self._process.name, f"is killed after {self._process.steps} steps")
            self._end(self._process)

    def _end(self, process: Process) -> None:
        """Nothing is left of a process but what it has written."""
        process.kill()
        self.listens_since_us = 0
        self._parts.witness.runtime = None
        self._parts.disk.owner = ""
        if self._transport is not None:
            self._transport.die()
            self._transport = None
        if not self._gone.done():
            self._gone.set_result(None)

    async def stop(self) -> None:
        """Stops the server in good order, if there is one and nothing kills it before; goes on if its caller leaves."""
        await asyncio.shield(self._parts.loop.create_task(self._stop()))

    async def _stop(self) -> None:
        process, server = self._process, self.server
        if not self.listens_since_us or server is None:
            return
        self._parts.note(process.name, "stops")
        self.listens_since_us = 0
        stopping = process.spawn(server.stop())
        await asyncio.wait([stopping, self._gone], timeout=STOP_S, return_when=asyncio.FIRST_COMPLETED)
        if not process.alive:
            return
        if not stopping.done():
            self._parts.witness.fail(f"a server that was told to stop has not after {STOP_S} s")
        elif stopping.exception() is not None and not isinstance(stopping.exception(), StoreError):
            self._parts.witness.fail(f"a server does not stop: {stopping.exception()}", stopping.exception())
        self._end(process)

    async def listening(self) -> Server:
        """The server, once it listens."""
        try:
            async with asyncio.timeout(UP_S):
                while not self.listens_since_us:
                    self._change.clear()
                    await self._change.wait()
        except TimeoutError:
            self._parts.witness.fail(f"no server listens after {UP_S} s")
        assert self.server is not None
        return self.server

    def spare(self) -> None:
        """The present server is not killed any more."""
        self._process.doomed_at = None

    async def shut_down(self) -> None:
        """No server follows the present one, which stops."""
        self._over = True
        await self.stop()
