"""Runs are found by id and request, and listed page by page."""

from dataclasses import replace

import pytest
from hypothesis import given, settings, strategies as st

from holdfast_server.store.port import Commit, NewRun, RunQuery, RunUpdate, Store
from holdfast_server.store.sqlite import SqliteStore
from tests.store.rows import CANCELED, FAILED, PAUSED, RUNNING, SUCCEEDED, new_run, started, stored, update


@pytest.mark.asyncio
async def test_an_empty_store(store: Store) -> None:
    assert await store.last_run_key() == 0
    assert await store.hot_runs() == []
    assert await store.run("default", "run-1") is None
    assert await store.run_by_key(1) is None
    assert await store.known_starts("default", ["run-1"], ["request"]) == []
    assert await store.runs(RunQuery("default")) == []
    assert await store.count_runs(RunQuery("default")) == {}


@pytest.mark.asyncio
async def test_open_runs_are_those_running_and_paused(store: Store) -> None:
    await store.commit(started(*(new_run(key, namespace=f"n{key}", start_time_us=100 - key) for key in range(1, 8))))
    await store.commit(Commit(updates=[update(key, state=key) for key in (PAUSED, SUCCEEDED, FAILED, CANCELED, 6, 7)]))

    assert [(row.key, row.state) for row in await store.hot_runs()] == [(1, RUNNING), (2, PAUSED)]


@pytest.mark.asyncio
async def test_one_run_by_id_and_by_key(store: Store) -> None:
    runs = [new_run(1), new_run(2, request_hash=b"hash", attributes_json='{"tier": 1}')]
    await store.commit(started(*runs))

    assert await store.run("default", "run-2") == stored(runs[1])
    assert await store.run_by_key(2) == stored(runs[1])
    assert await store.run("other", "run-2") is None
    assert await store.run_by_key(3) is None


@pytest.mark.asyncio
async def test_known_starts_by_either_id(store: Store) -> None:
    runs = [
        new_run(1, request_id="a"),
        new_run(2),
        new_run(3, request_id="c"),
        new_run(4, namespace="other", run_id="run-2", request_id="a"),
    ]
    await store.commit(started(*runs))
    await store.commit(Commit(updates=[update(3)]))

    async def known(run_ids: list[str], request_ids: list[str]) -> list[int]:
        return [row.key for row in await store.known_starts("default", run_ids, request_ids)]

    assert await known([], []) == []
    assert await known(["run-2", "nobody"], []) == [2]
    assert await known([], ["a", "c", "zzz"]) == [1, 3]
    assert await known(["run-1", "run-2"], ["a"]) == [1, 2]
    assert await known([], [""]) == []  # runs without a request are not found by an empty one
    assert await store.known_starts("other", ["run-2"], ["a"]) == [stored(runs[3])]


@pytest.mark.asyncio
async def test_known_starts_of_a_thousand(store: Store) -> None:
    await store.commit(started(*(new_run(key, request_id=f"q{key}") for key in range(1, 1001))))

    run_ids = [f"run-{key}" for key in range(501, 1501)]
    request_ids = [f"q{key}" for key in range(1, 1001, 2)]
    known = await store.known_starts("default", run_ids, request_ids)

    expected = {*range(501, 1001), *range(1, 1001, 2)}
    assert [row.key for row in known] == sorted(expected)


@pytest.mark.asyncio
async def test_pages_are_stable_while_runs_start(store: Store) -> None:
    # Many runs start in the same microsecond when they come in one batch.
    await store.commit(started(*(new_run(key, start_time_us=key // 10) for key in range(1, 101))))
    expected = [row.key for row in await store.runs(RunQuery("default"))]
    assert expected == sorted(range(1, 101), key=lambda key: (-(key // 10), -key))

    query = RunQuery("default", limit=7)
    seen: list[int] = []
    while page := await store.runs(query):
        seen += [row.key for row in page]
        query = replace(query, before=(page[-1].start_time_us, page[-1].key))
        await store.commit(started(new_run(1000 + len(seen), start_time_us=10_000)))

    assert seen == expected


@pytest.mark.asyncio
async def test_all_conditions_hold_together(store: Store) -> None:
    await store.commit(
        started(
            new_run(1, workflow="a", business_key="k", start_time_us=10),
            new_run(2, workflow="b", business_key="k", start_time_us=20),
            new_run(3, workflow="a", start_time_us=30),
            new_run(4, namespace="other", workflow="a", business_key="k", start_time_us=40),
        )
    )
    await store.commit(Commit(updates=[update(3, state=RUNNING, close_time_us=0, waiting_reason=6, hot=False)]))

    async def keys(**conditions: object) -> list[int]:
        return [row.key for row in await store.runs(RunQuery("default", **conditions))]  # type: ignore[arg-type]

    assert await keys() == [3, 2, 1]
    assert await keys(workflow="a") == [3, 1]
    assert await keys(business_key="k") == [2, 1]
    assert await keys(workflow="a", business_key="k") == [1]
    assert await keys(start_after_us=20) == [3, 2]
    assert await keys(start_before_us=20) == [1]
    assert await keys(start_after_us=20, start_before_us=30) == [2]
    assert await keys(waiting_reasons=[6, 7]) == [3]
    assert await keys(states=[RUNNING], workflow="b") == [2]
    assert await keys(states=[SUCCEEDED]) == []
    assert await keys(limit=1) == [3]


RUNS = st.lists(
    st.tuples(
        st.sampled_from(["default", "other"]),
        st.sampled_from(["a", "b"]),
        st.sampled_from(["", "k1", "k2"]),
        st.integers(1, 7),
        st.integers(0, 5),
        st.integers(0, 3),
        st.booleans(),
    ),
    max_size=30,
)
QUERIES = st.builds(
    RunQuery,
    namespace=st.just("default"),
    states=st.lists(st.integers(1, 7), max_size=4, unique=True),
    workflow=st.sampled_from(["", "a", "b"]),
    business_key=st.sampled_from(["", "k1"]),
    start_after_us=st.none() | st.integers(0, 5),
    start_before_us=st.none() | st.integers(0, 6),
    waiting_reasons=st.lists(st.integers(0, 3), max_size=2, unique=True),
    before=st.none() | st.tuples(st.integers(0, 6), st.integers(0, 31)),
    limit=st.integers(1, 40),
)


def _fits(run: NewRun, change: RunUpdate, query: RunQuery) -> bool:
    return (
        run.namespace == query.namespace
        and (not query.states or change.state in query.states)
        and query.workflow in ("", run.workflow)
        and query.business_key in ("", run.business_key)
        and (query.start_after_us is None or run.start_time_us >= query.start_after_us)
        and (query.start_before_us is None or run.start_time_us < query.start_before_us)
        and (
            not query.waiting_reasons
            or (change.waiting_reason in query.waiting_reasons and change.state in (RUNNING, PAUSED) and not change.hot)
        )
    )


@pytest.mark.asyncio
@settings(deadline=None, max_examples=60)
@given(rows=RUNS, queries=st.lists(QUERIES, min_size=1, max_size=5))
async def test_lists_agree_with_a_plain_filter(
    rows: list[tuple[str, str, str, int, int, int, bool]], queries: list[RunQuery]
) -> None:
    runs: list[NewRun] = []
    updates: list[RunUpdate] = []
    held: set[tuple[str, str, str]] = set()
    for key, (namespace, workflow, business_key, state, start_time_us, reason, hot) in enumerate(rows, 1):
        if state in (RUNNING, PAUSED) and business_key:
            if (namespace, workflow, business_key) in held:
                continue
            held.add((namespace, workflow, business_key))
        runs.append(
            new_run(
                key,
                namespace=namespace,
                workflow=workflow,
                business_key=business_key,
                start_time_us=start_time_us,
                state=state,
            )
        )
        updates.append(update(key, state=state, waiting_reason=reason, hot=hot))

    store = SqliteStore(":memory:")
    await store.open()
    try:
        await store.commit(Commit(new_runs=runs))
        await store.commit(Commit(updates=updates))
        for query in queries:
            fitting = [(run, change) for run, change in zip(runs, updates, strict=True) if _fits(run, change, query)]
            counts: dict[int, int] = {}
            for _, change in fitting:
                counts[change.state] = counts.get(change.state, 0) + 1
            assert await store.count_runs(query) == counts

            places = sorted(((run.start_time_us, run.key) for run, _ in fitting), reverse=True)
            page = [place for place in places if query.before is None or place < query.before][: query.limit]
            assert [(row.start_time_us, row.key) for row in await store.runs(query)] == page
    finally:
        await store.close()
