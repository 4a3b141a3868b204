"""Attempts of evicted runs that wait for workers: brought back when workers have time for them."""

import asyncio
from typing import TYPE_CHECKING

import structlog

from holdfast_server.store.port import StoreError

if TYPE_CHECKING:  # they refer to each other
    from holdfast_server.runtime.runtime import Runtime

__all__ = ["Backlog"]

log = structlog.get_logger("holdfast.runtime")

FETCH = 1_000
"""Attempts looked up at once. More than matching has left when it asks, because those stay listed until they start."""
RETRY_S = 1.0


class Backlog:
    """What waits on disk."""

    def __init__(self, runtime: "Runtime") -> None:
        self._runtime = runtime

    async def start(self) -> None:
        """Tells matching what waits.

        Raises:
            StoreError: the disk does not answer.
        """
        for one in await self._runtime.store.task_backlog():
            self._runtime.matching.waits_outside(one.namespace, one.queue, one.handler, one.count, one.oldest_us)

    def fetch(self, namespace: str, queue: str, handler: str) -> None:
        """Brings the attempts that have waited longest; matching is told when it is done."""
        self._runtime.spawn(self._fetch(namespace, queue, handler), f"attempts that wait on queue {queue}")

    async def _fetch(self, namespace: str, queue: str, handler: str) -> None:
        runtime = self._runtime
        while True:
            try:
                rows = await runtime.store.evicted_tasks(namespace, queue, handler, FETCH + 1)
                await runtime.loading.bring([key for _since_us, key in rows[:FETCH]])
            except StoreError as error:
                log.warning("attempts that wait cannot be read; trying again", queue=queue, error=str(error))
                await asyncio.sleep(RETRY_S)
                continue
            break
        next_us = rows[FETCH][0] if len(rows) > FETCH else None
        runtime.matching.fetched(namespace, queue, handler, next_us)
