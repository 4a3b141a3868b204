"""Wakes evicted runs when the first of their timers is due."""

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

import structlog

from holdfast_server.store.port import StoreError
from holdfast_server.timers.heap import TimerHandle

if TYPE_CHECKING:  # they refer to each other
    from holdfast_server.runtime.runtime import Due, Runtime

__all__ = ["WAKE", "Wakes"]

log = structlog.get_logger("holdfast.runtime")

BATCH = 1_000
RETRY_US = 1_000_000
WAKE = "wake"
"""What the timer hands back."""


class Wakes:
    """The one timer that stands for those of all evicted runs; the others are on disk, by their time."""

    def __init__(self, runtime: "Runtime") -> None:
        self._runtime = runtime
        self._behind = (0, 0)
        """(time, run key) up to which all runs were woken."""
        self._handle: TimerHandle[Due] | None = None
        self._looking = False
        self._look_again = False

    async def start(self) -> None:
        """Wakes what is due and sets the timer for the next.

        Raises:
            StoreError: the disk does not answer.
        """
        self._set(await self._next())

    def note(self, wake_us: int, key: int) -> None:
        """A run has left that has to come back at a time; 0 means never."""
        if not wake_us:
            return
        if (wake_us, key) <= self._behind:
            self._behind = (wake_us, key - 1)
        if self._looking:
            self._look_again = True
        elif self._handle is None or wake_us < self._handle.due_us:
            self._set(wake_us)

    def due(self) -> None:
        """The timer is due."""
        self._handle = None
        self._runtime.spawn(self._look(), "wake-up of evicted runs")

    async def _look(self) -> None:
        if self._looking:
            self._look_again = True
            return
        try:
            next_us = await self._next()
        except StoreError as error:
            log.warning("evicted runs cannot be woken; trying again", error=str(error))
            next_us = self._runtime.clock_us() + RETRY_US
        self._set(next_us)

    async def _next(self) -> int | None:
        """Wakes all that are due and answers when the next one is, those among them that have left meanwhile.

        Raises:
            StoreError: the disk does not answer.
        """
        self._looking = True
        try:
            while True:
                self._look_again = False
                next_us = await self._wake_due()
                if not self._look_again:
                    return next_us
        finally:
            self._looking = False

    async def _wake_due(self) -> int | None:
        """Wakes all that are due and answers when the next one is."""
        runtime = self._runtime
        while True:
            behind = self._behind
            rows = await runtime.store.wake_times(behind, BATCH)
            now_us = runtime.clock_us()
            due = [row for row in rows if row[0] <= now_us]
            await self._wake([key for _wake_us, key in due])
            if due and self._behind == behind:
                self._behind = due[-1]
            if len(due) < len(rows):
                return rows[len(due)][0]
            if len(rows) < BATCH:
                return None
            await asyncio.sleep(0)

    async def _wake(self, keys: Sequence[int]) -> None:
        """Brings runs whose time has come; those that leave again without a change need another time on disk."""
        loading = self._runtime.loading
        for key in keys:
            host = self._runtime.residence.by_key(key)
            if host is not None:
                self._runtime.evictor.outdated(host)
        loading.woken.update(keys)
        try:
            await loading.bring(keys)
        finally:
            loading.woken.difference_update(keys)

    def _set(self, wake_us: int | None) -> None:
        if self._handle is not None:
            self._runtime.timers.cancel(self._handle)
        self._handle = None if wake_us is None else self._runtime.timers.add(wake_us, (0, "", WAKE))
