"""No statement of daily work reads a whole table."""

import re
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from holdfast_server.store.port import RunQuery
from holdfast_server.store.sqlite import SqliteStore
from holdfast_server.store.sqlite.lists import count_statement, page_statement
from holdfast_server.store.sqlite.queries import QUERIES

BASES = {"runs", "versions", "count_runs"}  # completed by others
ALLOWED = {"newest_history"}  # its scan ends after 64 rows


@pytest_asyncio.fixture
async def store() -> AsyncIterator[SqliteStore]:
    store = SqliteStore(":memory:")
    await store.open()
    yield store
    await store.close()


async def _plan(store: SqliteStore, sql: str, parameters: list[object]) -> list[str]:
    reader = store._connections.reader
    rows = await reader.call(lambda connection: connection.execute(f"EXPLAIN QUERY PLAN {sql}", parameters).fetchall())
    return [row[3] for row in rows]


def _scans(plan: list[str]) -> list[str]:
    # Of the tables themselves; what is scanned besides is JSON, rows found before, and the short indexes of open runs.
    scan = re.compile(
        r"SCAN (runs|history|payloads|payload_refs|versions|meta)\b(?!.*USING (COVERING )?INDEX runs_(open|hot))"
    )
    return [line for line in plan if scan.match(line)]


@pytest.mark.asyncio
@pytest.mark.parametrize("name", sorted(set(QUERIES) - BASES - ALLOWED))
async def test_statements_use_indexes(store: SqliteStore, name: str) -> None:
    numbers = [int(number) for number in re.findall(r"\?(\d)", QUERIES[name])]
    plan = await _plan(store, QUERIES[name], ["[]"] * max(numbers, default=0))

    assert _scans(plan) == []


LISTS = {
    "runs_by_start": RunQuery("default"),
    "runs_by_workflow": RunQuery("default", workflow="a"),
    "runs_by_business_key": RunQuery("default", business_key="k"),
    "runs_open": RunQuery("default", states=[1]),
    "runs_unsuccessful": RunQuery("default", states=[4, 7]),
}


@pytest.mark.asyncio
@pytest.mark.parametrize("index", LISTS)
async def test_a_page_comes_from_its_index_in_order(store: SqliteStore, index: str) -> None:
    plan = await _plan(store, *page_statement(LISTS[index]))

    assert any(re.search(rf"\bUSING INDEX {index}\b", line) for line in plan), plan
    assert not any("TEMP B-TREE" in line for line in plan), plan


@pytest.mark.asyncio
async def test_a_later_page_starts_where_the_one_before_ended(store: SqliteStore) -> None:
    plan = await _plan(store, *page_statement(RunQuery("default", before=(5, 5))))

    assert any("start_time_us<" in line for line in plan), plan


@pytest.mark.asyncio
async def test_counts_of_open_runs_read_open_runs_only(store: SqliteStore) -> None:
    plan = await _plan(store, *count_statement(RunQuery("default", states=[1, 2])))

    assert any("runs_open" in line for line in plan), plan


@pytest.mark.asyncio
async def test_expired_runs_are_found_without_reading_definitions_or_what_is_kept(store: SqliteStore) -> None:
    plan = await _plan(store, QUERIES["expired_runs"], [10, 5, 100])

    wanted = "(namespace=? AND workflow=? AND version=? AND close_time_us>? AND close_time_us<?)"
    assert plan == [
        "SCAN kept USING COVERING INDEX versions_by_retention",
        f"SEARCH runs USING INDEX runs_closed {wanted}",
    ]
    assert "SEARCH runs USING COVERING INDEX runs_closed (namespace=? AND workflow=? AND version=?" in " ".join(
        await _plan(store, QUERIES["next_expiry"], [5])
    )
