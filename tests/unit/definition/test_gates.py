"""Gates that nobody could get past, or that mean nothing, are refused."""

from typing import Any

import pytest

from holdfast.v1 import definition_pb2 as pb
from tests.unit.definition.documents import plan_of, said, steps


@pytest.mark.parametrize(
    ("gate", "path", "message"),
    [
        ({"title": ""}, "gate.title", "it is empty"),
        ({"decisions": ["REJECT"]}, "gate.decisions", "nobody could let this gate pass: allow APPROVE or RESPOND"),
        ({"decisions": ["APPROVE", "APPROVE"]}, "gate.decisions[1]", "APPROVE is listed twice"),
        ({"decisions": ["APPROVE", "EDIT"]}, "gate.decisions", "EDIT needs something to change"),
        ({"decisions": ["RETRY"]}, "gate.decisions[0]", "is not one of APPROVE, REJECT, EDIT, RESPOND, DELEGATE"),
        ({"quorum": 0}, "gate.quorum", "it is at least 1, not 0"),
        ({"quorum": 3, "approvers": {"principals": ["ann", "bob"]}}, "gate.quorum", "but only 2 may decide"),
        ({"on_deadline": "APPROVE"}, "gate.on_deadline", "there is no `deadline` that could pass"),
        ({"deadline": "1h", "on_deadline": "ESCALATE"}, "gate.escalation", "needs `escalation.approvers`"),
        (
            {"deadline": "1h", "on_deadline": "ESCALATE", "escalation": {"approvers": {}}},
            "gate.escalation",
            "needs `escalation.approvers`",
        ),
        (
            {"deadline": "1h", "escalation": {"approvers": {"roles": ["r"]}}},
            "gate.escalation",
            "it is for `on_deadline: ESCALATE`",
        ),
        ({"decisions": ["APPROVE"], "fail_on_reject": True}, "gate.fail_on_reject", "nothing can reject this gate"),
        ({"action": {"name": "n", "args_schema": {}}}, "gate.action.args_schema", "there are no `args`"),
        ({"response_schema": {"type": "x"}}, "gate.response_schema", "no usable JSON Schema"),
    ],
)
def test_refused(gate: dict[str, Any], path: str, message: str) -> None:
    found = said(steps({"name": "g", "gate": {"title": "t"} | gate}))

    assert [where for where, _ in found] == [f"steps[0].{path}"]
    assert message in found[0][1]


def test_defaults() -> None:
    gate = plan_of(steps({"name": "g", "gate": {"title": "t"}})).block.steps[0].gate

    assert gate is not None
    assert gate.decisions == (pb.DECISION_APPROVE, pb.DECISION_REJECT)
    assert (gate.quorum, gate.veto, gate.deadline_us, gate.on_deadline) == (1, True, None, pb.ON_DEADLINE_FAIL)
    assert (gate.body, gate.args, gate.args_schema, gate.response_schema, gate.escalation_us) == (None,) * 5


def test_an_input_can_be_edited_too() -> None:
    plan_of(steps({"name": "g", "input": {"a": 1}, "gate": {"title": "t", "decisions": ["APPROVE", "EDIT"]}}))


def test_the_second_deadline_is_as_long_as_the_first() -> None:
    escalating = {"deadline": "1h", "on_deadline": "ESCALATE", "escalation": {"approvers": {"roles": ["r"]}}}
    gate = plan_of(steps({"name": "g", "gate": {"title": "t"} | escalating})).block.steps[0].gate

    assert gate is not None
    assert gate.escalation_us == 3_600_000_000
