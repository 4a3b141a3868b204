"""Collects what runs decide into groups and writes each group in one commit.

While a commit is under way the next group fills, so the size of a group follows the load and no timer delays
anybody. Only lazy events (a task was handed out) may wait, a few milliseconds, for company.

A commit that fails leaves unknown whether it took effect. The group and everything decided on top of it are then
dropped: the runs concerned have to be folded again from disk before they decide anything more. A commit that is
refused because of what it says was not made: it is made again in parts, and only a run that is refused alone is
dropped.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import structlog

from holdfast.v1.history_pb2 import HistoryBatch
from holdfast_server.store.port import (
    Commit,
    Eviction,
    HistoryRow,
    NewRun,
    PayloadRow,
    RunUpdate,
    StoreConflictError,
    StoreError,
    VersionRow,
)

__all__ = ["Entry", "Journal", "JournalFullError", "Writer"]

log = structlog.get_logger("holdfast.journal")


class JournalFullError(StoreError):
    """More transitions wait for the disk than allowed: the caller has to come again."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"{limit} transitions wait for the disk; the limit uncommitted_transitions is {limit}")
        self.limit = limit


class Writer(Protocol):
    """Whoever has events to write: a run in memory."""

    @property
    def key(self) -> int:
        """Integer key of the run."""

    def committed(self, entry: "Entry") -> None:
        """The entry is on disk; its effects may happen."""


@dataclass(slots=True)
class Entry:
    """What one run has in one group: one row."""

    writer: Writer
    batch: HistoryBatch
    effects: list[object] = field(default_factory=list)
    pinned: list[bytes] = field(default_factory=list)
    """Hashes of the large payloads that are written with it."""


class _Group:
    __slots__ = ("commit", "entries", "transitions", "waiters")

    def __init__(self) -> None:
        self.entries: dict[int, Entry] = {}
        self.commit = Commit()
        self.waiters: list[asyncio.Future[None]] = []
        """One for each caller: a shared one would be cancelled with any of them, and shielding it costs a hop."""
        self.transitions = 0

    @property
    def empty(self) -> bool:
        commit = self.commit
        return not self.entries and not commit.versions and not commit.updates and not commit.evictions


class Journal:
    """The one writer of a database.

    Attributes:
        failures: commits that failed so far.

    Args:
        commit: writes a group: the method of the store.
        on_failure: told of a failed commit with all entries that may not be on disk, and the keys of the runs whose
            evictions may not be, before any caller hears of it.
        on_conflict: told of an entry the store refuses for what it says, before any caller hears of its group.
        on_evicted: told after a commit which runs may leave the memory, because their evictions are on disk.
        on_kept: told of runs whose evictions were left out of a commit.
        on_group: called after each commit, when effects have happened and before callers go on.
        lazy_delay_s: longest wait of lazy events.
        limit: transitions that may wait.
    """

    def __init__(
        self,
        commit: Callable[[Commit], Awaitable[None]],
        on_failure: Callable[[StoreError, Sequence[Entry], Sequence[int]], None],
        on_conflict: Callable[[StoreConflictError, Entry], None],
        on_evicted: Callable[[Sequence[int]], None],
        on_kept: Callable[[Sequence[int]], None],
        on_group: Callable[[], None],
        lazy_delay_s: float = 0.005,
        limit: int = 20_000,
    ) -> None:
        self._write_commit = commit
        self._on_failure = on_failure
        self._on_conflict = on_conflict
        self._on_evicted = on_evicted
        self._on_kept = on_kept
        self._on_group = on_group
        self._lazy_delay_s = lazy_delay_s
        self._limit = limit
        self._wake = asyncio.Event()
        self._urgent = False
        self._lazy_timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self._closing = False
        self.failures = 0
        self._open = _Group()
        self._writing: _Group | None = None

    def start(self) -> None:
        """Begins to write."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name="journal")

    async def close(self) -> None:
        """Writes what is left and ends."""
        self._closing = True
        self._wake.set()
        if self._task is not None:
            await self._task

    @property
    def waiting(self) -> int:
        """Transitions that wait for the disk."""
        return self._open.transitions + (self._writing.transitions if self._writing is not None else 0)

    @property
    def idle(self) -> bool:
        """Whether nothing waits for the disk and nobody for an answer of it."""
        return self._writing is None and self._open.empty and not self._open.waiters

    def check_room(self) -> None:
        """Refuses more while too much waits.

        Raises:
            JournalFullError: it does.
        """
        if self.waiting >= self._limit:
            raise JournalFullError(self._limit)

    def begin(self, writer: Writer, batch: HistoryBatch, effects: Sequence[object], new_run: NewRun) -> None:
        """Takes in a new run with its first events; `add` follows."""
        self._open.entries[writer.key] = Entry(writer, batch, list(effects))
        self._open.commit.new_runs.append(new_run)

    def entry(self, writer: Writer) -> Entry:
        """The writer's entry in the open group, made if there is none."""
        found = self._open.entries.get(writer.key)
        if found is None:
            found = self._open.entries[writer.key] = Entry(writer, HistoryBatch())
        return found

    def forget(self, writer: Writer, events: int) -> None:
        """Takes back what a writer added to its open entry beyond the first `events` events."""
        entry = self._open.entries.get(writer.key)
        if entry is None:
            return
        del entry.batch.events[events:]
        if not events:
            del self._open.entries[writer.key]

    def add(self, payloads: Sequence[PayloadRow] = (), *, lazy: bool = False) -> None:
        """Notes that an entry of the open group has grown, and what else is to be written with it."""
        group = self._open
        group.transitions += 1
        if payloads:
            group.commit.payloads.extend(payloads)
        if lazy:
            self._wake_later()
        else:
            self._wake_now()

    def update(self, update: RunUpdate) -> None:
        """Writes a run's row with the open group."""
        self._open.commit.updates.append(update)
        self._wake_now()

    def evict(self, eviction: Eviction, update: RunUpdate) -> None:
        """Writes with the open group that a run leaves the memory."""
        self._open.commit.evictions[eviction.key] = eviction
        self.update(update)

    def revive(self, update: RunUpdate) -> None:
        """Writes with the open group that a run that was evicted, or is about to be, is in memory."""
        commit = self._open.commit
        commit.evictions.pop(update.key, None)
        commit.revivals.append(update.key)
        self.update(update)

    def version(self, row: VersionRow) -> None:
        """Writes a version of a workflow with the open group."""
        self._open.commit.versions.append(row)
        self._wake_now()

    async def durable(self, since: int | None = None) -> None:
        """Waits until everything added so far is on disk.

        Args:
            since: what `failures` was when the first of it was added, if something else was waited for in between: a
                part of it may have been in a group that has failed by now.

        Raises:
            StoreError: it may not be; the runs concerned have been dropped.
        """
        if since is not None and self.failures != since:
            raise StoreError("a commit failed meanwhile, and with it maybe a part of this")
        group = self._open if not self._open.empty else self._writing
        if group is not None:
            if group is self._open:
                self._wake_now()
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            group.waiters.append(waiter)
            await waiter

    def _wake_now(self) -> None:
        self._urgent = True
        self._wake.set()

    def _wake_later(self) -> None:
        if self._lazy_timer is None and not self._urgent:
            self._lazy_timer = asyncio.get_running_loop().call_later(self._lazy_delay_s, self._wake_now)

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            self._urgent = False
            if self._lazy_timer is not None:
                self._lazy_timer.cancel()
                self._lazy_timer = None
            if not self._open.empty or self._open.waiters:
                await self._write()
            elif self._closing:
                return
            if self._closing:
                self._wake.set()

    async def _write(self) -> None:
        group = self._writing = self._open
        self._open = _Group()
        commit = group.commit
        for key, entry in group.entries.items():
            events = entry.batch.events
            if events:
                commit.history.append(HistoryRow(key, events[0].seq, len(events), entry.batch.SerializeToString()))
        refused: dict[int, StoreConflictError] = {}
        try:
            try:
                await self._write_commit(commit)
            except StoreConflictError as error:
                log.info("a group contradicts what is stored; writing it in parts", error=str(error))
                refused = await self._write_in_parts(group)
        except StoreError as error:
            self._writing = None
            self._fail(group, error)
            return
        except Exception as error:
            # A fault of the server's own must not end all writing.
            log.exception("a commit failed by a fault")
            self._writing = None
            self._fail(group, StoreError(f"{type(error).__name__}: {error}"))
            return
        self._writing = None
        for key, entry in group.entries.items():
            if key in refused:
                self._drop(refused[key], entry)
            else:
                entry.writer.committed(entry)
        if commit.evictions:
            self._on_evicted(list(commit.evictions))
        for waiter in group.waiters:
            if not waiter.done():
                waiter.set_result(None)
        self._on_group()

    async def _write_in_parts(self, group: _Group) -> dict[int, StoreConflictError]:
        """Writes a group the store refused: halves of it, halves of those that are refused, down to single runs.

        Answers the runs that are refused alone.

        Raises:
            StoreError: the disk fails, or a version of a workflow contradicts what is stored.
        """
        refused: dict[int, StoreConflictError] = {}
        if group.commit.versions:
            await self._write_commit(Commit(versions=group.commit.versions))
        self._leave_out_evictions(group.commit)
        parts = _by_run(group)
        # In the order in which they came in: a run that frees a business key is before the one that takes it.
        waiting = [list(group.entries)]
        while waiting:
            keys = waiting.pop()
            try:
                await self._write_commit(_joined([parts[key] for key in keys]))
            except StoreConflictError as error:
                if len(keys) == 1:
                    refused[keys[0]] = error
                else:
                    middle = len(keys) // 2
                    waiting += [keys[middle:], keys[:middle]]
        return refused

    def _leave_out_evictions(self, commit: Commit) -> None:
        """Nothing hangs on an eviction: it may come again later."""
        evictions = list(commit.evictions)
        commit.evictions.clear()
        commit.updates = [update for update in commit.updates if update.hot]
        if evictions:
            self._on_kept(evictions)

    def _drop(self, error: StoreConflictError, entry: Entry) -> None:
        """Drops what a run has in the refused group, and what it decided on top of that."""
        key = entry.writer.key
        after = self._open.entries.pop(key, None)
        if after is not None:
            commit = self._open.commit
            commit.payloads = [one for one in commit.payloads if one.run_key != key]
            commit.updates = [one for one in commit.updates if one.key != key]
            commit.revivals = [one for one in commit.revivals if one != key]
            entry.pinned += after.pinned
        self._on_conflict(error, entry)

    def _fail(self, group: _Group, error: StoreError) -> None:
        """Drops the group and the open one: what was decided on top of the failed group is void with it."""
        self.failures += 1
        after = self._open
        self._open = _Group()
        evictions = [*group.commit.evictions, *after.commit.evictions]
        self._on_failure(error, [*group.entries.values(), *after.entries.values()], evictions)
        for one in (group, after):
            for waiter in one.waiters:
                if not waiter.done():
                    waiter.set_exception(error)


def _by_run(group: _Group) -> dict[int, Commit]:
    """What each run of a group writes."""
    parts = {key: Commit() for key in group.entries}
    whole = group.commit
    for run in whole.new_runs:
        parts[run.key].new_runs.append(run)
    for row in whole.history:
        parts[row.run_key].history.append(row)
    for payload in whole.payloads:
        parts[payload.run_key].payloads.append(payload)
    for update in whole.updates:
        parts[update.key].updates.append(update)
    for key in whole.revivals:
        parts[key].revivals.append(key)
    return parts


def _joined(parts: Sequence[Commit]) -> Commit:
    """Several commits as one."""
    return Commit(
        new_runs=[run for part in parts for run in part.new_runs],
        history=[row for part in parts for row in part.history],
        payloads=[payload for part in parts for payload in part.payloads],
        updates=[update for part in parts for update in part.updates],
        revivals=[key for part in parts for key in part.revivals],
    )
