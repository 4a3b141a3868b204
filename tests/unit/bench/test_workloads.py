"""The workloads: what they run is valid, what a plan orders can be done, and what is made of a history and a file."""

import json
from contextlib import closing
from pathlib import Path

import pytest

from bench.database import checkpointed_bytes
from bench.machine import BenchError
from bench.plans import PARTS, PLANS, STACKS
from bench.workloads import WORKLOADS
from bench.workloads.definitions import CHAIN, CHAIN_NAME, CHAIN_STEPS, EDGES_MAX, fan_out, gated, long_chain, waiting
from bench.workloads.runs import History
from bench.workloads.w6 import decile_ratio
from holdfast.v1.workflow_service_pb2 import DocumentFormat
from holdfast_server.definition import parse
from holdfast_server.engine import compile as limits
from holdfast_server.engine.compile import compile_plan
from holdfast_server.engine.plan import Plan
from holdfast_server.store.sqlite.driver import find_driver


def _plan(source: str, form: DocumentFormat.ValueType = DocumentFormat.DOCUMENT_FORMAT_JSON) -> Plan:
    definition = parse(source, form).definition
    assert definition is not None
    return compile_plan(definition, 1, b"")


def test_what_a_plan_orders_is_what_the_workload_takes() -> None:
    for plan in PLANS.values():
        for workload, orders in plan.orders.items():
            assert orders
            assert {type(order) for order in orders} == {WORKLOADS[workload].order}


def test_every_workload_is_done_once_in_a_pass() -> None:
    assert sorted(workload for together in STACKS for workload in together) == sorted(WORKLOADS)
    assert PLANS["full"].orders.keys() == WORKLOADS.keys()


def test_the_join_of_a_fan_out_waits_for_every_part() -> None:
    plan = _plan(fan_out(PARTS).json())
    upstream = {plan.block.by_name["last"]}
    for index in reversed(plan.block.order):
        if index in upstream:
            upstream |= {edge.source for edge in plan.block.steps[index].after}

    assert len(plan.block.steps) == limits.STEPS_MAX == len(upstream)
    assert EDGES_MAX == limits.EDGES_MAX >= max(len(step.after) for step in plan.block.steps)
    assert sum(step.kind == "task" for step in plan.block.steps) == PARTS + 1


def test_a_long_chain_is_one() -> None:
    block = _plan(long_chain(1_000).json()).block

    assert len(block.steps) == 1_000
    assert [[edge.source for edge in step.after] for step in block.steps[1:]] == [[index] for index in range(999)]


def test_the_other_workflows_are_valid() -> None:
    chain = _plan(CHAIN.read_text(encoding="utf-8"), DocumentFormat.DOCUMENT_FORMAT_YAML)

    assert (chain.workflow, len(chain.block.steps)) == (CHAIN_NAME, CHAIN_STEPS)
    assert [step.kind for step in _plan(waiting().json()).block.steps] == ["wait"]
    assert [step.kind for step in _plan(gated().json()).block.steps] == ["gate"]


def test_the_tenths_of_a_run_are_compared() -> None:
    even = History(started=100.0, steps=[101.0 + step for step in range(30)])
    slower = History(started=0.0, steps=[*(float(step) for step in range(1, 28)), 30.0, 33.0, 36.0])
    with_a_pause = History(started=0.0, steps=[*(float(step) for step in range(1, 29)), 99.0, 100.0])

    assert decile_ratio(even) == pytest.approx(1.0)
    assert decile_ratio(slower) == pytest.approx(3.0)
    assert decile_ratio(with_a_pause) == pytest.approx(1.0)


def test_a_database_is_measured_with_what_its_log_holds(tmp_path: Path) -> None:
    file = tmp_path / "some.db"
    module = find_driver().module
    with closing(module.connect(file, isolation_level=None)) as connection:
        for statement in ("PRAGMA journal_mode = WAL", "PRAGMA wal_autocheckpoint = 0", "CREATE TABLE t (blob)"):
            connection.execute(statement).fetchall()
        before = checkpointed_bytes(file)
        connection.execute("INSERT INTO t VALUES (?)", (bytes(1_000_000),))
        unseen = file.stat().st_size
        grown = checkpointed_bytes(file) - before

    assert unseen == before
    assert 990_000 < grown < 1_010_000  # in whole pages


def test_a_database_in_use_is_not_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.database.WAIT_S", 0.01)
    file = tmp_path / "some.db"
    module = find_driver().module
    with closing(module.connect(file, isolation_level=None)) as connection:
        for statement in (
            "PRAGMA journal_mode = WAL",
            "CREATE TABLE t (x)",
            "BEGIN IMMEDIATE",
            "INSERT INTO t VALUES (1)",
        ):
            connection.execute(statement).fetchall()
        with pytest.raises(BenchError, match="in use"):
            checkpointed_bytes(file)


def test_orders_are_plain_values() -> None:
    for plan in PLANS.values():
        for orders in plan.orders.values():
            for order in orders:
                values = {field: getattr(order, field) for field in order.__dataclass_fields__}
                assert json.loads(json.dumps(values)) == values
