"""Decision tables of gates: who may decide, what they may say, with which data, and what it leads to."""

import json
from typing import Any

import pytest

from holdfast.v1.definition_pb2 import Approvers, Decision
from holdfast.v1.errors_pb2 import ErrorReason
from holdfast.v1.payload_pb2 import Payload
from holdfast_server.engine import commands as c, state as st
from holdfast_server.engine.refusal import Refused
from tests.unit.engine.driver import Play

NUMBER = {"type": "object", "required": ["n"], "properties": {"n": {"type": "integer"}}}


def _play(gate: dict[str, Any] | None = None, by: str = "ann", **step: Any) -> Play:
    steps = [{"name": "g", "gate": {"title": "Go?", **(gate or {})}, **step}]
    play = Play(json.dumps({"name": "w", "steps": steps}))
    play.start(by=by, input={"n": 1})
    return play


def _reason(play: Play, *said: Any, **fields: Any) -> str:
    """Why a decision is refused; empty if it is taken."""
    try:
        play.say("g", *said, **fields)
    except Refused as refused:
        return ErrorReason.Name(refused.reason).removeprefix("ERROR_REASON_")
    return ""


APPROVERS = [
    # approvers, starter, who decides, refused
    ({}, "ann", "ann", False),
    ({}, "ann", "bob", False),
    ({"principals": ["bob"]}, "ann", "bob", False),
    ({"principals": ["bob"]}, "ann", "cid", True),
    ({"principals": ["bob"]}, "ann", "", True),
    ({"principals": ["bob", "cid"]}, "ann", "cid", False),
    ({"roles": ["editor"]}, "ann", "cid", False),  # roles are recorded, not enforced
    ({"exclude_starter": True}, "ann", "ann", True),
    ({"exclude_starter": True}, "ann", "bob", False),
    ({"principals": ["ann"], "exclude_starter": True}, "ann", "ann", True),
    ({"principals": ["ann"], "exclude_starter": False}, "ann", "ann", False),
]


@pytest.mark.parametrize(("approvers", "starter", "who", "refused"), APPROVERS)
def test_who_may_decide(approvers: dict[str, Any], starter: str, who: str, refused: bool) -> None:
    play = _play({"approvers": approvers} if approvers else None, by=starter)

    assert _reason(play, "APPROVE", who) == ("NOT_AN_APPROVER" if refused else "")


EVERYTHING = ["APPROVE", "REJECT", "EDIT", "RESPOND", "DELEGATE"]


@pytest.mark.parametrize("allowed", [["APPROVE"], ["APPROVE", "REJECT"], ["RESPOND"], EVERYTHING, None])
@pytest.mark.parametrize("said", [*EVERYTHING, "RETRY", "SKIP", "FAIL"])
def test_what_may_be_said(allowed: list[str] | None, said: str) -> None:
    play = _play({"decisions": allowed} if allowed else None, input="${input}")
    fields = {"to": Approvers(principals=["cid"])} if said == "DELEGATE" else {}

    reason = _reason(play, said, value={"n": 2}, **fields)

    assert reason == ("" if said in (allowed or ["APPROVE", "REJECT"]) else "DECISION_NOT_ALLOWED")


PAYLOADS = [
    # decision, value, step, gate, refused
    ("APPROVE", None, {}, {}, ""),
    ("APPROVE", {"x": 1}, {}, {}, ""),
    ("APPROVE", None, {}, {"response_schema": NUMBER}, "DECISION_SCHEMA"),
    ("APPROVE", {"n": 1}, {}, {"response_schema": NUMBER}, ""),
    ("APPROVE", {"n": "1"}, {}, {"response_schema": NUMBER}, "DECISION_SCHEMA"),
    ("APPROVE", None, {"output_schema": NUMBER}, {}, "DECISION_SCHEMA"),
    ("APPROVE", None, {"output_schema": NUMBER, "input": "${input}"}, {}, ""),
    ("APPROVE", {"m": 1}, {"output_schema": NUMBER, "input": "${input}"}, {}, "DECISION_SCHEMA"),
    ("REJECT", None, {"output_schema": NUMBER}, {"response_schema": NUMBER}, ""),
    ("REJECT", {"m": 1}, {"output_schema": NUMBER}, {"response_schema": NUMBER}, ""),
    ("RESPOND", None, {}, {}, "DECISION_SCHEMA"),
    ("RESPOND", 5, {}, {}, ""),
    ("RESPOND", 5, {}, {"response_schema": NUMBER}, "DECISION_SCHEMA"),
    ("RESPOND", 5, {"output_schema": NUMBER}, {}, "DECISION_SCHEMA"),
    ("RESPOND", {"n": 5}, {"output_schema": NUMBER}, {"response_schema": NUMBER}, ""),
    ("EDIT", None, {"input": "${input}"}, {}, "DECISION_SCHEMA"),
    ("EDIT", {"m": 1}, {"input": "${input}"}, {}, ""),
    ("EDIT", {"m": 1}, {"input": "${input}", "input_schema": NUMBER}, {}, "DECISION_SCHEMA"),
    ("EDIT", {"n": 7}, {"input": "${input}", "input_schema": NUMBER}, {}, ""),
    ("EDIT", {"m": 1}, {"input": "${input}"}, {"response_schema": NUMBER}, ""),
]


@pytest.mark.parametrize(("said", "value", "step", "gate", "refused"), PAYLOADS)
def test_data_that_come_along(
    said: str, value: object, step: dict[str, Any], gate: dict[str, Any], refused: str
) -> None:
    decisions = EVERYTHING if "input" in step else ["APPROVE", "REJECT", "RESPOND", "DELEGATE"]
    play = _play({"decisions": decisions, **gate}, **step)

    assert _reason(play, said, value=value) == refused


@pytest.mark.parametrize("said", ["APPROVE", "REJECT", "RESPOND", "EDIT"])
@pytest.mark.parametrize(
    "sent",
    [
        Payload(data=b"{not json"),
        Payload(data=b"\x00\xff", metadata={"encoding": b"binary/plain"}),
    ],
    ids=["no JSON", "another encoding"],
)
def test_data_nobody_can_read_are_refused_before_anything_is_recorded(said: str, sent: Payload) -> None:
    play = _play({"decisions": EVERYTHING}, input="${input}")
    record = play.record("g")
    assert record.gate is not None
    decision = Decision.Value(f"DECISION_{said}")

    command = c.DecideGate("g", record.revision, record.gate.content_hash, decision, sent)
    with pytest.raises(Refused) as caught:
        play.do(command, "bob")

    assert caught.value.reason == ErrorReason.ERROR_REASON_DECISION_SCHEMA
    assert caught.value.violations[0][0] == "payload"
    assert play.state("g") == st.WAITING


def test_violations_name_the_field() -> None:
    play = _play({"decisions": ["RESPOND"], "response_schema": NUMBER})

    with pytest.raises(Refused) as caught:
        play.say("g", "RESPOND", value={"n": "five"})

    assert [field for field, _ in caught.value.violations] == ["payload.n"]


QUORUMS = [
    # quorum, veto, named approvers, decisions, resolution
    (1, True, 0, "A", "APPROVED"),
    (1, True, 0, "R", "REJECTED"),
    (2, True, 0, "A", ""),
    (2, True, 0, "AA", "APPROVED"),
    (2, True, 0, "AR", "REJECTED"),
    (3, True, 0, "AAA", "APPROVED"),
    (2, False, 0, "R", ""),
    (2, False, 0, "RRR", ""),  # without names nobody knows how many there are
    (2, False, 0, "RAA", "APPROVED"),
    (2, False, 3, "R", ""),
    (2, False, 3, "RR", "REJECTED"),
    (2, False, 3, "RAA", "APPROVED"),
    (1, False, 2, "R", ""),
    (1, False, 2, "RR", "REJECTED"),
    (1, False, 2, "RA", "APPROVED"),
    (2, False, 2, "R", "REJECTED"),
]


@pytest.mark.parametrize(("quorum", "veto", "named", "said", "resolution"), QUORUMS)
def test_quorum(quorum: int, veto: bool, named: int, said: str, resolution: str) -> None:
    people = ["bob", "cid", "dan", "eve"]
    approvers = {"approvers": {"principals": people[:named]}} if named else {}
    play = _play({"quorum": quorum, "veto": veto, **approvers})
    for who, letter in zip(people, said, strict=False):
        assert play.state("g") == st.WAITING
        play.say("g", {"A": "APPROVE", "R": "REJECT"}[letter], who)

    if resolution:
        output = play.record("g").output
        assert output is not None
        value = json.loads(output.data)
        assert value["resolution"] == resolution
        assert value["decided_by"] == people[len(said) - 1]
        assert [one["by"] for one in value["decisions"]] == people[: len(said)]
    else:
        assert play.state("g") == st.WAITING


def test_the_starter_who_may_not_decide_does_not_count_for_the_quorum() -> None:
    approvers = {"principals": ["ann", "bob", "bob"], "exclude_starter": True}
    play = _play({"quorum": 1, "veto": False, "approvers": approvers}, by="ann")

    play.say("g", "REJECT", "bob")

    assert not play.run.open


def test_the_order_of_the_checks() -> None:
    """Each decision is wrong in every way that is left; what is said first is what comes first."""
    play = _play({"approvers": {"principals": ["bob"]}})

    assert _reason(play, "RESPOND", "eve", revision=9, content_hash=b"x") == "GATE_REVISION"
    assert _reason(play, "RESPOND", "eve", content_hash=b"x") == "GATE_HASH"
    assert _reason(play, "RESPOND", "eve") == "DECISION_NOT_ALLOWED"
    assert _reason(play, "APPROVE", "eve") == "NOT_AN_APPROVER"
    assert _reason(play, "APPROVE", "bob") == ""
    assert _reason(play, "RESPOND", "eve", revision=9, content_hash=b"x") == "GATE_RESOLVED"


SHOWN: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {}),
    ({"title": "Stop?"}, {}),
    ({"body": "text"}, {}),
    ({"action": {"name": "send"}}, {}),
    ({"action": {"name": "send", "risk": "HIGH"}}, {}),
    ({"action": {"name": "send", "args": {"n": 1}}}, {}),
    ({}, {"input": 1}),
    ({}, {"input": 2}),
]


def test_the_content_hash_covers_everything_that_is_shown() -> None:
    gates = [_play(gate, **step).record("g").gate for gate, step in SHOWN]

    assert len({gate.content_hash for gate in gates if gate is not None}) == len(SHOWN)
