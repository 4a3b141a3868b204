"""Runs that leave the memory: what has to be found of them is on disk as long as they are out, and no longer."""

import pytest

from holdfast_server.store.port import (
    Commit,
    EvictedGate,
    EvictedTask,
    GateRow,
    HistoryRow,
    RunQuery,
    Store,
    StoreConflictError,
    TaskBacklog,
)
from tests.store.rows import PAUSED, RUNNING, SUCCEEDED, eviction, new_run, started, update

LATE = 2**62


def _evicted(key: int, **changes: object) -> Commit:
    row = eviction(key, **changes)
    return Commit(updates=[update(key, state=RUNNING, close_time_us=0, hot=False)], evictions={key: row})


def _revived(key: int) -> Commit:
    return Commit(updates=[update(key, state=RUNNING, close_time_us=0)], revivals=[key])


async def _commit(store: Store, *commits: Commit) -> None:
    for commit in commits:
        await store.commit(commit)


@pytest.mark.asyncio
async def test_evicted_runs_are_open_but_not_hot(store: Store) -> None:
    await _commit(store, started(*[new_run(key) for key in (1, 2, 3)]), _evicted(2))

    assert [row.key for row in await store.hot_runs()] == [1, 3]
    assert await store.open_run_count() == 3
    row = await store.run_by_key(2)
    assert row is not None
    assert not row.hot

    await _commit(store, _revived(2))

    assert [row.key for row in await store.hot_runs()] == [1, 2, 3]


@pytest.mark.asyncio
async def test_closed_runs_are_not_hot(store: Store) -> None:
    await _commit(store, started(new_run(1), new_run(2)), Commit(updates=[update(1, state=SUCCEEDED)]))
    await _commit(store, Commit(updates=[update(2, state=PAUSED, close_time_us=0)]))

    assert [row.key for row in await store.hot_runs()] == [2]
    assert await store.open_run_count() == 1


@pytest.mark.asyncio
async def test_wake_times_come_in_order_behind_a_place(store: Store) -> None:
    await _commit(store, started(*[new_run(key) for key in range(1, 6)]))
    await _commit(store, *[_evicted(key, wake_us=wake_us) for key, wake_us in ((1, 30), (2, 10), (3, 0), (4, 10))])

    assert await store.wake_times((0, 0), 10) == [(10, 2), (10, 4), (30, 1)]
    assert await store.wake_times((10, 2), 10) == [(10, 4), (30, 1)]
    assert await store.wake_times((0, 0), 1) == [(10, 2)]

    await _commit(store, _revived(4))

    assert await store.wake_times((10, 2), 10) == [(30, 1)]


@pytest.mark.asyncio
async def test_waiting_attempts_are_counted_and_found_oldest_first(store: Store) -> None:
    await _commit(store, started(new_run(1), new_run(2), new_run(3)))
    await _commit(store, _evicted(1, tasks=[EvictedTask("a", "q", "h", 30), EvictedTask("b", "q", "other", 5)]))
    await _commit(store, _evicted(2, tasks=[EvictedTask("a", "q", "h", 20)]))

    assert sorted(await store.task_backlog(), key=lambda one: one.handler) == [
        TaskBacklog("default", "q", "h", 2, 20),
        TaskBacklog("default", "q", "other", 1, 5),
    ]
    assert await store.evicted_tasks("default", "q", "h", 10) == [(20, 2), (30, 1)]
    assert await store.evicted_tasks("default", "q", "h", 1) == [(20, 2)]
    assert await store.evicted_tasks("other", "q", "h", 10) == []

    await _commit(store, _revived(1), _revived(2))

    assert await store.task_backlog() == []


@pytest.mark.asyncio
async def test_open_gates_are_listed_by_deadline_behind_a_place(store: Store) -> None:
    await _commit(store, started(new_run(1), new_run(2)))
    await _commit(store, _evicted(1, gates=[EvictedGate("g", LATE, 3), EvictedGate("h", 50, 9)]))
    await _commit(store, _evicted(2, workflow="other", gates=[EvictedGate("g", 50, 4)]))
    rows = [
        GateRow(50, 4, "run-2", "g", 2),
        GateRow(50, 9, "run-1", "h", 1),
        GateRow(LATE, 3, "run-1", "g", 1),
    ]
    first = (0, 0, "", "")

    assert await store.evicted_gates("default", first, "", 10) == rows
    assert await store.evicted_gates("default", first, "", 2) == rows[:2]
    assert await store.evicted_gates("default", (50, 4, "run-2", "g"), "", 10) == rows[1:]
    assert await store.evicted_gates("default", first, "other", 10) == rows[:1]
    assert await store.evicted_gates("elsewhere", first, "", 10) == []

    await _commit(store, _revived(1))

    assert await store.evicted_gates("default", first, "", 10) == rows[:1]


@pytest.mark.asyncio
async def test_snapshots_are_those_that_were_written(store: Store) -> None:
    await _commit(store, started(new_run(1), new_run(2), new_run(3)))
    await _commit(store, _evicted(1, snapshot_seq=40, snapshot=b"state"), _evicted(2))

    assert await store.snapshots([1, 2, 3, 4]) == {1: (40, b"state")}

    await _commit(store, _evicted(1, snapshot_seq=50, snapshot=b"newer"))

    assert await store.snapshots([1]) == {1: (50, b"newer")}


@pytest.mark.asyncio
async def test_histories_of_several_runs_come_run_by_run(store: Store) -> None:
    await _commit(store, started(new_run(1), new_run(2), new_run(3)))
    rows = {key: [HistoryRow(key, 2, 3, b"x" * 10), HistoryRow(key, 5, 1, b"y" * 10)] for key in (1, 2, 3)}
    await _commit(store, Commit(history=[rows[3][0], rows[1][0]]), Commit(history=[rows[3][1], rows[1][1]]))
    first = {key: HistoryRow(key, 1, 1, b"started") for key in (1, 2, 3)}

    assert await store.histories([(3, 0), (1, 0), (2, 0)], 10_000) == (
        [first[3], *rows[3], first[1], *rows[1], first[2]],
        True,
    )
    assert await store.histories([(3, 4), (1, 2), (9, 0)], 10_000) == ([rows[3][1], *rows[1]], True)
    assert await store.histories([(3, 1), (1, 0)], 25) == (rows[3], False)
    assert await store.histories([(3, 1), (1, 0)], 1) == (rows[3][:1], False)
    assert await store.histories([], 1) == ([], True)


@pytest.mark.asyncio
async def test_open_runs_are_found_by_workflow_and_business_key(store: Store) -> None:
    runs = [
        new_run(1, business_key="k"),
        new_run(2, business_key="k", workflow="other"),
        new_run(3, business_key="l"),
        new_run(4, business_key="k", namespace="elsewhere"),
    ]
    await _commit(store, started(*runs), _evicted(1), Commit(updates=[update(3)]))

    async def found(*names: tuple[str, str]) -> list[int]:
        return [row.key for row in await store.open_runs_by_key("default", names)]

    assert await found(("research", "k")) == [1]
    assert await found(("research", "k"), ("other", "k"), ("research", "l")) == [1, 2]
    assert await found(("research", "")) == []
    assert await found() == []


@pytest.mark.asyncio
async def test_what_evicted_runs_wait_for_is_found(store: Store) -> None:
    await _commit(store, started(new_run(1), new_run(2), new_run(3)))
    for key, reason, hot in ((1, 6, False), (2, 7, False), (3, 6, True)):
        await store.commit(
            Commit(updates=[update(key, state=RUNNING, close_time_us=0, waiting_reason=reason, hot=hot)])
        )

    assert [row.key for row in await store.runs(RunQuery("default", waiting_reasons=[6]))] == [1]
    assert await store.count_runs(RunQuery("default", waiting_reasons=[6, 7])) == {RUNNING: 2}


@pytest.mark.asyncio
async def test_an_eviction_of_a_run_that_does_not_exist_is_refused(store: Store) -> None:
    with pytest.raises(StoreConflictError):
        await store.commit(_evicted(1, wake_us=5))

    assert await store.wake_times((0, 0), 10) == []


@pytest.mark.asyncio
async def test_what_was_evicted_is_there_after_a_restart(lasting_store: Store) -> None:
    await lasting_store.open()
    await _commit(lasting_store, started(new_run(1)), _evicted(1, wake_us=7, gates=[EvictedGate("g", 5, 1)]))
    await lasting_store.close()

    await lasting_store.open()
    assert await lasting_store.hot_runs() == []
    assert await lasting_store.wake_times((0, 0), 10) == [(7, 1)]
    assert len(await lasting_store.evicted_gates("default", (0, 0, "", ""), "", 10)) == 1
    await lasting_store.close()
