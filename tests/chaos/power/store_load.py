"""A load on the store alone, and what must be true of every disk it may leave behind.

The load is a list of steps, made one after the other: commits, each of which adds an event to the first run, and
deletions of one run each. So a database tells how many of them it has: at least as many as were acknowledged, at most
as many as were begun, each whole.
"""

import random
from collections.abc import Awaitable, Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from holdfast_server.store.port import (
    Commit,
    Deletion,
    EvictedTask,
    HistoryRow,
    PayloadRow,
    RunQuery,
    RunRow,
    Store,
    StoreError,
    VersionRow,
)
from holdfast_server.store.sqlite import SqliteStore
from holdfast_server.store.sqlite.driver import find_driver
from tests.chaos.power.disk import Mark, Operation
from tests.store.rows import CANCELED, RUNNING, eviction, new_run, stored, update, version

__all__ = ["Acknowledged", "Answer", "Begun", "Contents", "StoreLoad", "check_store", "told"]

FIRST = 1
"""Key of the run that counts commits."""

Step = Commit | Deletion


@dataclass(frozen=True)
class Begun:
    """Mark: a step was handed to the store."""

    steps: int


@dataclass(frozen=True)
class Acknowledged:
    """Mark: the store has answered that a step is durable."""

    steps: int


@dataclass(frozen=True)
class Answer:
    """Mark: what else the store has answered and may not take back."""

    what: str
    value: object


@dataclass
class Contents:
    """What a store holds, or has to."""

    runs: dict[int, RunRow] = field(default_factory=dict)
    history: dict[int, list[HistoryRow]] = field(default_factory=dict)
    payloads: dict[bytes, bytes] = field(default_factory=dict)
    versions: list[VersionRow] = field(default_factory=list)
    evicted: dict[int, tuple[int, bytes]] = field(default_factory=dict)
    """Number of the last event of each snapshot, and the snapshot."""
    wake_times: list[tuple[int, int]] = field(default_factory=list)
    tasks: int = 0
    """Waiting attempts of evicted runs."""
    deleted: set[str] = field(default_factory=set)
    """Ids of deleted runs."""
    references: dict[bytes, set[int]] = field(default_factory=dict, compare=False)
    """Which runs refer to a payload; the store does not tell."""

    def take(self, step: Step) -> None:
        """Add a step."""
        if isinstance(step, Deletion):
            self._delete(step.key)
        else:
            self._add(step)

    def _delete(self, key: int) -> None:
        self.deleted.add(self.runs.pop(key).run_id)
        self.history.pop(key, None)
        for digest, keys in self.references.items():
            keys.discard(key)
            if not keys:
                self.payloads.pop(digest, None)

    def _add(self, commit: Commit) -> None:
        for run in commit.new_runs:
            self.runs[run.key] = stored(run)
        for row in commit.history:
            self.history.setdefault(row.run_key, []).append(row)
        for payload in commit.payloads:
            self.payloads[payload.sha256] = payload.blob
            self.references.setdefault(payload.sha256, set()).add(payload.run_key)
        for change in commit.updates:
            changes = {name: getattr(change, name) for name in change.__dataclass_fields__ if name != "key"}
            self.runs[change.key] = replace(self.runs[change.key], **changes)
        self.versions += commit.versions
        for key in commit.revivals:
            self._forget(key)
        for gone in commit.evictions.values():
            self.evicted[gone.key] = (gone.snapshot_seq, gone.snapshot)
            self.wake_times = sorted([*self.wake_times, (gone.wake_us, gone.key)])
            self.tasks += len(gone.tasks)

    def _forget(self, key: int) -> None:
        del self.evicted[key]
        self.wake_times = [one for one in self.wake_times if one[1] != key]
        self.tasks -= 1


class StoreLoad:
    """Steps of all kinds, the same for the same seed, however far it was driven before.

    Args:
        chance: decides what the steps hold.
        count: how many there are.
    """

    def __init__(self, chance: random.Random, count: int) -> None:
        held = Contents()
        self.steps: list[Step] = []
        for number in range(count):
            step = _step(number, held, chance)
            held.take(step)
            self.steps.append(step)
        self._hashes = sorted(held.references)
        self._run_ids = [*(row.run_id for row in held.runs.values()), *held.deleted]

    def after(self, steps: int) -> Contents:
        """What a store holds after so many of them."""
        contents = Contents()
        for step in self.steps[:steps]:
            contents.take(step)
        return contents

    async def made(self, store: Store) -> int:
        """How many steps a store has."""
        return len(await store.history(FIRST)) + len(await store.deleted_runs("default", self._run_ids))

    async def make(self, store: Store, number: int) -> None:
        """Make a step, counted from 1."""
        step = self.steps[number - 1]
        if isinstance(step, Deletion):
            await store.delete_runs([step])
        else:
            await store.commit(step)

    async def drive(
        self,
        store: Store,
        done: int,
        until: int,
        mark: Callable[[object], None],
        mend: Callable[[], None] | None = None,
    ) -> None:
        """Make the steps after the first `done` up to `until`, noting what was begun and answered.

        What fails is made again, once `mend` has been called, unless it turns out to have been made.

        Raises:
            StoreError: something fails and there is no `mend`.
            AssertionError: a step that failed is half there.
        """

        async def answer(what: str, ask: Callable[[], Awaitable[object]]) -> None:
            try:
                value = await ask()
            except StoreError:
                if mend is None:
                    raise
                mend()
                value = await ask()
            mark(Answer(what, value))

        await answer("epoch", store.next_server_epoch)
        await answer("token key", store.token_key)
        for number in range(done + 1, until + 1):
            mark(Begun(number))
            try:
                await self.make(store, number)
            except StoreError:
                if mend is None:
                    raise
                mend()
                await store.probe()
                there = await self.made(store)
                assert there in {number - 1, number}, f"{there} steps are there after a failure of number {number}"
                assert await self.read(store) == self.after(there), f"not what {there} steps leave"
                if there < number:
                    await self.make(store, number)
            mark(Acknowledged(number))
            if number % 10 == 0:
                await answer("epoch", store.next_server_epoch)

    async def read(self, store: Store) -> Contents:
        """All that a store holds."""
        query = RunQuery("default", limit=100_000)
        runs = {row.key: row for row in await store.runs(query)}
        found = Contents(runs, payloads=await store.payloads(self._hashes))
        for key in sorted(runs):
            rows = list(await store.history(key))
            if rows:
                found.history[key] = rows
        found.versions = sorted(await store.versions("default", "research", 0, 10_000), key=lambda row: row.version)
        found.evicted = await store.snapshots(sorted(runs))
        found.wake_times = list(await store.wake_times((0, 0), 100_000))
        found.tasks = sum(row.count for row in await store.task_backlog())
        found.deleted = {row.run_id for row in await store.deleted_runs("default", self._run_ids)}
        return found


def _step(number: int, held: Contents, chance: random.Random) -> Step:
    closed = [key for key, row in held.runs.items() if row.state == CANCELED]
    if closed and chance.random() < 0.1:
        return Deletion(chance.choice(closed), number + 1)
    commit = Commit()
    if number == 0:
        commit.new_runs.append(new_run(FIRST))
    open_keys = [key for key, row in held.runs.items() if row.state == RUNNING and row.hot and key != FIRST]
    after = {key: rows[-1].first_seq + rows[-1].count for key, rows in held.history.items()}

    def event(key: int, size: int) -> None:
        first_seq = after.get(key, 1)
        count = 1 if key == FIRST else chance.randint(1, 3)
        commit.history.append(HistoryRow(key, first_seq, count, chance.randbytes(size)))
        after[key] = first_seq + count

    event(FIRST, 20)
    kind = chance.choice(("starts", "events", "events", "payload", "end", "version", "leave", "back", "little"))
    if kind == "starts":
        for key in range(number * 10 + 2, number * 10 + chance.randint(3, 7)):
            commit.new_runs.append(new_run(key, request_id=f"request-{key}", attributes_json='{"a": 1}'))
            event(key, chance.randint(10, 300))
    elif kind == "version":
        commit.versions.append(version(len(held.versions) + 1))
    elif kind == "leave" and open_keys:
        key = chance.choice(open_keys)
        tasks = [EvictedTask("a", "default", "work", number)]
        gone = eviction(key, wake_us=number + 1, snapshot_seq=after[key], snapshot=chance.randbytes(3_000), tasks=tasks)
        commit.evictions[key] = gone
        commit.updates.append(update(key, state=RUNNING, close_time_us=0, hot=False))
    elif kind == "back" and held.evicted:
        key = chance.choice(sorted(held.evicted))
        commit.revivals.append(key)
        commit.updates.append(update(key, state=RUNNING, close_time_us=0))
        event(key, 100)
    elif open_keys and kind in {"events", "payload", "end"}:
        for key in chance.sample(open_keys, min(len(open_keys), chance.randint(1, 5))):
            event(key, chance.choice((50, 300, 3_000, 9_000)))
            if kind == "payload":
                blob = chance.randbytes(chance.randint(9_000, 30_000))
                commit.payloads.append(PayloadRow(sha256(blob).digest(), blob, key))
            elif kind == "end":
                commit.updates.append(update(key, state=CANCELED, last_seq=after[key] - 1, status_message="over"))
    return commit


def told(trace: Sequence[Operation]) -> tuple[int, int, list[Answer]]:
    """How many steps were acknowledged and begun in a trace, and what else was answered."""
    marks = [operation.what for operation in trace if isinstance(operation, Mark)]
    acknowledged = max((mark.steps for mark in marks if isinstance(mark, Acknowledged)), default=0)
    begun = max((mark.steps for mark in marks if isinstance(mark, Begun)), default=0)
    return acknowledged, begun, [mark for mark in marks if isinstance(mark, Answer)]


def integrity(database: Path) -> list[Any]:
    """What SQLite finds wrong with a database that a store has open."""
    with closing(find_driver().module.connect(str(database))) as connection:
        return [line for (line,) in connection.execute("PRAGMA integrity_check") if line != "ok"]


async def check_store(
    database: Path, load: StoreLoad, acknowledged: int, begun: int, answers: Sequence[Answer] = ()
) -> int:
    """Open what was left behind, hold it against what was said, and use it. Answers how many steps it has.

    Raises:
        AssertionError: something is lost, half there, or contradicts; or the store cannot be opened or used.
    """
    store = SqliteStore(str(database))
    try:
        await store.open()
    except StoreError as error:
        raise AssertionError(f"it does not open: {error}") from error
    try:
        assert integrity(database) == []
        steps = await load.made(store)
        assert acknowledged <= steps <= begun, f"{steps} steps are there, {acknowledged} were acknowledged"
        assert await load.read(store) == load.after(steps), f"not what {steps} steps leave"
        epoch, token_key = await store.next_server_epoch(), await store.token_key()
        for answer in answers:
            if answer.what == "epoch":
                assert epoch > int(str(answer.value)), "a server epoch is given twice"
            else:
                assert token_key == answer.value, "the key of tokens is another one"
        if steps < len(load.steps):
            await load.make(store, steps + 1)
            assert await load.made(store) == steps + 1
    finally:
        await store.close()
    return steps
