"""Brings runs back into memory that were evicted, once for all who ask at the same time."""

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

import structlog

from holdfast_server.engine import effects as fx
from holdfast_server.engine.state import RunState
from holdfast_server.runtime.host import OnDisk, RunHost
from holdfast_server.store.port import StoreCorruptError

if TYPE_CHECKING:  # they refer to each other
    from holdfast_server.runtime.runtime import Runtime

__all__ = ["Loading"]

log = structlog.get_logger("holdfast.runtime")

CHUNK = 500
"""Runs folded one after the other before anything else gets its turn."""


class Loading:
    """Takes runs into memory.

    Attributes:
        woken: keys of runs whose wake-up has come: the time on disk will not wake them again.
    """

    def __init__(self, runtime: "Runtime") -> None:
        self._runtime = runtime
        self.woken: set[int] = set()
        self._flights: dict[int, asyncio.Future[None]] = {}

    async def one(self, key: int) -> RunHost | None:
        """An open run in memory; None if it is closed, or damaged.

        Raises:
            StoreError: the disk does not answer.
        """
        await self.bring([key])
        return self._runtime.residence.by_key(key)

    async def whatever(self, key: int) -> RunHost | None:
        """A run in memory, also a closed one, so that a command can be tried on it; None if it is damaged or deleted.

        Nobody else can bring it there meanwhile, so it is as it was on disk when nobody had it.

        Raises:
            StoreError: the disk does not answer.
        """
        while (flight := self._flights.get(key)) is not None:
            await asyncio.wait([flight])
        if self._runtime.residence.by_key(key) is None:
            await self._bring([key], closed=True)
        return self._runtime.residence.by_key(key)

    async def bring(self, keys: Sequence[int]) -> None:
        """Takes those of the runs that are open and evicted into memory; what stood for them happens again.

        One that is damaged stays where it is: it must not keep the others from going on.

        Raises:
            StoreError: the disk does not answer.
        """
        residence = self._runtime.residence
        others = {flight for key in keys if (flight := self._flights.get(key)) is not None}
        missing = [key for key in dict.fromkeys(keys) if key not in self._flights and residence.by_key(key) is None]
        for start in range(0, len(missing), CHUNK):
            await self._bring(missing[start : start + CHUNK])
        if others:
            await asyncio.wait(others)

    async def _bring(self, keys: Sequence[int], *, closed: bool = False) -> None:
        flight = asyncio.get_running_loop().create_future()
        residence = self._runtime.residence
        mine = [key for key in keys if key not in self._flights and residence.by_key(key) is None]
        self._flights.update(dict.fromkeys(mine, flight))
        deleting = self._runtime.deleting
        turns = deleting.turns
        try:
            for key, run in (await self._runtime.folder.runs(mine)).items():
                if isinstance(run, StoreCorruptError):
                    log.error("an evicted run cannot be folded and is left alone", run_key=key, error=str(run))
                elif run.open:
                    host = self.take_in(key, run, OnDisk.EVICTED)
                    if key in self.woken:
                        host.on_disk = OnDisk.UNKNOWN
                elif closed and not deleting.may_be_gone(key, turns):
                    residence.add(key, run, claims_key=False).durable_seq = run.seq
        finally:
            for key in mine:
                del self._flights[key]
            flight.set_result(None)
        self._runtime.dispatch_soon()

    def take_in(self, key: int, run: RunState, on_disk: OnDisk) -> RunHost:
        """Puts an open run as it is on disk into memory and lets its standing effects happen."""
        runtime = self._runtime
        host = runtime.residence.add(key, run)
        host.durable_seq = run.seq
        host.on_disk = on_disk
        host.touched = runtime.evictor.tick
        for effect in fx.standing(run):
            runtime.perform(host, effect)
            if on_disk is OnDisk.EVICTED and isinstance(effect, fx.TaskReady):
                runtime.matching.came_back(run.namespace, effect.queue, effect.handler)
        return host
