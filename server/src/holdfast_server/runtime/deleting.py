"""Deletes closed runs, beside the commits of those that go on; what is asked meanwhile goes into the next deletion.

A run that is being deleted cannot come back: whoever brings a closed run into memory asks here whether it may be gone
since it was read.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from holdfast.v1.errors_pb2 import ErrorReason
from holdfast.v1.run_pb2 import RunState
from holdfast_server.engine.refusal import Refused
from holdfast_server.engine.state import OPEN_RUN
from holdfast_server.engine.times import iso
from holdfast_server.store.port import DeletedRun, Deletion, ExpiredRun, StoreError

if TYPE_CHECKING:  # they refer to each other
    from holdfast_server.runtime.runtime import Runtime

__all__ = ["Deleting", "deleted_name"]

log = structlog.get_logger("holdfast.runtime")

BATCH_RUNS = 100
"""Runs in one deletion. A hundred runs of six rows took 2.5 ms, for which the commit of others waits."""
BATCH_EVENTS = 5_000
BATCH_BYTES = 8 * 1024 * 1024
"""Events and bytes in one deletion, as long as it has more than one run: 256 MiB took 130 to 250 ms."""


@dataclass(frozen=True, slots=True)
class _Item:
    """One run on its way out."""

    deletion: Deletion
    namespace: str
    run_id: str
    events: int
    size_bytes: int
    done: "asyncio.Future[None]"


def deleted_name(namespace: str, run_id: str) -> str:
    """How the feed of runs names one that was deleted."""
    return f"{namespace}/{run_id}"


class Deleting:
    """Deletes runs.

    Attributes:
        turns: grows before and after each deletion; what was read from the disk while it grew may be gone.
    """

    def __init__(self, runtime: "Runtime") -> None:
        self._runtime = runtime
        self._under_way: dict[int, _Item] = {}
        self._waiting: list[_Item] = []
        self._writing = False
        self.turns = 0

    def is_under_way(self, key: int) -> bool:
        """Whether a run is being deleted at this moment."""
        return key in self._under_way

    def may_be_gone(self, key: int, turns: int) -> bool:
        """Whether a run that was read when `turns` had that value may have been deleted since, or is about to be."""
        return turns != self.turns or key in self._under_way

    async def ended(self, key: int) -> None:
        """Waits until a run is not being deleted, in whatever way that ends."""
        item = self._under_way.get(key)
        if item is not None:
            await asyncio.wait([item.done])

    async def delete(self, namespace: str, run_id: str, request_id: str) -> int:
        """Deletes a closed run and answers when it was deleted, in microseconds; a repetition gets the first answer.

        Raises:
            Refused: ILLEGAL_STATE if it is open, RUN_NOT_FOUND if there is none.
            StoreError: the disk does not answer; whether it was deleted is unknown.
        """
        runtime = self._runtime
        runtime.check_writable()
        while True:
            await self._let_go(namespace, run_id)
            row = await runtime.store.run(namespace, run_id)
            sizes = await runtime.store.run_sizes([row.key] if row is not None else [])
            if runtime.residence.by_id(namespace, run_id) is not None:
                continue  # somebody has brought it back meanwhile
            if row is None:
                return await self._deleted_before(namespace, run_id, request_id)
            if row.state in OPEN_RUN:
                raise _open(run_id, row.state)
            if not self.is_under_way(row.key):
                break
            await self.ended(row.key)
        deletion = Deletion(row.key, runtime.clock_us(), request_id)
        await asyncio.shield(self._add(deletion, namespace, run_id, row.last_seq, sizes[row.key]))
        return deletion.delete_time_us

    async def delete_expired(self, runs: Sequence[ExpiredRun]) -> int:
        """Deletes those of the runs that nobody works with, and answers how many.

        Raises:
            StoreError: the disk does not answer; some of them may be deleted.
        """
        sizes = await self._runtime.store.run_sizes([run.key for run in runs])
        now_us = self._runtime.clock_us()
        done = [
            self._add(Deletion(run.key, now_us), run.namespace, run.run_id, run.last_seq, sizes[run.key])
            for run in runs
            if not self.is_under_way(run.key) and self._runtime.residence.by_key(run.key) is None
        ]
        if done:
            await asyncio.wait(done)
        for ended in done:
            ended.result()
        return len(done)

    async def refusal(self, namespace: str, run_id: str) -> Refused:
        """What is said of a run that is not there.

        Raises:
            StoreError: the disk does not answer.
        """
        return _not_found(namespace, run_id, await self._tombstone(namespace, run_id))

    async def _let_go(self, namespace: str, run_id: str) -> None:
        """Waits until the disk has all that memory knows of a closed run, and takes it out of memory."""
        runtime = self._runtime
        while (host := runtime.residence.by_id(namespace, run_id)) is not None:
            if host.stale:
                await runtime.mending.reload(host)
            elif host.state.open:
                raise _open(run_id, host.state.state)
            elif host.durable_seq < host.state.seq:
                await runtime.durable(host)
            else:
                # Brought back for a command, which will find that it has left.
                runtime.residence.remove(host)

    async def _tombstone(self, namespace: str, run_id: str) -> DeletedRun | None:
        found = await self._runtime.store.deleted_runs(namespace, [run_id])
        return found[0] if found else None

    async def _deleted_before(self, namespace: str, run_id: str, request_id: str) -> int:
        tombstone = await self._tombstone(namespace, run_id)
        if tombstone is None or not request_id or tombstone.request_id != request_id:
            raise _not_found(namespace, run_id, tombstone)
        return tombstone.delete_time_us

    def _add(
        self, deletion: Deletion, namespace: str, run_id: str, events: int, size_bytes: int
    ) -> "asyncio.Future[None]":
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        # Whoever asked may have left; what it began goes on.
        done.add_done_callback(lambda ended: ended.exception())
        item = _Item(deletion, namespace, run_id, events, size_bytes, done)
        self._under_way[deletion.key] = item
        self._waiting.append(item)
        if not self._writing:
            self._writing = True
            self._runtime.spawn(self._write(), "deletion of runs")
        return done

    def _next_batch(self) -> list[_Item]:
        count = events = size_bytes = 0
        for item in self._waiting[:BATCH_RUNS]:
            events += item.events
            size_bytes += item.size_bytes
            if count and (events > BATCH_EVENTS or size_bytes > BATCH_BYTES):
                break
            count += 1
        batch = self._waiting[:count]
        del self._waiting[:count]
        return batch

    async def _write(self) -> None:
        try:
            while self._waiting:
                batch = self._next_batch()
                self.turns += 1
                error: StoreError | None = None
                try:
                    await self._runtime.store.delete_runs([item.deletion for item in batch])
                except StoreError as fault:
                    error = fault
                except Exception as fault:
                    # A fault of the server's own must not leave callers waiting.
                    log.exception("a deletion failed by a fault")
                    error = StoreError(f"{type(fault).__name__}: {fault}")
                self._end(batch, error)
        finally:
            self._writing = False

    def _end(self, batch: Sequence[_Item], error: StoreError | None) -> None:
        self.turns += 1
        for item in batch:
            del self._under_way[item.deletion.key]
            if error is not None:
                item.done.set_exception(error)
                continue
            self._runtime.runs_feed.note((item.deletion.key, deleted_name(item.namespace, item.run_id)))
            item.done.set_result(None)


def _open(run_id: str, state: int) -> Refused:
    name = RunState.Name(RunState.ValueType(state)).removeprefix("RUN_STATE_")
    message = f"run {run_id!r} is {name}; only closed runs can be deleted, so cancel or terminate it first"
    return Refused(ErrorReason.ERROR_REASON_ILLEGAL_STATE, message, {"run_id": run_id, "state": name})


def _not_found(namespace: str, run_id: str, tombstone: DeletedRun | None) -> Refused:
    facts = {"run_id": run_id}
    message = f"there is no run {run_id!r} in namespace {namespace!r}"
    if tombstone is not None:
        facts["delete_time"] = iso(tombstone.delete_time_us)
        message = f"run {run_id!r} in namespace {namespace!r} was deleted at {facts['delete_time']}"
    return Refused(ErrorReason.ERROR_REASON_RUN_NOT_FOUND, message, facts)
