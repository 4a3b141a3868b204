"""Histories are read from any event on, in pieces of a bounded size."""

import pytest

from holdfast_server.store.port import Commit, HistoryRow, Store
from tests.store.rows import new_run, started

ROWS = [HistoryRow(1, 1, 3, b"a" * 100), HistoryRow(1, 4, 1, b"b" * 100), HistoryRow(1, 5, 2, b"c" * 100)]


async def _fill(store: Store) -> None:
    neighbours = [HistoryRow(key, 1, 9, b"neighbour") for key in (2, 3)]
    runs = [new_run(key) for key in (1, 2, 3)]
    await store.commit(Commit(new_runs=runs, history=[neighbours[0], ROWS[0], neighbours[1]]))
    for row in ROWS[1:]:
        await store.commit(Commit(history=[row]))


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("after_seq", "first_row"), [(0, 0), (1, 0), (2, 0), (3, 1), (4, 2), (5, 2), (6, 3), (7, 3), (2**62, 3)]
)
async def test_rows_with_an_event_after(store: Store, after_seq: int, first_row: int) -> None:
    await _fill(store)

    assert await store.history(1, after_seq) == ROWS[first_row:]


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("max_bytes", "count"), [(0, 1), (1, 1), (100, 1), (199, 1), (200, 2), (299, 2), (300, 3), (10**9, 3), (None, 3)]
)
async def test_rows_as_they_fit(store: Store, max_bytes: int | None, count: int) -> None:
    await _fill(store)

    assert await store.history(1, 0, max_bytes) == ROWS[:count]


@pytest.mark.asyncio
async def test_pieces_make_the_whole(store: Store) -> None:
    await store.commit(started(new_run(1)))
    for first_seq in range(2, 300, 2):
        await store.commit(Commit(history=[HistoryRow(1, first_seq, 2, bytes(first_seq))]))

    seen: list[HistoryRow] = []
    while rows := await store.history(1, seen[-1].first_seq + seen[-1].count - 1 if seen else 0, 1000):
        seen += rows

    assert seen == await store.history(1)
    assert len(seen) == 150


@pytest.mark.asyncio
async def test_an_unknown_run_has_none(store: Store) -> None:
    assert await store.history(404) == []
