"""What an expression may name at its place."""

from typing import Any

import pytest

from holdfast_server.engine.compile import compile_query
from holdfast_server.engine.expressions import ExpressionError
from tests.unit.definition.documents import plan_of, said, steps

A = {"name": "a"}
B = {"name": "b", "after": [{"step": "a"}]}
SIGNALS = [{"name": "go", "schema": {"type": "object"}}]


@pytest.mark.parametrize(
    ("step", "path", "message"),
    [
        ({"input": "${steps.c.output}"}, "steps[1].input", "step 'b' cannot read itself"),
        ({"input": "${steps.x.output}"}, "steps[1].input", "unknown step 'x' in `steps.x.output`"),
        ({"input": "${steps.z.output}"}, "steps[1].input", "step 'z' is not upstream of 'b'"),
        ({"input": {"k": ["${1 + steps.z.attempts}"]}}, "steps[1].input", "lead an edge from it here"),
        ({"input": "${steps}"}, "steps[1].input", "`steps` alone cannot be read"),
        ({"input": "${steps[input.n].output}"}, "steps[1].input", "`steps` alone cannot be read"),
        ({"input": "${steps.a}"}, "steps[1].input", "`steps.a` alone cannot be read; name a member: output, state"),
        ({"input": "${steps.a.ouput}"}, "steps[1].input", "`steps.a` has no 'ouput'; did you mean 'output'?"),
        ({"input": "${run.idd}"}, "steps[1].input", "`run` has no 'idd'; did you mean 'id'?"),
        ({"input": "${run}"}, "steps[1].input", "`run` alone cannot be read"),
        ({"input": "${signals}"}, "steps[1].input", "`signals` alone cannot be read"),
        (
            {"input": "${signals.gone}"},
            "steps[1].input",
            "signal 'gone' is not declared in `signals`; did you mean 'go'?",
        ),
        ({"input": "${payload.x}"}, "steps[1].input", "`payload` is known in the `when` of a wait only"),
        (
            {"input": "${steps.g.output.resolutoin}"},
            "steps[1].input",
            "has no 'resolutoin'; did you mean 'resolution'?",
        ),
        ({"input": "${input.questoin}"}, "steps[1].input", "has no 'questoin'; did you mean 'question'?"),
        ({"input": "${input.question}"}, "", ""),
        ({"input": "${steps.a.output.anything.goes}"}, "", ""),
        ({"input": "${steps.g.output.payload.anything}"}, "", ""),
        ({"input": "${signals.go}"}, "", ""),
        ({"wait": {"signal": "go", "when": "payload.ok && steps.a.state == 'SUCCEEDED'"}}, "", ""),
        (
            {"wait": {"signal": "og"}},
            "steps[1].wait.signal",
            "signal 'og' is not declared in `signals`; known: go",
        ),
        ({"wait": {"signal": "go", "when": "size(payload.x) + 1"}}, "steps[1].wait.when", "must be true or false"),
        ({"gate": {"title": "${steps.z.output}"}}, "steps[1].gate.title", "not upstream"),
        ({"gate": {"title": "t", "body": "${x}"}}, "steps[1].gate.body", "unknown name 'x'"),
        (
            {"gate": {"title": "t", "action": {"name": "n", "args": {"a": "${x}"}}}},
            "steps[1].gate.action.args",
            "unknown",
        ),
        ({"sleep": {"until": "${steps.z.output}"}}, "steps[1].sleep.until", "not upstream"),
        ({"sleep": {"until": "tomorrow"}}, "steps[1].sleep.until", "neither an RFC 3339 timestamp nor a duration"),
        ({"sleep": {"until": "2026-12-24T18:00:00Z"}}, "", ""),
        ({"on_error": [{"match": ["*"], "value": "${steps.z.output}"}]}, "steps[1].on_error[0].value", "not upstream"),
        ({"on_error": [{"match": ["*"], "review": {"title": "${x}"}}]}, "steps[1].on_error[0].review.title", "unknown"),
    ],
)
def test_a_step_names_what_is_upstream(step: dict[str, Any], path: str, message: str) -> None:
    reader = {"name": "b", "after": [{"step": "a"}, {"step": "g"}]} | step
    if path and "cannot read itself" in message:
        reader["input"] = "${steps.b.output}"
    parsed = steps(
        A,
        reader,
        {"name": "z"},
        {"name": "g", "gate": {"title": "t"}},
        signals=SIGNALS,
        input_schema={"properties": {"question": {}, "n": {}}, "additionalProperties": False},
    )

    found = said(parsed)
    assert [where for where, _ in found] == ([path] if path else [])
    assert not path or message in found[0][1]


def test_what_is_upstream_of_upstream_may_be_named() -> None:
    plan_of(steps(A, B, {"name": "c", "after": [{"step": "b"}], "input": "${steps.a.output}"}))


def test_an_edge_names_its_source_and_what_is_upstream_of_that() -> None:
    edge = {"step": "b", "when": "steps.a.output.x == 1 && steps.b.output.x == 1"}
    plan_of(steps(A, B, {"name": "c", "after": [edge]}))

    late = {"step": "a", "when": "steps.b.output.x == 1"}
    (fault,) = said(steps(A, B, {"name": "c", "after": [{"step": "b"}, late]}))
    assert fault[0] == "steps[2].after[1].when"
    assert "step 'b' is not upstream of 'a', from which this edge comes" in fault[1]


def test_an_edge_to_nowhere_does_not_make_its_readers_faulty() -> None:
    reader = {"name": "b", "after": [{"step": "aa"}], "input": "${steps.a.output}"}
    behind = {"name": "c", "after": [{"step": "b"}], "input": "${steps.a.output}"}

    assert [path for path, _ in said(steps(A, reader, behind))] == ["steps[1].after[0].step"]


def test_the_run_and_its_queries_name_any_step() -> None:
    queries = [{"name": "q", "expression": "steps.a.state + steps.b.state"}]

    plan = plan_of(steps(A, B, output={"a": "${steps.a.output}", "b": "${steps.b.output}"}, queries=queries))

    assert plan.queries["q"].refs == (("steps", "a", "state"), ("steps", "b", "state"))


def test_attributes_know_only_what_is_there_at_the_start() -> None:
    (fault,) = said(steps(A, attributes={"x": "${steps.a.output}", "y": "${input.y} ${run.id}"}))

    assert fault == ("attributes.x", "`steps` is not known here; known: input, run")


def test_a_query_made_up_later_is_checked_alike() -> None:
    plan = plan_of(steps(A, B))

    assert compile_query(plan, "steps.b.output").refs == (("steps", "b", "output"),)
    with pytest.raises(ExpressionError, match="unknown step 'bb'"):
        compile_query(plan, "steps.bb.output")
    with pytest.raises(ExpressionError, match="unknown name 'nope'"):
        compile_query(plan, "nope")
