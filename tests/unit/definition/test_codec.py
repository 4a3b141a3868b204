"""From a whole document to its message, its plan and its hash."""

import hashlib
import json
from typing import Any

import pytest

from holdfast.v1 import definition_pb2 as pb
from holdfast_server.definition import parse
from holdfast_server.engine.compile import compile_plan
from holdfast_server.engine.plan import RUN, Plan, RetryPlan
from tests.unit.definition.documents import JSON, REPORT, YAML, json_of, plan_of, steps

SECOND_US = 1_000_000


@pytest.fixture(scope="module")
def message() -> pb.WorkflowDefinition:
    definition = parse(REPORT, YAML).definition
    assert definition is not None
    return definition


@pytest.fixture(scope="module")
def plan() -> Plan:
    return plan_of(parse(REPORT, YAML))


def test_message(message: pb.WorkflowDefinition) -> None:
    search, approve = message.block.steps[1], message.block.steps[2]

    assert (message.name, message.description, message.timeout.seconds) == (
        "research-report",
        "Writes a report.",
        604_800,
    )
    assert message.retention.seconds == 30 * 86_400
    assert message.block.on_failure == pb.ON_FAILURE_FINISH_OTHERS
    assert message.block.steps[0].input.json == '{"question":"${input.question}"}'
    assert (search.task.handler, search.task.queue, search.retry.initial_interval.nanos) == (
        "search_folder",
        "tools",
        500_000_000,
    )
    assert search.retry.HasField("jitter")
    assert [rule.WhichOneof("action") for rule in search.on_error] == ["fallback", "value", "fail", "review"]
    assert approve.gate.action.risk == pb.RISK_HIGH
    assert list(approve.gate.decisions) == [pb.DECISION_APPROVE, pb.DECISION_REJECT, pb.DECISION_EDIT]
    assert not approve.gate.veto
    assert message.block.steps[5].sleep.WhichOneof("until") == "duration"
    assert message.block.steps[6].sleep.WhichOneof("until") == "expression"
    assert message.attributes["team"].json == '"${input.folder}"'


def test_a_task_gets_what_it_says(plan: Plan) -> None:
    search = plan.block.steps[1]

    assert (search.kind, search.handler, search.queue) == ("task", "search_folder", "tools")
    assert search.retry == RetryPlan(3, 500_000, 1.5, 10 * SECOND_US, 0.0, ("Bad",))
    assert search.schedule_to_start_us == 3_600 * SECOND_US
    assert search.start_to_close_us == 300 * SECOND_US
    assert search.schedule_to_close_us == 86_400 * SECOND_US
    assert search.heartbeat_us == 30 * SECOND_US
    fallback, value, fail, review = search.on_error
    assert (fallback.handler, fallback.queue, fallback.match) == ("search_small", "tools", ("RateLimited", "Timeout.*"))
    assert fallback.retry == RetryPlan(1, SECOND_US, 2.0, 60 * SECOND_US, 0.2, ())
    assert value.value is not None
    assert (fail.action, review.deadline_us) == ("fail", 7 * 86_400 * SECOND_US)


def test_defaults() -> None:
    step = plan_of(steps({"name": "a", "task": {"handler": "h"}})).block.steps[0]

    assert step.queue == "default"
    assert step.retry == RetryPlan(5, SECOND_US, 2.0, 60 * SECOND_US, 0.2, ())
    assert step.start_to_close_us == 600 * SECOND_US
    assert (step.schedule_to_start_us, step.schedule_to_close_us, step.heartbeat_us) == (None, None, None)
    assert (step.join_mode, step.join_count, step.cancel_others, step.cleanup) == (
        pb.JOIN_MODE_INCLUSIVE,
        0,
        False,
        False,
    )
    assert (step.input, step.input_schema, step.output_schema, step.on_error) == (None, None, None, ())


def test_edges_joins_and_order(plan: Plan) -> None:
    block = plan.block
    by_name = block.by_name

    assert block.entries == (by_name["plan"], by_name["go"])
    assert sorted(block.order) == list(range(9))
    assert all(
        block.order.index(edge.source) < block.order.index(step.index) for step in block.steps for edge in step.after
    )
    assert all(
        block.steps[target].after[place].source == step.index for step in block.steps for target, place in step.out
    )
    first = block.steps[by_name["any"]]
    assert (first.join_mode, first.join_count, first.cancel_others) == (pb.JOIN_MODE_FIRST, 1, True)
    assert first.exclusive_sources == {by_name["go"], by_name["pause"], by_name["until"]}
    assert block.steps[by_name["pause"]].covering_joins == (first.index,)
    assert block.steps[by_name["clean"]].after[0].on == pb.EDGE_ON_FINISHED
    assert block.steps[by_name["search"]].after[0].on == pb.EDGE_ON_SUCCEEDED
    assert not block.fail_fast


def test_what_is_looked_into(plan: Plan) -> None:
    # `search` passes the output of `plan` through; `publish` is passed through as the run's output.
    assert set(plan.deep_refs) == {
        ("input",),
        ("steps", "search", "output"),
        ("steps", "approve", "output"),
        ("steps", "go", "output"),
    }
    assert plan.looks_into_signals


def test_a_schema_looks_into_what_is_passed_through() -> None:
    reader = {"name": "b", "after": [{"step": "a"}], "input": "${steps.a.output}"}

    assert plan_of(steps({"name": "a"}, reader)).deep_refs == {}
    head = ("steps", "a", "output")
    assert plan_of(steps({"name": "a"}, reader | {"input_schema": {}})).deep_refs == {head: (1,)}
    assert plan_of(steps({"name": "a"}, reader | {"output_schema": {}})).deep_refs == {head: (1,)}
    assert plan_of(steps({"name": "a"}, output="${steps.a.output}", output_schema={})).deep_refs == {head: (RUN,)}


def test_the_condition_of_an_edge_is_looked_at_for_both_its_ends() -> None:
    plan = plan_of(steps({"name": "a"}, {"name": "b", "after": [{"step": "a", "when": "steps.a.output.x == 1"}]}))

    assert plan.deep_refs == {("steps", "a", "output"): (0, 1)}
    assert [step.looks_into for step in plan.block.steps] == [(("steps", "a", "output"),)] * 2


def test_schemas_type_the_numbers_of_expressions(plan: Plan) -> None:
    assert plan.numbers[("steps", "plan", "output")].members["score"].kind is float


def test_a_plan_can_be_made_again_from_the_message(message: pb.WorkflowDefinition, plan: Plan) -> None:
    again = compile_plan(pb.WorkflowDefinition.FromString(message.SerializeToString()), 3, b"h")

    assert (again.version, again.definition_hash) == (3, b"h")
    assert [step.name for step in again.block.steps] == [step.name for step in plan.block.steps]
    assert again.deep_refs == plan.deep_refs


def test_the_hash_is_of_the_content_not_of_the_writing() -> None:
    document = json.loads(json_of(description="d"))
    turned = dict(reversed(document.items()))
    spaced = parse(json.dumps(turned, indent=3), JSON)

    assert parse(json_of(description="d"), JSON).definition_hash == spaced.definition_hash
    assert parse(json_of(description="e"), JSON).definition_hash != spaced.definition_hash
    canonical = '{"description":"d","name":"small","steps":[{"compute":{},"name":"a"}]}'
    assert spaced.definition_hash == hashlib.sha256(canonical.encode()).digest()


def test_free_json_keeps_its_integers() -> None:
    parsed = steps({"name": "a", "input": {"z": 2**53 + 1, "a": 2**70, "f": 1.0, "e": 1e21}})

    assert parsed.definition is not None
    text = '{"a":1180591620717411303424,"e":1e+21,"f":1,"z":9007199254740993}'
    assert parsed.definition.block.steps[0].input.json == text


def test_yaml_and_json_of_one_document_are_one_definition() -> None:
    text = json_of(steps=[{"name": "a", "sleep": {"for": "90s"}}])
    yaml = "name: small\nsteps:\n- name: a\n  sleep:\n    for: 90s\n"

    assert parse(text, JSON).definition == parse(yaml, YAML).definition
    assert parse(text, JSON).definition_hash == parse(yaml, YAML).definition_hash


@pytest.mark.parametrize(
    ("text", "micros"),
    [
        ("500ms", 500_000),
        ("60s", 60_000_000),
        ("10m", 600_000_000),
        ("24h", 86_400_000_000),
        ("7d", 604_800_000_000),
        ("1.5s", 1_500_000),
        ("0s", 0),
    ],
)
def test_durations(text: str, micros: int) -> None:
    sleep = plan_of(steps({"name": "a", "sleep": {"for": text}})).block.steps[0].sleep

    assert sleep is not None
    assert sleep.duration_us == micros


def test_limits() -> None:
    many: list[dict[str, Any]] = [{"name": f"s{n}"} for n in range(1_001)]
    wide = [*many[:257], {"name": "join", "after": [{"step": f"s{n}"} for n in range(257)]}]

    assert [(one.path, one.message) for one in steps(*many).diagnostics] == [
        ("steps", "it has 1,001 entries, the limit is 1,000")
    ]
    assert [(one.path, one.message) for one in steps(*wide).diagnostics] == [
        ("steps[257].after", "there are 257 edges, the limit is 256")
    ]
