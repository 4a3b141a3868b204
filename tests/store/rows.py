"""Rows for the tests of the store, complete but for what a test is about."""

from dataclasses import replace
from typing import Any

from holdfast_server.store.port import (
    Commit,
    Eviction,
    HistoryRow,
    NewRun,
    RunRow,
    RunUpdate,
    VersionRow,
)

RUNNING, PAUSED, SUCCEEDED, FAILED, CANCELED = 1, 2, 3, 4, 5


def new_run(key: int, **changes: Any) -> NewRun:
    run = NewRun(
        key=key,
        namespace="default",
        run_id=f"run-{key}",
        workflow="research",
        version=1,
        business_key="",
        start_time_us=1_000_000 + key,
        request_id="",
        request_hash=b"",
        attributes_json="{}",
    )
    return replace(run, **changes)


def update(key: int, **changes: Any) -> RunUpdate:
    row = RunUpdate(
        key=key,
        state=SUCCEEDED,
        close_time_us=2_000_000,
        run_epoch=1,
        last_seq=9,
        waiting_reason=0,
        status_message="",
    )
    return replace(row, **changes)


def eviction(key: int, **changes: Any) -> Eviction:
    row = Eviction(
        key=key,
        namespace="default",
        run_id=f"run-{key}",
        workflow="research",
        wake_us=0,
        snapshot_seq=0,
        snapshot=b"",
        tasks=(),
        gates=(),
    )
    return replace(row, **changes)


def stored(run: NewRun, **changes: Any) -> RunRow:
    """Return the row that is read back after the run was inserted."""
    row = RunRow(
        key=run.key,
        namespace=run.namespace,
        run_id=run.run_id,
        workflow=run.workflow,
        version=run.version,
        business_key=run.business_key,
        state=run.state,
        start_time_us=run.start_time_us,
        close_time_us=0,
        run_epoch=1,
        last_seq=0,
        waiting_reason=0,
        status_message="",
        request_id=run.request_id,
        request_hash=run.request_hash,
        attributes_json=run.attributes_json,
        hot=True,
    )
    return replace(row, **changes)


def version(number: int, **changes: Any) -> VersionRow:
    row = VersionRow(
        namespace="default",
        name="research",
        version=number,
        definition_hash=f"hash-{number}".encode(),
        definition=b"definition",
        source="steps: []",
        format=1,
        register_time_us=number,
    )
    return replace(row, **changes)


def started(*runs: NewRun) -> Commit:
    """Return the commit that starts runs, each with its first event."""
    return Commit(new_runs=list(runs), history=[HistoryRow(run.key, 1, 1, b"started") for run in runs])
