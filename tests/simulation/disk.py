"""What survives: the durable image of a database, changed by whole commits only."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from holdfast.v1.run_pb2 import RunState
from holdfast_server.store.port import (
    Commit,
    DeletedRun,
    Deletion,
    EvictedTask,
    Eviction,
    ExpiredRun,
    GateRow,
    HistoryRow,
    NewRun,
    PayloadRow,
    RunQuery,
    RunRow,
    RunUpdate,
    StoreConflictError,
    VersionRow,
)

__all__ = ["OPEN", "Disk"]

OPEN = frozenset({int(RunState.RUN_STATE_RUNNING), int(RunState.RUN_STATE_PAUSED)})
"""States of runs that are not closed."""


class Disk:
    """Tables and their unique indexes.

    Attributes:
        runs: rows by key.
        payloads: large payloads by hash.
        references: (run, hash) of the large payloads runs refer to.
        server_epoch: how often a server has started.
        owner: who has the lock; empty if nobody has.
        commits: how many commits were written.
        evicted: of evicted runs, when the first timer is due, and a snapshot with the number of its last event.
        evicted_tasks: their waiting attempts, by run and path, with the namespace.
        evicted_gates: their open gates, by run and path, with namespace and workflow.
        deleted: what stays of deleted runs, by namespace and id.
        last_run_key: the highest key there ever was.
    """

    def __init__(self, token_key: bytes = b"k" * 32) -> None:
        self.token_key = token_key
        self.server_epoch = 0
        self.owner = ""
        self.commits = 0
        self.runs: dict[int, RunRow] = {}
        self.payloads: dict[bytes, bytes] = {}
        self.references: set[tuple[int, bytes]] = set()
        self.evicted: dict[int, tuple[int, int, bytes]] = {}
        self.evicted_tasks: dict[tuple[int, str], tuple[str, EvictedTask]] = {}
        self.evicted_gates: dict[tuple[int, str], tuple[str, str, GateRow]] = {}
        self.deleted: dict[tuple[str, str], DeletedRun] = {}
        self.last_run_key = 0
        self._histories: defaultdict[int, dict[int, HistoryRow]] = defaultdict(dict)
        self._versions: dict[tuple[str, str], list[VersionRow]] = {}
        self._by_id: dict[tuple[str, str], int] = {}
        self._by_request: dict[tuple[str, str], int] = {}
        self._by_business_key: dict[tuple[str, str, str], int] = {}
        self._undo: list[Callable[[], object]] = []

    # -- writing -----------------------------------------------------------------------------------------------------

    def write(self, commit: Commit) -> None:
        """Writes all of a commit.

        Raises:
            StoreConflictError: it contradicts what is there; nothing of it was written.
        """
        self._undo = []
        try:
            self._write(commit)
        except StoreConflictError:
            for undo in reversed(self._undo):
                undo()
            raise
        self.commits += 1

    def _write(self, commit: Commit) -> None:
        updates = {update.key: update for update in commit.updates}
        started = {run.key for run in commit.new_runs}
        # Runs that close come first, so that the business keys they held are free for those that open.
        for closes in (True, False):
            for update in updates.values():
                if update.key not in started and (update.state not in OPEN) == closes:
                    self._update(update)
        for run in commit.new_runs:
            self._insert_run(run, updates.get(run.key))
        for row in commit.history:
            self._insert_history(row)
        for payload in commit.payloads:
            self._insert_payload(payload)
        for version in commit.versions:
            self._insert_version(version)
        for key in commit.revivals:
            self._revive(key)
        for eviction in commit.evictions.values():
            self._evict(eviction)

    def _update(self, update: RunUpdate) -> None:
        old = self.runs.get(update.key)
        if old is None:
            raise StoreConflictError(f"run {update.key} to update is unknown")
        self._free_business_key(old)
        self._put_run(_updated(old, update))
        self._undo.append(lambda: self._put_back(old))

    def _put_back(self, row: RunRow) -> None:
        self._free_business_key(self.runs[row.key])
        self.runs[row.key] = row
        if row.business_key and row.state in OPEN:
            self._by_business_key[row.namespace, row.workflow, row.business_key] = row.key

    def _insert_run(self, run: NewRun, update: RunUpdate | None) -> None:
        _check_text(run.run_id)
        request = (run.namespace, run.request_id)
        if run.key in self.runs or (run.namespace, run.run_id) in self._by_id:
            raise StoreConflictError(f"run {run.key} or its id {run.run_id} is taken")
        if run.request_id and request in self._by_request:
            raise StoreConflictError(f"request {run.request_id} has started a run")
        row = RunRow(
            run.key,
            run.namespace,
            run.run_id,
            run.workflow,
            run.version,
            run.business_key,
            run.state,
            run.start_time_us,
            0,
            1,
            0,
            0,
            "",
            run.request_id,
            run.request_hash,
            run.attributes_json,
            hot=True,
        )
        self._put_run(row if update is None else replace(_updated(row, update), hot=True))
        self.last_run_key = max(self.last_run_key, run.key)
        self._by_id[run.namespace, run.run_id] = run.key
        if run.request_id:
            self._by_request[request] = run.key
        self._undo.append(lambda: self._remove_run(row))

    def _put_run(self, row: RunRow) -> None:
        if row.business_key and row.state in OPEN:
            name = (row.namespace, row.workflow, row.business_key)
            if name in self._by_business_key:
                raise StoreConflictError(f"business key {row.business_key} belongs to an open run")
            self._by_business_key[name] = row.key
        self.runs[row.key] = row

    def _free_business_key(self, row: RunRow) -> None:
        name = (row.namespace, row.workflow, row.business_key)
        if self._by_business_key.get(name) == row.key:
            del self._by_business_key[name]

    def _remove_run(self, row: RunRow) -> None:
        self._free_business_key(self.runs.pop(row.key))
        del self._by_id[row.namespace, row.run_id]
        if row.request_id:
            del self._by_request[row.namespace, row.request_id]

    def _insert_history(self, row: HistoryRow) -> None:
        rows = self._histories[row.run_key]
        if row.first_seq in rows:
            raise StoreConflictError(f"run {row.run_key} has an event {row.first_seq}")
        rows[row.first_seq] = row
        self._undo.append(lambda: rows.pop(row.first_seq))

    def _insert_payload(self, row: PayloadRow) -> None:
        if row.sha256 not in self.payloads:
            self.payloads[row.sha256] = row.blob
            self._undo.append(lambda: self.payloads.pop(row.sha256))
        reference = (row.run_key, row.sha256)
        if reference not in self.references:
            self.references.add(reference)
            self._undo.append(lambda: self.references.remove(reference))

    def _insert_version(self, row: VersionRow) -> None:
        rows = self._versions.setdefault((row.namespace, row.name), [])
        if any(row.version == known.version or row.definition_hash == known.definition_hash for known in rows):
            raise StoreConflictError(f"version {row.version} of {row.name} or its content is there")
        rows.append(row)
        self._undo.append(lambda: rows.remove(row))

    def _revive(self, key: int) -> None:
        if (known := self.evicted.pop(key, None)) is not None:
            self._undo.append(lambda: self.evicted.update({key: known}))
        tasks, gates = self.evicted_tasks, self.evicted_gates
        for place in [place for place in tasks if place[0] == key]:
            self._undo.append(partial(tasks.__setitem__, place, tasks.pop(place)))
        for place in [place for place in gates if place[0] == key]:
            self._undo.append(partial(gates.__setitem__, place, gates.pop(place)))

    def _evict(self, row: Eviction) -> None:
        before = (dict(self.evicted), dict(self.evicted_tasks), dict(self.evicted_gates))
        self._undo.append(lambda: self._put_evicted_back(before))
        self.evicted[row.key] = (row.wake_us, row.snapshot_seq, row.snapshot)
        for task in row.tasks:
            self.evicted_tasks[row.key, task.path] = (row.namespace, task)
        for gate in row.gates:
            shown = GateRow(gate.deadline_us, gate.open_us, row.run_id, gate.path, row.key)
            self.evicted_gates[row.key, gate.path] = (row.namespace, row.workflow, shown)

    def _put_evicted_back(self, before: tuple[Any, Any, Any]) -> None:
        self.evicted, self.evicted_tasks, self.evicted_gates = before

    def delete(self, deletions: Sequence[Deletion]) -> None:
        """Deletes closed runs.

        Raises:
            StoreConflictError: one of them is open or unknown; nothing was deleted.
        """
        rows = [self.runs[one.key] for one in deletions if one.key in self.runs]
        closed = sum(row.state not in OPEN for row in rows)
        if closed != len(deletions):
            raise StoreConflictError(f"{closed} of {len(deletions)} runs to delete are closed")
        for one, row in zip(deletions, rows, strict=True):
            name = (row.namespace, row.run_id)
            self.deleted[name] = DeletedRun(*name, one.delete_time_us, one.request_id)
            self._remove_run(row)
            self._histories.pop(row.key, None)
        keys = {one.key for one in deletions}
        self.references = {reference for reference in self.references if reference[0] not in keys}
        used = {sha256 for _key, sha256 in self.references}
        self.payloads = {sha256: blob for sha256, blob in self.payloads.items() if sha256 in used}
        self.commits += 1

    # -- reading -----------------------------------------------------------------------------------------------------

    def run(self, namespace: str, run_id: str) -> RunRow | None:
        """A run by its id."""
        key = self._by_id.get((namespace, run_id))
        return None if key is None else self.runs[key]

    def started_by(self, namespace: str, request_id: str) -> RunRow | None:
        """The run a request has started."""
        key = self._by_request.get((namespace, request_id))
        return None if key is None else self.runs[key]

    def history(self, run_key: int) -> Sequence[HistoryRow]:
        """All rows of a run."""
        rows = self._histories.get(run_key, {})
        return [rows[seq] for seq in sorted(rows)]

    def size_bytes(self, run_key: int) -> int:
        """About how much a run has stored."""
        own = sum(len(row.blob) for row in self.history(run_key))
        return own + sum(len(self.payloads[sha256]) for key, sha256 in self.references if key == run_key)

    def expiries(self, retention_us: int | None) -> Iterator[tuple[int, ExpiredRun]]:
        """Closed runs that expire, by version and then what closed first, and when they do."""
        for (namespace, name), versions in sorted(self._versions.items()):
            for version in sorted(versions, key=lambda row: row.version):
                kept_us = version.retention_us or retention_us
                if kept_us is None:
                    continue
                of_version = (namespace, name, version.version)
                closed = [row for row in self.runs.values() if (row.namespace, row.workflow, row.version) == of_version]
                for row in sorted(closed, key=lambda row: row.close_time_us):
                    if row.close_time_us:
                        expired = ExpiredRun(row.key, row.namespace, row.run_id, row.last_seq)
                        yield row.close_time_us + kept_us, expired

    def matching(self, query: RunQuery) -> Iterator[RunRow]:
        """The runs a query means, latest start first; whatever its page."""
        found = (row for row in self.runs.values() if _fits(row, query))
        yield from sorted(found, key=lambda row: (row.start_time_us, row.key), reverse=True)

    def versions(self, namespace: str, name: str) -> Sequence[VersionRow]:
        """The versions of a workflow, newest first."""
        return sorted(self._versions.get((namespace, name), ()), key=lambda row: -row.version)

    def workflows(self, namespace: str) -> Iterable[str]:
        """The names of the workflows, in order."""
        return sorted(name for space, name in self._versions if space == namespace)


def _updated(row: RunRow, update: RunUpdate) -> RunRow:
    return replace(
        row,
        state=update.state,
        close_time_us=update.close_time_us,
        run_epoch=update.run_epoch,
        last_seq=update.last_seq,
        waiting_reason=update.waiting_reason,
        status_message=update.status_message,
        hot=update.hot,
    )


def _fits(row: RunRow, query: RunQuery) -> bool:
    return (
        row.namespace == query.namespace
        and (not query.states or row.state in query.states)
        and (not query.workflow or row.workflow == query.workflow)
        and (not query.business_key or row.business_key == query.business_key)
        and (query.start_after_us is None or row.start_time_us >= query.start_after_us)
        and (query.start_before_us is None or row.start_time_us < query.start_before_us)
        and (not query.waiting_reasons or _waits(row, query))
    )


def _waits(row: RunRow, query: RunQuery) -> bool:
    return row.waiting_reason in query.waiting_reasons and row.state in OPEN and not row.hot


def _check_text(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise StoreConflictError(f"{text!r} cannot be stored") from error
