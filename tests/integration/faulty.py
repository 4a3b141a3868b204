"""A server in the test's own process, on a store that fails when told to."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

from holdfast import Client
from holdfast_server.app import Server
from holdfast_server.clock import Clocks
from holdfast_server.config import ServerConfig
from holdfast_server.store.port import Commit, Deletion, RunRow, Store, StoreError
from holdfast_server.store.sqlite import SqliteStore

__all__ = ["FaultyStore", "hasty", "running"]


class FaultyStore:
    """A store in a file.

    Attributes:
        broken: commits and probes fail, and nothing of them is written.
        forgetful: commits are written and fail all the same, as when the answer of the disk is lost.
        blind: what was started before is not found.
        unreadable: nothing can be counted.
        gate: commits wait until it is set.
        delete_gate: deletions of runs wait until it is set.
        deletions: runs in each deletion that was tried.
        reads: reading of histories waits until it is set.
        refuse: called with each commit; may raise.
        commits: how many were tried.
    """

    def __init__(self, path: Path) -> None:
        self._inner = SqliteStore(str(path))
        self.broken = False
        self.forgetful = False
        self.blind = False
        self.unreadable = False
        self.gate = asyncio.Event()
        self.gate.set()
        self.delete_gate = asyncio.Event()
        self.delete_gate.set()
        self.deletions: list[int] = []
        self.reads = asyncio.Event()
        self.reads.set()
        self.refuse: Callable[[Commit], None] = lambda _commit: None
        self.commits = 0
        self._tried = asyncio.Condition()
        self._asked = asyncio.Event()
        self._probed = asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def commit(self, commit: Commit) -> None:
        async with self._tried:
            self.commits += 1
            self._tried.notify_all()
        await self.gate.wait()
        self._check()
        self.refuse(commit)
        await self._inner.commit(commit)
        if self.forgetful:
            raise StoreError("the answer of the disk was lost")

    async def delete_runs(self, deletions: Sequence[Deletion]) -> None:
        async with self._tried:
            self.deletions.append(len(deletions))
            self._tried.notify_all()
        await self.delete_gate.wait()
        self._check()
        await self._inner.delete_runs(deletions)
        if self.forgetful:
            raise StoreError("the answer of the disk was lost")

    async def tried_to_delete(self, times: int) -> None:
        """Waits until deletions were tried so many times."""
        async with self._tried:
            await self._tried.wait_for(lambda: len(self.deletions) >= times)

    async def tried(self, commits: int) -> None:
        """Waits until so many commits were tried in all."""
        async with self._tried:
            await self._tried.wait_for(lambda: self.commits >= commits)

    async def histories(self, *wanted: Any) -> Any:
        await self.reads.wait()
        return await self._inner.histories(*wanted)

    async def probe(self) -> None:
        self._probed.set()
        self._check()
        await self._inner.probe()

    async def open_run_count(self) -> int:
        if self.unreadable:
            raise StoreError("the disk refuses to read")
        return await self._inner.open_run_count()

    async def probed(self) -> None:
        """Waits until the server tries whether the disk works."""
        self._probed.clear()
        await self._probed.wait()

    async def known_starts(self, *wanted: Any) -> list[RunRow]:
        found = list(await self._inner.known_starts(*wanted))
        self._asked.set()
        return [] if self.blind else found

    async def asked(self) -> None:
        """Waits until somebody looks for earlier starts."""
        self._asked.clear()
        await self._asked.wait()

    def _check(self) -> None:
        if self.broken:
            raise StoreError("the disk is full")


@asynccontextmanager
async def running(
    path: Path, clocks: Clocks | None = None, **settings: Any
) -> AsyncIterator[tuple[FaultyStore, Client]]:
    """A server on a faulty store, and a client."""
    store = FaultyStore(path)
    config = ServerConfig(listen="127.0.0.1:0", database=str(path), drain_s=1.0, **settings)
    server = Server(config, cast("Store", store), clocks)
    await server.start()
    try:
        async with Client(f"127.0.0.1:{server.port}", actor="ann") as client:
            yield store, client
    finally:
        store.broken = store.forgetful = False
        store.gate.set()
        store.delete_gate.set()
        store.reads.set()
        await server.stop()


def hasty(client: Client) -> Client:
    """Another client of the same server, which gives up soon."""
    return Client(client.connection.target, actor="ann", timeout_s=0.3)
