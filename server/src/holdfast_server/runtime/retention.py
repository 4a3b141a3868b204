"""Deletes closed runs that were kept long enough, in small deletions with rests in between, for as long as it runs."""

import asyncio
import contextlib
from typing import TYPE_CHECKING

import structlog

from holdfast_server.runtime.deleting import BATCH_RUNS
from holdfast_server.store.port import StoreError

if TYPE_CHECKING:  # it is handed over
    from holdfast_server.runtime.runtime import Runtime

__all__ = ["Retention"]

log = structlog.get_logger("holdfast.retention")

LOOK_EVERY_S = 10.0
REST_FACTOR = 4.0
"""After a deletion it rests so many times as long as that took: the disk belongs to those who wait for it."""


class Retention:
    """The sweeper of closed runs.

    Args:
        runtime: whose runs.
        retention_us: how long closed runs are kept whose workflow does not say it; None means for ever.
        look_every_s: seconds between two looks when nothing is left to delete.
    """

    def __init__(self, runtime: "Runtime", retention_us: int | None, look_every_s: float = LOOK_EVERY_S) -> None:
        self._runtime = runtime
        self._retention_us = retention_us
        self._look_every_s = look_every_s
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begins to look."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name="retention")

    async def stop(self) -> None:
        """Ends; a deletion under way ends on its own."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        deleted = 0
        while True:
            begin_s = loop.time()
            try:
                last = await self.sweep()
            except StoreError as error:
                log.warning("old runs cannot be deleted; trying again", error=str(error))
                last = 0
            deleted += last
            if last:
                await asyncio.sleep((loop.time() - begin_s) * REST_FACTOR)
                continue
            if deleted:
                log.info("runs kept long enough are deleted", runs=deleted)
                deleted = 0
            await asyncio.sleep(self._look_every_s)

    async def sweep(self) -> int:
        """Deletes some runs that were kept long enough, and answers how many; 0 if nothing is left to do now.

        Raises:
            StoreError: the disk does not answer.
        """
        runtime = self._runtime
        if not runtime.health.writable:
            return 0
        expired = await runtime.store.expired_runs(runtime.clock_us(), self._retention_us, BATCH_RUNS)
        return await runtime.deleting.delete_expired(expired)
