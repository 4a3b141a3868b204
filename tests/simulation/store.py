"""A store over the simulated disk: the server's way to what survives, as slow and as faulty as the weather makes it.

A commit takes effect at one moment, between being asked for and being answered; a server that dies before that moment
has not written it, one that dies after it has.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import TypeVar

from holdfast_server.store.port import (
    Commit,
    DeletedRun,
    Deletion,
    ExpiredRun,
    GateRow,
    HistoryRow,
    RunQuery,
    RunRow,
    StoreConflictError,
    StoreError,
    StoreLockedError,
    TaskBacklog,
    VersionRow,
)
from tests.simulation.disk import OPEN, Disk

__all__ = ["SimulatedStore", "Weather"]

T = TypeVar("T")

SLOWEST_S = 2.0


@dataclass(slots=True)
class Weather:
    """How the disk behaves at present.

    Attributes:
        chance: decides.
        broken: nothing can be written.
        lost_writes: share of commits that fail and are not written.
        lost_answers: share of commits that are written and fail all the same.
        lost_reads: share of reads that fail.
        slow: share of calls that take long.
        poisoned: runs whose events the disk refuses for what they say.
    """

    chance: Random
    broken: bool = False
    lost_writes: float = 0.0
    lost_answers: float = 0.0
    lost_reads: float = 0.0
    slow: float = 0.0
    poisoned: set[int] = field(default_factory=set)

    def clear_up(self) -> None:
        """Nothing goes wrong any more."""
        self.broken = False
        self.lost_writes = self.lost_answers = self.lost_reads = self.slow = 0.0
        self.poisoned.clear()

    @property
    def fair(self) -> bool:
        """Whether nothing is wrong at present."""
        return not self.broken and not max(self.lost_writes, self.lost_answers, self.lost_reads, self.slow)

    def delay_s(self) -> float:
        """How long a half of a call takes."""
        if self.slow and self.chance.random() < self.slow:
            return self.chance.random() * SLOWEST_S
        return self.chance.choice((0.0, 0.0, 0.000_2, 0.001, 0.004))

    def strikes(self, share: float) -> bool:
        """Whether something with that probability happens now."""
        return share > 0.0 and self.chance.random() < share


class SimulatedStore:
    """A store.

    Args:
        disk: what survives.
        weather: how it behaves.
        owner: who opens it.
        on_write: told of each commit the moment it is written.
        on_delete: told of each deletion the moment it is written.
    """

    def __init__(
        self,
        disk: Disk,
        weather: Weather,
        owner: str,
        on_write: Callable[[Commit], None] = lambda _commit: None,
        on_delete: Callable[[Sequence[Deletion]], None] = lambda _deletions: None,
    ) -> None:
        self._disk = disk
        self._weather = weather
        self._owner = owner
        self._on_write = on_write
        self._on_delete = on_delete
        self._open = False

    @property
    def description(self) -> str:
        """For people."""
        return "simulated"

    @property
    def schema_version(self) -> int:
        """There is one schema."""
        return 1

    async def open(self) -> None:
        """Takes the lock."""
        if self._open:
            raise StoreError("the simulated disk is open already")
        await self._spend()
        if self._disk.owner:
            raise StoreLockedError("the simulated disk", self._disk.owner)
        self._disk.owner = self._owner
        self._open = True

    async def close(self) -> None:
        """Gives the lock back."""
        self._open = False
        if self._disk.owner == self._owner:
            self._disk.owner = ""

    # -- how calls take their time -----------------------------------------------------------------------------------

    async def _spend(self) -> None:
        await asyncio.sleep(self._weather.delay_s())

    async def _read(self, read: Callable[[Disk], T]) -> T:
        """Reads at one moment between being asked and answering."""
        self._check_open()
        await self._spend()
        if self._weather.strikes(self._weather.lost_reads):
            raise StoreError("the disk cannot be read")
        found = read(self._disk)
        await self._spend()
        return found

    async def _write(self, write: Callable[[Disk], T]) -> T:
        self._check_open()
        await self._spend()
        weather = self._weather
        if weather.broken or weather.strikes(weather.lost_writes):
            raise StoreError("the disk is full")
        written = write(self._disk)
        await self._spend()
        if weather.strikes(weather.lost_answers):
            raise StoreError("the answer of the disk was lost")
        return written

    def _check_open(self) -> None:
        if not self._open:
            raise StoreError("the simulated disk is not open")

    # -- writing -----------------------------------------------------------------------------------------------------

    async def commit(self, commit: Commit) -> None:
        """Writes all of it, or nothing, or (after StoreError) one of the two."""

        def write(disk: Disk) -> None:
            refused = self._weather.poisoned & {row.run_key for row in commit.history}
            if refused:
                raise StoreConflictError(f"the events of run {min(refused)} cannot be stored")
            disk.write(commit)
            self._on_write(commit)

        await self._write(write)

    async def delete_runs(self, deletions: Sequence[Deletion]) -> None:
        """Deletes closed runs, all or nothing."""

        def write(disk: Disk) -> None:
            disk.delete(deletions)
            self._on_delete(deletions)

        await self._write(write)

    async def next_server_epoch(self) -> int:
        """Counts one more start of a server."""

        def write(disk: Disk) -> int:
            disk.server_epoch += 1
            return disk.server_epoch

        return await self._write(write)

    async def token_key(self) -> bytes:
        """The secret tokens are signed with."""
        return await self._write(lambda disk: disk.token_key)

    async def probe(self) -> None:
        """Writes something of no consequence."""
        await self._write(lambda _disk: None)

    # -- reading -----------------------------------------------------------------------------------------------------

    async def last_run_key(self) -> int:
        """The highest run key there ever was."""
        return await self._read(lambda disk: disk.last_run_key)

    async def hot_runs(self) -> Sequence[RunRow]:
        """All runs that are neither closed nor evicted, by key."""
        return await self._read(lambda disk: [row for row in _by_key(disk) if row.state in OPEN and row.hot])

    async def open_run_count(self) -> int:
        """How many runs are not closed."""
        return await self._read(lambda disk: sum(row.state in OPEN for row in disk.runs.values()))

    async def open_runs_by_key(self, namespace: str, names: Sequence[tuple[str, str]]) -> Sequence[RunRow]:
        """The open runs that have one of the (workflow, business key), by key."""

        def read(disk: Disk) -> list[RunRow]:
            found = [row for row in _by_key(disk) if row.namespace == namespace and row.state in OPEN]
            return [row for row in found if row.business_key and (row.workflow, row.business_key) in names]

        return await self._read(read)

    async def run(self, namespace: str, run_id: str) -> RunRow | None:
        """One run."""
        return await self._read(lambda disk: disk.run(namespace, run_id))

    async def run_by_key(self, key: int) -> RunRow | None:
        """One run by its integer key."""
        return await self._read(lambda disk: disk.runs.get(key))

    async def known_starts(
        self, namespace: str, run_ids: Sequence[str], request_ids: Sequence[str]
    ) -> Sequence[RunRow]:
        """The runs that have one of the ids or were started by one of the requests, by key."""

        def read(disk: Disk) -> list[RunRow]:
            found = [disk.run(namespace, run_id) for run_id in run_ids]
            found += [disk.started_by(namespace, request_id) for request_id in request_ids if request_id]
            rows = {row.key: row for row in found if row is not None}
            return [rows[key] for key in sorted(rows)]

        return await self._read(read)

    async def runs(self, query: RunQuery) -> Sequence[RunRow]:
        """A page of runs."""

        def read(disk: Disk) -> list[RunRow]:
            before = query.before
            found = disk.matching(query)
            rows = [row for row in found if before is None or (row.start_time_us, row.key) < before]
            return rows[: query.limit]

        return await self._read(read)

    async def count_runs(self, query: RunQuery) -> dict[int, int]:
        """Number of runs by state."""

        def read(disk: Disk) -> dict[int, int]:
            counts: dict[int, int] = {}
            for row in disk.matching(query):
                counts[row.state] = counts.get(row.state, 0) + 1
            return counts

        return await self._read(read)

    async def history(self, run_key: int, after_seq: int = 0, max_bytes: int | None = None) -> Sequence[HistoryRow]:
        """Rows with an event after `after_seq`, in order; at least one if there is any, then as they fit."""

        def read(disk: Disk) -> list[HistoryRow]:
            found: list[HistoryRow] = []
            size_bytes = 0
            for row in disk.history(run_key):
                if row.first_seq + row.count <= after_seq + 1:
                    continue
                size_bytes += len(row.blob)
                if found and max_bytes is not None and size_bytes > max_bytes:
                    break
                found.append(row)
            return found

        return await self._read(read)

    async def histories(self, after: Sequence[tuple[int, int]], max_bytes: int) -> tuple[Sequence[HistoryRow], bool]:
        """Rows of several runs, run by run, as they fit; and whether that is all."""

        def read(disk: Disk) -> tuple[list[HistoryRow], bool]:
            found: list[HistoryRow] = []
            size_bytes = 0
            for key, seq in after:
                for row in disk.history(key):
                    if row.first_seq + row.count <= seq + 1:
                        continue
                    size_bytes += len(row.blob)
                    if found and size_bytes > max_bytes:
                        return found, False
                    found.append(row)
            return found, True

        return await self._read(read)

    async def snapshots(self, run_keys: Sequence[int]) -> dict[int, tuple[int, bytes]]:
        """Snapshots of evicted runs with the numbers of their last events."""

        def read(disk: Disk) -> dict[int, tuple[int, bytes]]:
            found = {key: disk.evicted[key][1:] for key in run_keys if key in disk.evicted}
            return {key: kept for key, kept in found.items() if kept[0]}

        return await self._read(read)

    async def wake_times(self, after: tuple[int, int], limit: int) -> Sequence[tuple[int, int]]:
        """(time of the first timer, run key) of evicted runs, in that order, behind `after`."""

        def read(disk: Disk) -> list[tuple[int, int]]:
            found = ((wake_us, key) for key, (wake_us, _seq, _snapshot) in disk.evicted.items() if wake_us)
            return sorted(one for one in found if one > after)[:limit]

        return await self._read(read)

    async def task_backlog(self) -> Sequence[TaskBacklog]:
        """Waiting attempts of evicted runs, counted."""

        def read(disk: Disk) -> list[TaskBacklog]:
            since: dict[tuple[str, str, str], list[int]] = {}
            for namespace, task in disk.evicted_tasks.values():
                since.setdefault((namespace, task.queue, task.handler), []).append(task.since_us)
            return [TaskBacklog(*name, len(times), min(times)) for name, times in sorted(since.items())]

        return await self._read(read)

    async def evicted_tasks(self, namespace: str, queue: str, handler: str, limit: int) -> Sequence[tuple[int, int]]:
        """(since when, run key) of waiting attempts of evicted runs, longest first."""

        def read(disk: Disk) -> list[tuple[int, int]]:
            found = [
                (task.since_us, key)
                for (key, _path), (space, task) in disk.evicted_tasks.items()
                if (space, task.queue, task.handler) == (namespace, queue, handler)
            ]
            return sorted(found)[:limit]

        return await self._read(read)

    async def evicted_gates(
        self, namespace: str, after: tuple[int, int, str, str], workflow: str, limit: int
    ) -> Sequence[GateRow]:
        """Open gates of evicted runs by (deadline, open time, run id, path), behind `after`."""

        def read(disk: Disk) -> list[GateRow]:
            found = {
                (row.deadline_us, row.open_us, row.run_id, row.path): row
                for space, flow, row in disk.evicted_gates.values()
                if space == namespace and workflow in ("", flow)
            }
            return [found[place] for place in sorted(found) if place > after][:limit]

        return await self._read(read)

    async def run_sizes(self, keys: Sequence[int]) -> dict[int, int]:
        """About how many bytes each run has stored."""
        return await self._read(lambda disk: {key: disk.size_bytes(key) for key in keys})

    async def deleted_runs(self, namespace: str, run_ids: Sequence[str]) -> Sequence[DeletedRun]:
        """Which of the ids belong to deleted runs."""
        names = [(namespace, run_id) for run_id in sorted(set(run_ids))]
        return await self._read(lambda disk: [disk.deleted[name] for name in names if name in disk.deleted])

    async def expired_runs(self, now_us: int, retention_us: int | None, limit: int) -> Sequence[ExpiredRun]:
        """Closed runs that were kept long enough."""
        return await self._read(
            lambda disk: [run for expiry_us, run in disk.expiries(retention_us) if expiry_us <= now_us][:limit]
        )

    async def next_expiry(self, retention_us: int | None) -> int | None:
        """When the first of the closed runs was kept long enough."""
        return await self._read(lambda disk: min((at for at, _run in disk.expiries(retention_us)), default=None))

    async def payloads(self, hashes: Sequence[bytes]) -> dict[bytes, bytes]:
        """Payloads by hash; unknown ones are left out."""
        return await self._read(
            lambda disk: {sha256: disk.payloads[sha256] for sha256 in hashes if sha256 in disk.payloads}
        )

    async def version(self, namespace: str, name: str, version: int) -> VersionRow | None:
        """One version; 0 means the latest."""

        def read(disk: Disk) -> VersionRow | None:
            rows = disk.versions(namespace, name)
            return next((row for row in rows if version in (0, row.version)), None)

        return await self._read(read)

    async def version_by_hash(self, namespace: str, name: str, definition_hash: bytes) -> VersionRow | None:
        """The version with that content."""

        def read(disk: Disk) -> VersionRow | None:
            rows = disk.versions(namespace, name)
            return next((row for row in rows if row.definition_hash == definition_hash), None)

        return await self._read(read)

    async def latest_versions(self, namespace: str, after_name: str, limit: int) -> Sequence[VersionRow]:
        """The latest version of each workflow by name."""

        def read(disk: Disk) -> list[VersionRow]:
            names = [name for name in disk.workflows(namespace) if name > after_name]
            return [disk.versions(namespace, name)[0] for name in names[:limit]]

        return await self._read(read)

    async def versions(self, namespace: str, name: str, before_version: int, limit: int) -> Sequence[VersionRow]:
        """Versions below `before_version`, newest first."""

        def read(disk: Disk) -> list[VersionRow]:
            rows = disk.versions(namespace, name)
            return [row for row in rows if not before_version or row.version < before_version][:limit]

        return await self._read(read)


def _by_key(disk: Disk) -> list[RunRow]:
    return [disk.runs[key] for key in sorted(disk.runs)]
