"""A deleted run leaves nothing but its id, and what others still use stays."""

from collections.abc import Sequence

import pytest

from holdfast_server.store.port import (
    Commit,
    DeletedRun,
    Deletion,
    HistoryRow,
    PayloadRow,
    RunQuery,
    Store,
    StoreConflictError,
)
from holdfast_server.store.sqlite import SqliteStore
from tests.store.rows import FAILED, PAUSED, RUNNING, SUCCEEDED, new_run, started, stored, update, version

OWN, SHARED, ELSEWHERE = (bytes([index]) * 32 for index in range(3))


async def _closed(store: Store, *keys: int, **changes: object) -> None:
    await store.commit(started(*(new_run(key, request_id=f"start-{key}") for key in keys)))
    await store.commit(Commit(updates=[update(key, **changes) for key in keys]))


async def _expired(store: Store, now_us: int, retention_us: int | None, limit: int = 100) -> list[int]:
    return [row.key for row in await store.expired_runs(now_us, retention_us, limit)]


@pytest.mark.asyncio
async def test_nothing_of_a_deleted_run_is_left_but_its_id(store: Store) -> None:
    await _closed(store, 1, 2)
    await store.commit(Commit(history=[HistoryRow(1, 2, 8, b"more")], payloads=[PayloadRow(OWN, b"own", 1)]))

    await store.delete_runs([Deletion(1, 77, "asked")])

    assert await store.run("default", "run-1") is None
    assert await store.run_by_key(1) is None
    assert await store.history(1) == []
    assert await store.payloads([OWN]) == {}
    assert await store.known_starts("default", ["run-1"], ["start-1"]) == []
    assert [row.key for row in await store.runs(RunQuery("default"))] == [2]
    assert await store.count_runs(RunQuery("default")) == {SUCCEEDED: 1}
    assert [row.blob for row in await store.history(2)] == [b"started"]
    assert await store.deleted_runs("default", ["run-1", "run-2", "nobody"]) == [
        DeletedRun("default", "run-1", 77, "asked")
    ]
    assert await store.deleted_runs("other", ["run-1"]) == []


@pytest.mark.asyncio
async def test_payloads_go_with_the_last_run_that_refers_to_them(store: Store) -> None:
    await _closed(store, 1, 2, 3)
    await store.commit(
        Commit(
            payloads=[
                *(PayloadRow(SHARED, b"shared", key) for key in (1, 2, 3)),
                *(PayloadRow(OWN, b"own", key) for key in (1, 2)),
                PayloadRow(ELSEWHERE, b"elsewhere", 3),
            ]
        )
    )
    everything = [OWN, SHARED, ELSEWHERE]

    await store.delete_runs([Deletion(1, 5)])
    assert set(await store.payloads(everything)) == {OWN, SHARED, ELSEWHERE}
    await store.delete_runs([Deletion(2, 6)])
    assert set(await store.payloads(everything)) == {SHARED, ELSEWHERE}
    await store.delete_runs([Deletion(3, 7)])
    assert await store.payloads(everything) == {}


@pytest.mark.asyncio
async def test_runs_that_share_a_payload_go_together_with_it(store: Store) -> None:
    await _closed(store, 1, 2)
    await store.commit(Commit(payloads=[PayloadRow(SHARED, b"shared", 1), PayloadRow(SHARED, b"shared", 2)]))

    await store.delete_runs([Deletion(1, 5), Deletion(2, 5)])

    assert await store.payloads([SHARED]) == {}


@pytest.mark.asyncio
async def test_a_payload_that_was_collected_may_come_again(store: Store) -> None:
    await _closed(store, 1, 2)
    await store.commit(Commit(payloads=[PayloadRow(SHARED, b"shared", 1)]))
    await store.delete_runs([Deletion(1, 5)])

    await store.commit(Commit(payloads=[PayloadRow(SHARED, b"shared", 2)]))

    assert await store.payloads([SHARED]) == {SHARED: b"shared"}


@pytest.mark.asyncio
@pytest.mark.parametrize("keys", [[1, 4], [1, 2], [3]])
async def test_an_open_or_unknown_run_keeps_all_of_them(store: Store, keys: Sequence[int]) -> None:
    await _closed(store, 1)
    await store.commit(started(new_run(2), new_run(3)))
    await store.commit(Commit(updates=[update(3, state=PAUSED, close_time_us=0)]))
    await store.commit(Commit(payloads=[PayloadRow(OWN, b"own", 1)]))

    with pytest.raises(StoreConflictError, match=f"of {len(keys)} runs to delete"):
        await store.delete_runs([Deletion(key, 5) for key in keys])

    assert await store.count_runs(RunQuery("default")) == {RUNNING: 1, PAUSED: 1, SUCCEEDED: 1}
    assert await store.deleted_runs("default", ["run-1", "run-2", "run-3"]) == []
    assert await store.payloads([OWN]) == {OWN: b"own"}


@pytest.mark.asyncio
async def test_the_size_of_a_run_is_its_history_and_its_payloads(store: Store) -> None:
    await _closed(store, 1, 2, 3)
    payloads = [
        PayloadRow(SHARED, b"x" * 9_000, 1),
        PayloadRow(SHARED, b"x" * 9_000, 2),
        PayloadRow(OWN, b"y" * 500, 1),
    ]
    await store.commit(Commit(history=[HistoryRow(2, 2, 1, b"z" * 700)], payloads=payloads))

    begin = len(b"started")
    assert await store.run_sizes([]) == {}
    assert await store.run_sizes([1, 2, 3]) == {1: begin + 9_500, 2: begin + 700 + 9_000, 3: begin}


@pytest.mark.asyncio
async def test_deleting_nothing_is_fine(store: Store) -> None:
    await store.delete_runs([])

    assert await store.last_run_key() == 0


@pytest.mark.asyncio
async def test_keys_of_deleted_runs_are_not_given_again(lasting_store: Store) -> None:
    store = lasting_store
    await store.open()
    await _closed(store, 3, 9, 5)
    await store.delete_runs([Deletion(9, 5)])
    assert await store.last_run_key() == 9
    await store.delete_runs([Deletion(3, 6)])
    assert await store.last_run_key() == 9
    await store.close()

    await store.open()
    assert await store.last_run_key() == 9
    await store.delete_runs([Deletion(5, 7)])
    assert await store.last_run_key() == 9
    await _closed(store, 12)
    assert await store.last_run_key() == 12
    await store.close()


@pytest.mark.asyncio
async def test_a_database_that_lost_its_newest_run_by_deletion_opens(lasting_store: Store) -> None:
    store = lasting_store
    await store.open()
    await _closed(store, 1, 2)
    await store.delete_runs([Deletion(2, 5)])
    await store.close()

    await store.open()
    await store.commit(Commit(history=[HistoryRow(1, 2, 1, b"later")]))
    assert [row.blob for row in await store.history(1)] == [b"started", b"later"]
    await store.close()


@pytest.mark.asyncio
async def test_a_thousand_at_once(store: Store) -> None:
    keys = range(1, 1001)
    await _closed(store, *keys)
    await store.commit(Commit(payloads=[PayloadRow(SHARED, b"shared", key) for key in keys]))

    await store.delete_runs([Deletion(key, 5) for key in keys if key != 500])

    assert [row.key for row in await store.runs(RunQuery("default"))] == [500]
    assert await store.payloads([SHARED]) == {SHARED: b"shared"}
    gone = await store.deleted_runs("default", [f"run-{key}" for key in keys])
    assert len(gone) == 999


@pytest.mark.asyncio
async def test_closed_runs_expire_by_what_their_version_says_or_the_server(store: Store) -> None:
    await store.commit(Commit(versions=[version(1), version(2, retention_us=100), version(3, retention_us=5_000)]))
    runs = [new_run(key, version=1 + key % 3) for key in range(1, 10)]
    await store.commit(started(*runs))
    await store.commit(
        Commit(
            updates=[update(key, state=FAILED if key % 2 else SUCCEEDED, close_time_us=1_000) for key in range(1, 8)]
        )
    )

    assert await store.next_expiry(None) == 1_100
    assert await store.next_expiry(50) == 1_050
    assert await _expired(store, 1_099, None) == []
    assert sorted(await _expired(store, 1_100, None)) == [1, 4, 7]
    assert sorted(await _expired(store, 1_499, 500)) == [1, 4, 7]
    assert sorted(await _expired(store, 1_500, 500)) == [1, 3, 4, 6, 7]
    assert sorted(await _expired(store, 6_000, None)) == [1, 2, 4, 5, 7]
    assert sorted(await _expired(store, 10**9, 500)) == [1, 2, 3, 4, 5, 6, 7]
    assert len(await _expired(store, 10**9, 500, limit=2)) == 2
    assert await store.version("default", "research", 2) == version(2, retention_us=100)


@pytest.mark.asyncio
async def test_what_closed_first_expires_first_and_a_reopened_run_does_not(store: Store) -> None:
    await store.commit(Commit(versions=[version(1)]))
    await store.commit(started(*(new_run(key) for key in range(1, 5))))
    await store.commit(Commit(updates=[update(key, close_time_us=1_000 - key) for key in range(1, 5)]))
    await store.commit(Commit(updates=[update(3, state=RUNNING, close_time_us=0, run_epoch=2)]))

    assert await store.next_expiry(None) is None
    assert await store.next_expiry(10) == 996 + 10
    assert await _expired(store, 10_000, 1) == [4, 2, 1]
    expired = (await store.expired_runs(10_000, 1, 1))[0]
    assert (expired.namespace, expired.run_id, expired.last_seq) == ("default", "run-4", 9)
    await store.delete_runs([Deletion(key, 5) for key in (4, 2, 1)])
    assert await _expired(store, 10_000, 1) == []
    assert await store.next_expiry(10) is None


@pytest.mark.asyncio
async def test_no_reference_is_left_behind() -> None:
    store = SqliteStore(":memory:")
    await store.open()
    try:
        await _closed(store, 1, 2)
        await store.commit(Commit(payloads=[PayloadRow(SHARED, b"shared", 1), PayloadRow(SHARED, b"shared", 2)]))
        await store.delete_runs([Deletion(1, 5)])
        rows = await store._connections.reader.call(
            lambda connection: connection.execute("SELECT run FROM payload_refs").fetchall()
        )
        assert rows == [(2,)]
        assert await store.run("default", "run-2") == stored(
            new_run(2, request_id="start-2"), state=SUCCEEDED, close_time_us=2_000_000, last_seq=9
        )
    finally:
        await store.close()
