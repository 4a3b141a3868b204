"""Large payloads are kept once, however many runs refer to them."""

import pytest

from holdfast_server.store.port import Commit, PayloadRow, Store
from holdfast_server.store.sqlite import SqliteStore
from tests.store.rows import new_run, started

FIRST, SECOND, THIRD = (bytes([index]) * 32 for index in range(3))


@pytest.mark.asyncio
async def test_unknown_ones_are_left_out(store: Store) -> None:
    await store.commit(started(new_run(1)))
    await store.commit(Commit(payloads=[PayloadRow(FIRST, b"one", 1), PayloadRow(SECOND, b"", 1)]))

    assert await store.payloads([]) == {}
    assert await store.payloads([THIRD]) == {}
    assert await store.payloads([THIRD, SECOND, FIRST, FIRST]) == {FIRST: b"one", SECOND: b""}


@pytest.mark.asyncio
async def test_many_at_once(store: Store) -> None:
    hashes = [index.to_bytes(32, "big") for index in range(1000)]
    await store.commit(started(new_run(1)))
    await store.commit(Commit(payloads=[PayloadRow(sha256, sha256 * 2, 1) for sha256 in hashes]))

    assert await store.payloads(hashes) == {sha256: sha256 * 2 for sha256 in hashes}


@pytest.mark.asyncio
async def test_the_same_content_is_kept_once_with_every_reference() -> None:
    store = SqliteStore(":memory:")
    await store.open()
    try:
        await store.commit(started(new_run(1), new_run(2)))
        await store.commit(Commit(payloads=[PayloadRow(FIRST, b"x", 1), PayloadRow(FIRST, b"x", 1)]))
        await store.commit(Commit(payloads=[PayloadRow(FIRST, b"x", 2), PayloadRow(SECOND, b"y", 2)]))

        def references(query: str) -> object:
            return store._connections.reader.call(lambda connection: connection.execute(query).fetchall())

        assert await references("SELECT count(*) FROM payloads") == [(2,)]  # type: ignore[misc]
        pairs = "SELECT run, sha256 FROM payload_refs JOIN payloads ON id = payload ORDER BY run, sha256"
        assert await references(pairs) == [(1, FIRST), (2, FIRST), (2, SECOND)]  # type: ignore[misc]
    finally:
        await store.close()
