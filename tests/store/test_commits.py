"""A commit writes all of it or nothing."""

import asyncio
import sqlite3

import pytest

from holdfast_server.store.port import Commit, HistoryRow, PayloadRow, Store, StoreConflictError
from holdfast_server.store.sqlite import SqliteStore
from tests.store.conftest import one_connection_driver
from tests.store.rows import FAILED, PAUSED, RUNNING, SUCCEEDED, new_run, started, stored, update, version


@pytest.mark.asyncio
async def test_every_table_in_one_commit(store: Store) -> None:
    run = new_run(1, request_id="r", request_hash=b"\x00\xff", attributes_json='{"a": "é\\u0000"}')
    await store.commit(
        Commit(
            new_runs=[run],
            history=[HistoryRow(1, 1, 2, b"first"), HistoryRow(1, 3, 1, b"")],
            payloads=[PayloadRow(b"h" * 32, b"large", 1)],
            versions=[version(1)],
        )
    )

    assert await store.run("default", "run-1") == stored(run)
    assert await store.history(1) == [HistoryRow(1, 1, 2, b"first"), HistoryRow(1, 3, 1, b"")]
    assert await store.payloads([b"h" * 32]) == {b"h" * 32: b"large"}
    assert await store.version("default", "research", 1) == version(1)


@pytest.mark.asyncio
async def test_an_empty_commit_is_fine(store: Store) -> None:
    await store.commit(Commit())

    assert await store.last_run_key() == 0


@pytest.mark.asyncio
async def test_a_group_of_a_thousand(store: Store) -> None:
    runs = [new_run(key, request_id=f"request-{key}") for key in range(1, 1001)]
    await store.commit(started(*runs))
    await store.commit(Commit(history=[HistoryRow(run.key, 2, 1, bytes([run.key % 256])) for run in runs]))

    assert await store.hot_runs() == [stored(run) for run in runs]
    for key in (1, 500, 1000):
        assert [row.blob for row in await store.history(key)] == [b"started", bytes([key % 256])]


@pytest.mark.asyncio
async def test_rows_beyond_the_size_of_one_statement(store: Store) -> None:
    blobs = [bytes([index]) * 7_000_000 for index in range(6)]
    hashes = [bytes([index]) * 32 for index in range(6)]
    await store.commit(
        Commit(
            new_runs=[new_run(1)],
            history=[HistoryRow(1, index + 1, 1, blob) for index, blob in enumerate(blobs)],
            payloads=[PayloadRow(sha256, blob, 1) for sha256, blob in zip(hashes, blobs, strict=True)],
        )
    )

    assert [row.blob for row in await store.history(1)] == blobs
    assert await store.payloads(hashes) == dict(zip(hashes, blobs, strict=True))


@pytest.mark.asyncio
async def test_text_of_any_kind_comes_back(store: Store) -> None:
    text = 'line\nquote " backslash \\u0041 tab\t {} [] é 漢 😀 \x7f \u2028'
    await store.commit(started(new_run(1, run_id=text, workflow=text, attributes_json=text)))
    await store.commit(Commit(updates=[update(1, status_message=text)]))

    row = await store.run("default", text)
    assert row is not None
    assert (row.workflow, row.attributes_json, row.status_message) == (text, text, text)


@pytest.mark.asyncio
async def test_a_nul_character_comes_back_or_is_refused(store: Store) -> None:
    keeps_nul = "one connection" not in store.description or one_connection_driver().keeps_nul
    await store.commit(started(new_run(1)))
    commit = Commit(updates=[update(1, status_message="a\0b")])
    if keeps_nul:
        await store.commit(commit)
        row = await store.run("default", "run-1")
        assert row is not None
        assert row.status_message == "a\0b"
    else:
        with pytest.raises(StoreConflictError, match="NUL"):
            await store.commit(commit)


@pytest.mark.asyncio
async def test_numbers_up_to_64_bits_come_back(store: Store) -> None:
    largest = 2**63 - 1
    await store.commit(
        Commit(new_runs=[new_run(largest, start_time_us=largest)], history=[HistoryRow(largest, 1, 1, b"x")])
    )

    assert await store.last_run_key() == largest
    assert await store.history(largest) == [HistoryRow(largest, 1, 1, b"x")]


CONFLICTS = {
    "run key": Commit(new_runs=[new_run(1, run_id="other")]),
    "run id": Commit(new_runs=[new_run(2, run_id="run-1")]),
    "request id": Commit(new_runs=[new_run(2, request_id="taken")]),
    "business key of an open run": Commit(new_runs=[new_run(2, business_key="order")]),
    "run id twice": Commit(new_runs=[new_run(2), new_run(3, run_id="run-2")]),
    "event": Commit(history=[HistoryRow(1, 1, 1, b"other")]),
    "event twice": Commit(history=[HistoryRow(1, 2, 1, b"a"), HistoryRow(1, 2, 1, b"b")]),
    "version": Commit(versions=[version(1, definition_hash=b"other")]),
    "content of a version": Commit(versions=[version(2, definition_hash=b"hash-1")]),
    "unknown run": Commit(updates=[update(77)]),
    "text that is none": Commit(new_runs=[new_run(2, run_id="\ud800")]),
}


@pytest.mark.asyncio
@pytest.mark.parametrize("conflict", CONFLICTS)
async def test_a_conflict_writes_nothing(store: Store, conflict: str) -> None:
    first = started(new_run(1, request_id="taken", business_key="order"))
    first.versions.append(version(1))
    await store.commit(first)
    commit = CONFLICTS[conflict]

    with pytest.raises(StoreConflictError):
        await store.commit(
            Commit(
                new_runs=[new_run(10), *commit.new_runs],
                history=[HistoryRow(10, 1, 1, b"x"), *commit.history],
                payloads=[PayloadRow(b"h" * 32, b"x", 10)],
                updates=[update(1, state=PAUSED, close_time_us=0), *commit.updates],
                versions=[version(9), *commit.versions],
            )
        )

    assert [row.key for row in await store.hot_runs()] == [1]
    assert await store.history(10) == []
    assert await store.payloads([b"h" * 32]) == {}
    assert await store.version("default", "research", 0) == version(1)
    # The store goes on.
    await store.commit(started(new_run(10)))
    assert await store.last_run_key() == 10


@pytest.mark.asyncio
async def test_the_same_ids_in_another_namespace_are_free(store: Store) -> None:
    first = new_run(1, request_id="request", business_key="order")
    other = new_run(2, namespace="other", run_id="run-1", request_id="request", business_key="order")

    await store.commit(started(first, other))

    assert await store.run("default", "run-1") == stored(first)
    assert await store.run("other", "run-1") == stored(other)


@pytest.mark.asyncio
async def test_runs_without_request_or_key_do_not_collide(store: Store) -> None:
    await store.commit(started(new_run(1), new_run(2)))

    assert len(await store.hot_runs()) == 2


@pytest.mark.asyncio
async def test_update_changes_the_summary(store: Store) -> None:
    run = new_run(1)
    await store.commit(started(run))
    await store.commit(Commit(updates=[update(1, state=RUNNING, close_time_us=0, waiting_reason=6, last_seq=4)]))
    assert await store.run("default", "run-1") == stored(run, waiting_reason=6, last_seq=4)

    await store.commit(Commit(updates=[update(1, state=FAILED, close_time_us=5, last_seq=8, status_message="why")]))
    closed = stored(run, state=FAILED, close_time_us=5, last_seq=8, status_message="why")
    assert await store.run("default", "run-1") == closed

    await store.commit(Commit(updates=[update(1, state=RUNNING, close_time_us=0, run_epoch=2, last_seq=9)]))
    assert await store.run("default", "run-1") == stored(run, run_epoch=2, last_seq=9)


@pytest.mark.asyncio
async def test_the_last_update_of_a_run_counts(store: Store) -> None:
    run = new_run(1)
    await store.commit(started(run))
    await store.commit(Commit(updates=[update(1, state=FAILED), update(1, state=PAUSED, close_time_us=0, last_seq=12)]))

    assert await store.run("default", "run-1") == stored(run, state=PAUSED, last_seq=12)


@pytest.mark.asyncio
async def test_a_run_that_starts_and_closes_in_one_commit(store: Store) -> None:
    commit = started(new_run(1, business_key="order"), new_run(2, business_key="order"))
    commit.updates = [update(1, close_time_us=7, last_seq=3, status_message="quick")]

    await store.commit(commit)

    first = await store.run("default", "run-1")
    assert first == stored(
        new_run(1, business_key="order"), state=SUCCEEDED, close_time_us=7, last_seq=3, status_message="quick"
    )
    assert [row.key for row in await store.hot_runs()] == [2]


@pytest.mark.asyncio
async def test_a_business_key_passes_on_within_one_commit(store: Store) -> None:
    await store.commit(started(new_run(1, business_key="order")))

    takes_over = started(new_run(2, business_key="order"))
    takes_over.updates = [update(1)]
    await store.commit(takes_over)
    assert [row.key for row in await store.hot_runs()] == [2]

    # In whatever order they are listed: 2 closes, and 1 is opened again.
    await store.commit(Commit(updates=[update(1, state=RUNNING, close_time_us=0, run_epoch=2), update(2)]))
    assert [row.key for row in await store.hot_runs()] == [1]


@pytest.mark.asyncio
async def test_commits_made_at_once_are_each_whole(store: Store) -> None:
    async def start(key: int) -> None:
        await store.commit(started(new_run(key)))

    async with asyncio.TaskGroup() as group:
        for key in range(1, 51):
            group.create_task(start(key))

    assert [row.key for row in await store.hot_runs()] == list(range(1, 51))


@pytest.mark.asyncio
async def test_a_cancelled_commit_is_whole_and_leaves_nothing_open(store: Store) -> None:
    for key in range(1, 21):
        task = asyncio.create_task(store.commit(started(new_run(key), new_run(key + 100))))
        await asyncio.sleep(0)  # the commit is handed over, and nobody waits for it any more
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await store.commit(started(new_run(key + 200)))

    keys = {row.key for row in await store.hot_runs()}
    assert keys >= {key + 200 for key in range(1, 21)}
    assert all((key in keys) == (key + 100 in keys) for key in range(1, 21))


@pytest.mark.asyncio
async def test_readers_see_whole_commits_only(store: Store) -> None:
    done = asyncio.Event()

    async def write() -> None:
        for round_ in range(20):
            keys = range(round_ * 50 + 1, round_ * 50 + 51)
            await store.commit(started(*(new_run(key) for key in keys)))
        done.set()

    async def read() -> int:
        reads = 0
        while not done.is_set():
            seen = len(await store.hot_runs())
            assert seen % 50 == 0
            reads += 1
        return reads

    writing = asyncio.create_task(write())
    reads = await read()
    await writing

    assert reads > 0
    assert len(await store.hot_runs()) == 1000


@pytest.mark.asyncio
async def test_a_commit_can_be_read_at_once(store: Store) -> None:
    for key in range(1, 51):
        await store.commit(started(new_run(key)))
        assert await store.last_run_key() == key
        assert len(await store.history(key)) == 1


@pytest.mark.asyncio
async def test_a_transaction_left_open_is_rolled_back() -> None:
    store = SqliteStore(":memory:")
    await store.open()
    try:

        def begin_and_fail(connection: sqlite3.Connection) -> None:
            connection.execute("BEGIN")
            connection.execute("INSERT INTO meta (name, value) VALUES ('half', 1)")
            raise RuntimeError("half way")

        writer = store._connections.writer
        with pytest.raises(RuntimeError, match="half way"):
            await writer.call(begin_and_fail)

        assert await writer.call(lambda connection: connection.in_transaction) is False
        assert await writer.call(lambda connection: connection.execute("SELECT * FROM meta").fetchall()) == []
    finally:
        await store.close()
