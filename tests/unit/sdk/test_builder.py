"""Workflows built in code: the document they become, and what the server says to it."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import BaseModel, Field

from holdfast import Workflow, handler
from holdfast.builder import (
    Action,
    Approvers,
    Escalation,
    Expression,
    Fail,
    Fallback,
    Join,
    Reference,
    Retry,
    Review,
    Timeouts,
    Value,
    all_of,
    any_of,
    cel,
    contains,
    ends_with,
    has,
    is_in,
    literal,
    matches,
    payload,
    raw,
    size,
    starts_with,
)
from holdfast.errors import DefinitionError
from holdfast.v1.workflow_service_pb2 import DocumentFormat
from holdfast_server.definition import parse


class Question(BaseModel):
    question: str
    folder: str = "docs"


class Draft(BaseModel):
    title: str
    pages: int
    tags: list[str] = Field(default_factory=list, alias="tagList")


@handler
async def plan_queries(question: Question) -> list[str]:
    return [question.question]


@handler(queue="writers")
async def write(notes: dict[str, Any]) -> Draft:
    return Draft(title="t", pages=1, tagList=[])


@handler
def write_small(notes: dict[str, Any]) -> Draft:
    return Draft(title="t", pages=1, tagList=[])


def _accepted(wf: Workflow) -> None:
    parsed = parse(wf.json(), DocumentFormat.DOCUMENT_FORMAT_JSON)
    assert list(map(str, parsed.diagnostics)) == []


def test_the_example_of_the_guide() -> None:
    wf = Workflow("research-report", input=Question)
    plan = wf.task("plan", plan_queries, input={"question": wf.input.question})
    draft = wf.task("draft", write, after=[plan], input={"notes": plan.output})
    wf.output(draft.output)

    document = wf.document()
    assert document["name"] == "research-report"
    assert document["input_schema"]["required"] == ["question"]
    first, second = document["steps"]
    assert first == {
        "name": "plan",
        "task": {"handler": "plan_queries"},
        "input": {"question": "${input.question}"},
        "input_schema": Question.model_json_schema(),
        "output_schema": {"type": "array", "items": {"type": "string"}},
    }
    assert second["after"] == [{"step": "plan"}]
    assert second["task"] == {"handler": "write", "queue": "writers"}
    assert second["input"] == {"notes": "${steps.plan.output}"}
    assert document["output"] == "${steps.draft.output}"
    assert [h.name for h in wf.handlers] == ["plan_queries", "write"]
    _accepted(wf)


def _everything() -> Workflow:
    wf = Workflow(
        "everything",
        input=Question,
        description="All that can be said.",
        timeout=timedelta(days=7),
        on_failure="FINISH_OTHERS",
        attributes={"topic": "research"},
        retention="30d",
    )
    go = wf.signal("go", Draft)
    plan = wf.task("plan", "plan_elsewhere", input=wf.input, summary="Think", queue="brains", output_schema=Draft)
    draft = wf.task(
        "draft",
        write,
        after=plan.on_succeeded(plan.output.pages > 2),
        input={"notes": plan.output, "literal": literal("${x}")},
        retry=Retry(
            max_attempts=3,
            initial_interval=timedelta(milliseconds=1500),
            backoff=3,
            max_interval="1m",
            jitter=0,
            non_retryable=["Denied"],
        ),
        timeouts=Timeouts(start_to_close=timedelta(hours=1), heartbeat=timedelta(seconds=30)),
        on_error=[
            Fallback(["RateLimited", "Timeout.*"], write_small, retry=Retry(max_attempts=1)),
            Review(["SchemaViolation"], title=f"{wf.input.question} went wrong", deadline="24h"),
            Value(["Empty"], {"title": "none", "pages": 0, "tagList": []}),
            Fail(["*"]),
        ],
    )
    gate = wf.gate(
        "review",
        title=f"Publish {draft.output.title}?",
        body=draft.output.title,
        input=draft.output,
        after=draft,
        action=Action("publish", args={"title": draft.output.title}, args_type={"type": "object"}, risk="HIGH"),
        decisions=["APPROVE", "REJECT", "EDIT"],
        response=Question,
        approvers=Approvers(principals=["ada", "bob"], exclude_starter=True),
        quorum=2,
        veto=False,
        deadline=timedelta(hours=24),
        on_deadline="ESCALATE",
        escalation=Escalation(Approvers(roles=["lead"]), "2h"),
    )
    wait = wf.wait(
        "signal", go, match=payload.pages > 3, timeout="10m", after=gate.on_approved(), on_error=[Fail(["*"])]
    )
    nap = wf.sleep("nap", timedelta(seconds=90), after=gate.on_rejected())
    wf.sleep("until", datetime(2030, 1, 1, tzinfo=UTC), after=nap)
    total = wf.compute(
        "total",
        {"pages": draft.output.pages + wait.output.pages, "list": []},
        after=[wait, nap],
        when=gate.resolution == "APPROVED",
        join="ALL",
    )
    wf.task("late", write_small, input={}, after=[total, gate.on_failed()], join=Join("QUORUM", 1, cancel_others=True))
    wf.task("cleanup", "sweep", after=draft.on_finished(), cleanup=True)
    wf.task("notify", "notify", after=[draft.on_failed(), wait.on_skipped()])
    wf.query("pages", draft.output.pages, int)
    wf.output({"title": draft.output.title, "tags": draft.output.tags}, Question.model_json_schema())
    return wf


def test_everything_that_can_be_said_is_accepted_by_the_server() -> None:
    _accepted(_everything())


def test_every_part_is_where_the_language_wants_it() -> None:
    document = _everything().document()
    steps = {step["name"]: step for step in document["steps"]}

    assert (document["timeout"], document["retention"], document["on_failure"]) == ("7d", "30d", "FINISH_OTHERS")
    assert document["signals"][0]["name"] == "go"
    assert document["queries"] == [
        {"name": "pages", "expression": "steps.draft.output.pages", "schema": {"type": "integer"}}
    ]
    assert steps["plan"]["output_schema"]["title"] == "Draft"
    assert steps["draft"]["after"] == [{"step": "plan", "when": "steps.plan.output.pages > 2"}]
    assert steps["draft"]["retry"] == {
        "max_attempts": 3,
        "initial_interval": "1500ms",
        "backoff": 3,
        "max_interval": "1m",
        "jitter": 0,
        "non_retryable": ["Denied"],
    }
    assert steps["draft"]["timeouts"] == {"start_to_close": "1h", "heartbeat": "30s"}
    assert steps["draft"]["on_error"] == [
        {
            "match": ["RateLimited", "Timeout.*"],
            "fallback": {"handler": "write_small", "retry": {"max_attempts": 1}},
        },
        {"match": ["SchemaViolation"], "review": {"title": "${input.question} went wrong", "deadline": "24h"}},
        {"match": ["Empty"], "value": {"title": "none", "pages": 0, "tagList": []}},
        {"match": ["*"], "fail": {}},
    ]
    assert steps["draft"]["input"]["literal"] == "$${x}"
    assert steps["review"]["gate"]["title"] == "Publish ${steps.draft.output.title}?"
    assert steps["review"]["gate"]["escalation"] == {"approvers": {"roles": ["lead"]}, "deadline": "2h"}
    assert steps["signal"]["after"] == [{"step": "review", "when": 'steps.review.output.resolution == "APPROVED"'}]
    assert steps["signal"]["wait"] == {"signal": "go", "when": "payload.pages > 3", "timeout": "10m"}
    assert steps["nap"]["sleep"] == {"for": "90s"}
    assert steps["total"]["input"] == {"pages": "${steps.draft.output.pages + steps.signal.output.pages}", "list": []}
    assert steps["total"]["join"] == {"mode": "ALL"}
    assert {edge["when"] for edge in steps["total"]["after"]} == {'steps.review.output.resolution == "APPROVED"'}
    assert steps["late"]["join"] == {"mode": "QUORUM", "count": 1, "cancel_others": True}
    assert steps["notify"]["after"] == [{"step": "draft", "on": "FAILED"}, {"step": "signal", "on": "SKIPPED"}]
    assert steps["cleanup"]["cleanup"] is True
    assert document["output"]["tags"] == "${steps.draft.output.tagList}"


x, y = Reference("input.x"), Reference("input.y")


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        (x == 1, "input.x == 1"),
        (x != "a\"b'", 'input.x != "a\\"b\'"'),
        ((x + 1) * 2 - y / 3 % 4, "(input.x + 1) * 2 - input.y / 3 % 4"),
        (1 + x, "1 + input.x"),
        (10 - (x - 1), "10 - (input.x - 1)"),
        ((x > 1) & (y <= 2) | ~(x == y), "input.x > 1 && input.y <= 2 || !(input.x == input.y)"),
        ((x > 1) & ((y < 2) | (x >= 3)), "input.x > 1 && (input.y < 2 || input.x >= 3)"),
        ((x == y) == True, "(input.x == input.y) == true"),  # noqa: E712 - what is rendered
        (-x * 2, "(-input.x) * 2"),
        (x * -2, "input.x * (-2)"),
        (x.items[0]["in"]["ä b"], 'input.x.items[0]["in"]["ä b"]'),
        (has(x.a) & (size(x.a) > 0), "has(input.x.a) && size(input.x.a) > 0"),
        (contains(x, "a") | starts_with(x, y) | ends_with("abc", x), None),
        (matches(x + "b", "^a"), '(input.x + "b").matches("^a")'),
        (is_in(x, ["a", "b"]), 'input.x in ["a", "b"]'),
        (any_of(x == 1, all_of(y == 2, x == 3)), "input.x == 1 || input.y == 2 && input.x == 3"),
        (all_of(raw("a || b"), x == 1), "(a || b) && input.x == 1"),
        (x == None, "input.x == null"),  # noqa: E711 - what is rendered
        (x < timedelta(seconds=1.5), 'input.x < duration("1.500000s")'),
        (x < datetime(2030, 1, 1, tzinfo=UTC), 'input.x < timestamp("2030-01-01T00:00:00+00:00")'),
        (x == {"a": [1.5, False]}, 'input.x == {"a": [1.5, false]}'),
    ],
)
def test_expressions_render_to_cel(expression: Expression, text: str | None) -> None:
    expected = text or 'input.x.contains("a") || input.x.startsWith(input.y) || "abc".endsWith(input.x)'
    assert cel(expression) == expected


def test_an_expression_is_no_truth_and_no_list() -> None:
    with pytest.raises(DefinitionError, match=r"use &, \| and ~"):
        assert x == 1
    with pytest.raises(DefinitionError, match="is_in"):
        assert "a" in x
    with pytest.raises(TypeError):
        list(x)  # type: ignore[call-overload]
    with pytest.raises(DefinitionError, match="64 bits"):
        cel(2**63)
    with pytest.raises(DefinitionError, match="no time zone"):
        cel(datetime(2030, 1, 1))  # noqa: DTZ001 - that is the fault


@dataclass
class Tree:
    name: str
    children: list["Tree"]


def test_fields_are_checked_where_the_type_is_known() -> None:
    tree = Reference("input", type_=Tree)

    assert cel(tree.children[0].children[1].name) == "input.children[0].children[1].name"
    with pytest.raises(DefinitionError, match=r"input\.children\[0\] \(Tree\) has no field 'nam'; it has name, child"):
        _ = tree.children[0].nam
    assert cel(Reference("x", type_=Draft | None).tags) == "x.tagList"
    assert cel(Reference("x", type_=dict[str, Draft]).any.title) == "x.any.title"
    with pytest.raises(DefinitionError, match="has no field 'titel'"):
        _ = Reference("x", type_=dict[str, Draft])["any"].titel


def test_a_reference_to_what_need_not_be_finished_is_refused_where_it_is_written() -> None:
    wf = Workflow("w")
    first = wf.task("first", "h")
    second = wf.task("second", "h")
    with pytest.raises(DefinitionError, match=r"step 'third' names first, .* add it to `after`"):
        wf.task("third", "h", after=second, input=[{"a": first.output}])
    with pytest.raises(DefinitionError, match="condition of 'third' after 'second' names first"):
        wf.task("third", "h", after=[first, second.on_succeeded(first.output == 1)])
    third = wf.task("third", "h", after=[first, second], input=first.output)
    wf.task("fourth", "h", after=third.on_succeeded(first.output == 1), input=second.output)
    with pytest.raises(DefinitionError, match="of another workflow"):
        Workflow("other").task("x", "h", after=first)
    with pytest.raises(DefinitionError, match="has no step"):
        wf.output(Workflow("other").task("x", "h").output)
    _accepted(wf)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Workflow("no spaces"), "no name of a workflow"),
        (lambda: Workflow("w").task("Plan", "h"), "no name of a step"),
        (lambda: [(wf := Workflow("w")).task("a", "h"), wf.task("a", "h")], "there is a step 'a' already"),
        (lambda: [(wf := Workflow("w")).signal("a"), wf.signal("a")], "there is a signal 'a' already"),
        (lambda: Workflow("w").task("a", "h", when="true"), "has a condition but comes after nothing"),
        (lambda: Workflow("w").task("a", "h", after=["b"]), "comes after steps and their edges"),  # type: ignore[list-item]
        (lambda: Workflow("w").document(), "has no steps"),
        (lambda: Workflow("w").compute("a", object()), "object has no JSON form"),
        (lambda: Workflow("w").compute("a", float("nan")), "nan has no JSON form"),
        (lambda: Fail("*").document(), r"write \['\*'\]"),
        (lambda: Workflow("w", timeout=timedelta(seconds=-1)), "negative"),
    ],
)
def test_what_cannot_be_a_definition_is_refused_where_it_is_written(build: Any, message: str) -> None:
    with pytest.raises(DefinitionError, match=message):
        build()


@pytest.mark.parametrize(
    ("length", "text"),
    [
        (timedelta(days=2), "2d"),
        (timedelta(hours=36), "36h"),
        (timedelta(seconds=61), "61s"),
        (timedelta(milliseconds=250), "250ms"),
        (timedelta(microseconds=1), "0.000001s"),
        (timedelta(), "0.000000s"),
        ("5m", "5m"),
    ],
)
def test_durations_are_exact(length: Any, text: str) -> None:
    wf = Workflow("w")
    wf.sleep("nap", length)
    assert wf.document()["steps"][0]["sleep"] == {"for": text}
    _accepted(wf)


def test_a_default_of_the_handler_stands_in_for_no_input() -> None:
    @handler
    async def with_default(question: Question = Question(question="why")) -> str:  # noqa: B008 - that is the case
        return question.question

    wf = Workflow("w")
    wf.task("without", with_default)
    wf.task("given", with_default, input={"question": "who"})
    without, given = wf.document()["steps"]

    assert "input_schema" not in without
    assert "input_schema" in given
    assert len(wf.handlers) == 1
