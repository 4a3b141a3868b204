"""Versions of workflows are found by number, by content and in lists."""

import pytest

from holdfast_server.store.port import Commit, Store
from tests.store.rows import version


@pytest.mark.asyncio
async def test_by_number_and_by_content(store: Store) -> None:
    rows = [version(number, definition=bytes([number]), source=f"source {number}") for number in (1, 2, 3)]
    await store.commit(Commit(versions=rows[:2]))
    await store.commit(Commit(versions=rows[2:]))

    assert await store.version("default", "research", 2) == rows[1]
    assert await store.version("default", "research", 0) == rows[2]
    assert await store.version("default", "research", 4) is None
    assert await store.version("default", "nobody", 0) is None
    assert await store.version("other", "research", 1) is None
    assert await store.version_by_hash("default", "research", b"hash-1") == rows[0]
    assert await store.version_by_hash("default", "research", b"hash-9") is None
    assert await store.version_by_hash("default", "nobody", b"hash-1") is None


@pytest.mark.asyncio
async def test_versions_of_one_workflow_newest_first(store: Store) -> None:
    await store.commit(Commit(versions=[version(number) for number in range(1, 8)]))
    await store.commit(Commit(versions=[version(1, name="another")]))

    async def numbers(before_version: int, limit: int) -> list[int]:
        return [row.version for row in await store.versions("default", "research", before_version, limit)]

    assert await numbers(0, 3) == [7, 6, 5]
    assert await numbers(5, 3) == [4, 3, 2]
    assert await numbers(2, 3) == [1]
    assert await numbers(1, 3) == []


@pytest.mark.asyncio
async def test_latest_versions_by_name(store: Store) -> None:
    await store.commit(
        Commit(
            versions=[
                *(version(number, name=name) for name in ("c", "a", "b") for number in (1, 2)),
                version(1, name="d"),
                version(9, name="b", namespace="other"),
            ]
        )
    )

    async def names(after_name: str, limit: int) -> list[tuple[str, int]]:
        return [(row.name, row.version) for row in await store.latest_versions("default", after_name, limit)]

    assert await names("", 2) == [("a", 2), ("b", 2)]
    assert await names("b", 10) == [("c", 2), ("d", 1)]
    assert await names("d", 10) == []
