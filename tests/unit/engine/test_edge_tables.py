"""Decision tables of edges and joins: what takes an edge, when a join is met, whose business a failure is."""

import itertools
import json
from typing import Any

import pytest

from holdfast.v1.definition_pb2 import JoinMode
from holdfast_server.engine import commands as c, state as st
from holdfast_server.engine.edges import Verdict, join_verdict
from holdfast_server.engine.state import StepRecord
from tests.unit.engine.driver import Play, plan_of

TASK = {"task": {"handler": "h"}, "retry": {"max_attempts": 1}}


def _document(*steps: dict[str, Any], **more: Any) -> str:
    return json.dumps({"name": "w", "steps": list(steps), **more})


# -- which outcome of the source takes which edge

TAKES = {
    "SUCCEEDED": {"SUCCEEDED": True, "FAILED": False, "SKIPPED": False, "FINISHED": True},
    "FAILED": {"SUCCEEDED": False, "FAILED": True, "SKIPPED": False, "FINISHED": True},
    "SKIPPED": {"SUCCEEDED": False, "FAILED": False, "SKIPPED": True, "FINISHED": True},
    "CANCELED": {"SUCCEEDED": False, "FAILED": False, "SKIPPED": False, "FINISHED": True},
}


@pytest.mark.parametrize("outcome", TAKES)
@pytest.mark.parametrize("on", ["SUCCEEDED", "FAILED", "SKIPPED", "FINISHED"])
def test_outcome_takes_edge(outcome: str, on: str) -> None:
    play = Play(
        _document(
            {"name": "x", **TASK},
            {"name": "a", "after": [{"step": "x", "when": "steps.x.output"}], **TASK},
            {"name": "b", "after": [{"step": "a", "on": on}], **TASK},
            on_failure="FINISH_OTHERS",
        )
    )
    play.start()
    play.complete("x", outcome != "SKIPPED")
    if outcome == "SUCCEEDED":
        play.complete("a", 1)
    elif outcome == "FAILED":
        play.fail("a")
    elif outcome == "CANCELED":
        play.do(c.Cancel())

    edges = play.record("b").edges

    assert edges == bytearray([st.TAKEN if TAKES[outcome][on] else st.DEAD])
    if outcome != "CANCELED":
        assert (play.state("b") == st.QUEUED) == TAKES[outcome][on]


# -- when a join is met

U, T, D, E = st.UNRESOLVED, st.TAKEN, st.DEAD, st.ERROR
OPEN, MET, LOST = Verdict.OPEN, Verdict.MET, Verdict.NOT_MET

JOINS = {
    ("INCLUSIVE", 0): {(U, U): OPEN, (U, T): OPEN, (U, D): OPEN, (T, T): MET, (D, T): MET, (D, D): LOST},
    ("ALL", 0): {(U, U): OPEN, (U, T): OPEN, (U, D): LOST, (T, T): MET, (D, T): LOST, (D, D): LOST},
    ("FIRST", 1): {(U, U): OPEN, (U, T): MET, (U, D): OPEN, (T, T): MET, (D, T): MET, (D, D): LOST},
    ("QUORUM", 1): {(U, U): OPEN, (U, T): MET, (U, D): OPEN, (T, T): MET, (D, T): MET, (D, D): LOST},
    ("QUORUM", 2): {(U, U): OPEN, (U, T): OPEN, (U, D): LOST, (T, T): MET, (D, T): LOST, (D, D): LOST},
}


def _join(mode: str, count: int, edges: int) -> Any:
    sources = [{"name": f"a{number}", **TASK} for number in range(edges)]
    join = {"mode": mode} | ({"count": count} if mode == "QUORUM" else {})
    after = [{"step": f"a{number}"} for number in range(edges)]
    return plan_of(_document(*sources, {"name": "j", "after": after, "join": join, **TASK})).block.steps[-1]


@pytest.mark.parametrize(
    ("mode", "count", "edges", "verdict"),
    [(*join, edges, verdict) for join, table in JOINS.items() for edges, verdict in table.items()],
)
def test_join_of_two_edges(mode: str, count: int, edges: tuple[int, int], verdict: Verdict) -> None:
    step = _join(mode, count, 2)
    for order in (edges, edges[::-1]):
        assert join_verdict(step, StepRecord(edges=bytearray(order))) is verdict


@pytest.mark.parametrize("mode", ["INCLUSIVE", "ALL", "FIRST", "QUORUM"])
def test_join_with_a_broken_condition_is_an_error_at_once(mode: str) -> None:
    step = _join(mode, 1, 3)
    for others in itertools.product((U, T, D), repeat=2):
        assert join_verdict(step, StepRecord(edges=bytearray([E, *others]))) is Verdict.ERROR


@pytest.mark.parametrize(("mode", "count"), JOINS)
def test_a_join_never_changes_its_mind(mode: str, count: int) -> None:
    """Once met or lost, whatever else is resolved, it stays so; fully resolved, it is not open."""
    step = _join(mode, count, 3)
    for edges in itertools.product((U, T, D), repeat=3):
        verdict = join_verdict(step, StepRecord(edges=bytearray(edges)))
        assert (verdict is OPEN) <= (U in edges)
        for position, resolution in itertools.product(range(3), (T, D)):
            if edges[position] == U and verdict is not OPEN:
                later = bytearray(edges)
                later[position] = resolution
                assert join_verdict(step, StepRecord(edges=later)) is verdict


def test_nothing_resolved_is_open() -> None:
    for name in JoinMode.keys()[1:]:
        step = _join(name.removeprefix("JOIN_MODE_"), 1, 2)
        assert join_verdict(step, None) is OPEN
        assert join_verdict(step, StepRecord()) is OPEN


# -- whose business a failure is

FIRST = {"mode": "FIRST"}
HANDLED: dict[str, tuple[list[dict[str, Any]], bool]] = {
    "no edge at all": ([], False),
    "an edge on SUCCEEDED": ([{"after": [{"step": "a"}]}], False),
    "an edge on FINISHED": ([{"after": [{"step": "a", "on": "FINISHED"}]}], False),
    "an edge on FAILED": ([{"after": [{"step": "a", "on": "FAILED"}]}], True),
    "an edge on FAILED, condition true": ([{"after": [{"step": "a", "on": "FAILED", "when": "true"}]}], True),
    "an edge on FAILED, condition false": ([{"after": [{"step": "a", "on": "FAILED", "when": "false"}]}], False),
    "an edge on FAILED, condition broken": ([{"after": [{"step": "a", "on": "FAILED", "when": "input.x"}]}], False),
    "one of two edges on FAILED": (
        [{"after": [{"step": "a", "on": "FAILED", "when": "false"}]}, {"after": [{"step": "a", "on": "FAILED"}]}],
        True,
    ),
    "all ways lead to a FIRST that can be met": ([{"join": FIRST, "after": [{"step": "a"}, {"step": "b"}]}], True),
    "a FIRST, but another way too": (
        [{"join": FIRST, "after": [{"step": "a"}, {"step": "b"}]}, {"after": [{"step": "a"}]}],
        False,
    ),
    "a FIRST behind another step": (
        [{"after": [{"step": "a"}]}, {"join": FIRST, "after": [{"step": "t0"}, {"step": "b"}]}],
        True,
    ),
    "an INCLUSIVE join": ([{"after": [{"step": "a"}, {"step": "b"}]}], False),
}


@pytest.mark.parametrize("case", HANDLED)
def test_failure_is_handled(case: str) -> None:
    targets, handled = HANDLED[case]
    steps = [{"name": f"t{number}", **target, **TASK} for number, target in enumerate(targets)]
    play = Play(_document({"name": "a", **TASK}, {"name": "b", **TASK}, *steps, on_failure="FINISH_OTHERS"))
    play.start(input={})

    play.fail("a")

    assert play.record("a").handled is handled
    assert (play.run.root.failure is None or play.run.root.failure.step_path != "a") is handled


def test_failure_of_a_cleanup_step_is_nobodys_business() -> None:
    play = Play(_document({"name": "x", **TASK}, {"name": "a", "cleanup": True, "after": [{"step": "x"}], **TASK}))
    play.start()
    play.complete("x")

    play.fail("a")

    assert play.record("a").handled
    assert not play.run.open
    assert play.run.failure is None
