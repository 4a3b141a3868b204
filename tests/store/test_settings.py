"""What a store remembers of its server, and that it remembers it."""

import pytest

from holdfast_server.store.port import Commit, Store, StoreError
from tests.store.rows import new_run, started, stored, version


@pytest.mark.asyncio
async def test_server_epoch_counts_from_one(store: Store) -> None:
    assert [await store.next_server_epoch() for _ in range(3)] == [1, 2, 3]


@pytest.mark.asyncio
async def test_token_key_is_made_once(store: Store) -> None:
    key = await store.token_key()

    assert len(key) == 32
    assert await store.token_key() == key


@pytest.mark.asyncio
async def test_all_of_it_is_there_after_closing_and_opening(lasting_store: Store) -> None:
    await lasting_store.open()
    key = await lasting_store.token_key()
    assert await lasting_store.next_server_epoch() == 1
    await lasting_store.commit(started(new_run(5)))
    await lasting_store.commit(Commit(versions=[version(1)]))
    schema_version = lasting_store.schema_version
    await lasting_store.close()

    await lasting_store.open()
    assert lasting_store.schema_version == schema_version
    assert await lasting_store.token_key() == key
    assert await lasting_store.next_server_epoch() == 2
    assert await lasting_store.hot_runs() == [stored(new_run(5))]
    assert await lasting_store.last_run_key() == 5
    assert await lasting_store.version("default", "research", 0) == version(1)
    await lasting_store.close()


@pytest.mark.asyncio
async def test_a_store_that_is_not_open_says_so(lasting_store: Store) -> None:
    with pytest.raises(StoreError, match="not open"):
        await lasting_store.hot_runs()
    await lasting_store.open()
    await lasting_store.close()
    await lasting_store.close()  # a second time changes nothing
    with pytest.raises(StoreError, match="not open"):
        await lasting_store.commit(started(new_run(1)))
    with pytest.raises(StoreError, match="not open"):
        await lasting_store.run("default", "run-1")


@pytest.mark.asyncio
async def test_opening_twice_is_refused(store: Store) -> None:
    with pytest.raises(StoreError, match="open already"):
        await store.open()

    assert await store.last_run_key() == 0


@pytest.mark.asyncio
async def test_it_describes_itself(store: Store) -> None:
    assert store.description.startswith(("sqlite 3.", "simulated"))
    assert store.schema_version >= 1
