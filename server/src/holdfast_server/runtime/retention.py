"""Deletes closed runs that were kept long enough, in small deletions with rests in between."""

import asyncio
from typing import TYPE_CHECKING

import structlog

from holdfast_server.clock import Clock
from holdfast_server.engine.state import RunState
from holdfast_server.runtime.deleting import BATCH_RUNS
from holdfast_server.store.port import StoreError

if TYPE_CHECKING:  # they refer to each other
    from holdfast_server.runtime.runtime import Runtime

__all__ = ["Retention"]

log = structlog.get_logger("holdfast.retention")

PAUSE_US = 10_000_000
"""Between two sweeps: runs that expire meanwhile go together, and not each by a commit of its own."""
REST_FACTOR = 4.0
"""After a deletion it rests so many times as long as that took: the disk belongs to those who wait for it."""


class Retention:
    """The sweeper of closed runs; its alarm is by the clock of the runs.

    Args:
        runtime: whose runs.
        clock: tells the time, and rings.
        retention_us: how long closed runs are kept whose workflow does not say it; None means for ever.
    """

    def __init__(self, runtime: "Runtime", clock: Clock, retention_us: int | None) -> None:
        self._runtime = runtime
        self._retention_us = retention_us
        self._alarm = clock.alarm(self._next_us, self._ring)
        self._running = False
        self._sweeping = False
        self._expiry_us: int | None = None
        """When the first of the runs expires that are known of."""
        self._not_before_us = 0

    def start(self) -> None:
        """Sweeps, and then whenever a run has expired."""
        self._running = True
        self._expiry_us = self._runtime.clock_us()
        self._alarm.look()

    def stop(self) -> None:
        """Sweeps no more; a deletion under way ends on its own."""
        self._running = False
        self._alarm.stop()

    def closed(self, run: RunState) -> None:
        """The end of a run is on disk."""
        kept_us = run.plan.retention_us or self._retention_us
        if kept_us is not None:
            self._expect(run.close_us + kept_us)

    async def sweep(self) -> int:
        """Deletes some runs that have expired, and answers how many; 0 if nothing is left to do now.

        Raises:
            StoreError: the disk does not answer.
        """
        runtime = self._runtime
        if not runtime.health.writable:
            return 0
        expired = await runtime.store.expired_runs(runtime.clock_us(), self._retention_us, BATCH_RUNS)
        return await runtime.deleting.delete_expired(expired)

    def _expect(self, expiry_us: int) -> None:
        if self._expiry_us is None or expiry_us < self._expiry_us:
            self._expiry_us = expiry_us
            if self._running and not self._sweeping:
                self._alarm.expect(max(expiry_us, self._not_before_us))

    def _next_us(self) -> int | None:
        if self._sweeping or self._expiry_us is None:
            return None
        return max(self._expiry_us, self._not_before_us)

    def _ring(self) -> None:
        due_us = self._next_us()
        if due_us is not None and due_us <= self._runtime.clock_us():
            self._sweeping = True
            self._runtime.spawn(self._sweep_all(), "deletion of expired runs")
        self._alarm.look()

    async def _sweep_all(self) -> None:
        runtime = self._runtime
        self._expiry_us = None  # from here on it is of those that close meanwhile
        try:
            deleted = await self._sweep_with_rests()
            expiry_us = await runtime.store.next_expiry(self._retention_us)
        except StoreError as error:
            log.warning("expired runs cannot be deleted; trying again", error=str(error))
            deleted, expiry_us = 0, runtime.clock_us()
        finally:
            self._sweeping = False
        if deleted:
            log.info("expired runs are deleted", runs=deleted)
        self._not_before_us = runtime.clock_us() + PAUSE_US
        if expiry_us is not None:
            self._expect(expiry_us)
        if self._running:
            self._alarm.look()

    async def _sweep_with_rests(self) -> int:
        loop = asyncio.get_running_loop()
        deleted = 0
        while self._running:
            begin_s = loop.time()
            some = await self.sweep()
            if not some:
                break
            deleted += some
            await asyncio.sleep((loop.time() - begin_s) * REST_FACTOR)
        return deleted
