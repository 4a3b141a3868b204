"""`holdfast gate`: what is shown is what is decided on, and danger is confirmed."""

import json
from pathlib import Path

import pytest

from holdfast.v1 import gate_service_pb2 as gates
from holdfast.v1.definition_pb2 import Decision
from tests.unit.cli import samples
from tests.unit.cli.samples import RUN_ID
from tests.unit.cli.stage import Stage
from tests.unit.cli.test_golden import fill


@pytest.fixture
def low(stage: Stage) -> Stage:
    """A stage whose gate is of low risk."""
    fill(stage)
    stage.answers["GetGate"] = gates.GetGateResponse(gate=samples.low_gate())
    return stage


@pytest.fixture
def high(stage: Stage) -> Stage:
    """A stage whose gate is of high risk."""
    fill(stage)
    return stage


def test_a_decision_is_on_the_revision_and_hash_that_were_shown(low: Stage) -> None:
    result = low.call("gate", "approve", RUN_ID, "review", "--comment", "fine", "--payload", '{"n": 1}', "-o", "json")

    sent = low.got("DecideGate")
    assert result.exit_code == 0
    assert (sent.run_id, sent.step_path, sent.revision) == (RUN_ID, "review", 2)
    assert sent.content_hash == bytes(range(32))
    assert (sent.decision, sent.comment) == (Decision.DECISION_APPROVE, "fine")
    assert sent.payload.data == b'{"n": 1}'
    assert json.loads(result.stdout)["resolution"] == "APPROVED"
    assert "It *holds*." in result.stderr, "what is decided on was shown"


def test_without_a_step_the_only_open_gate_is_meant(low: Stage) -> None:
    low.call("gate", "reject", RUN_ID)

    assert low.got("GetGate").step_path == ""
    assert low.got("DecideGate").step_path == "review"


@pytest.mark.parametrize(("answer", "decided"), [("y", True), ("YES", True), ("n", False), ("", False), ("yep", False)])
def test_somebody_at_a_terminal_is_asked(low: Stage, answer: str, decided: bool) -> None:
    low.typed = [answer]

    result = low.call("gate", "approve", RUN_ID)

    assert "APPROVE this? [y/N] " in result.stderr
    assert ("DecideGate" in low.requests) == decided
    assert result.exit_code == (0 if decided else 1)


@pytest.mark.parametrize("option", [("--yes",), ("--revision", "2")])
def test_nobody_is_asked_who_has_said_it(low: Stage, option: tuple[str, ...]) -> None:
    low.typed = []

    assert low.call("gate", "approve", RUN_ID, *option).exit_code == 0


def test_another_revision_than_the_one_named_is_not_decided_on(low: Stage) -> None:
    result = low.call("gate", "approve", RUN_ID, "--revision", "1")

    assert result.exit_code == 1
    assert "error: the gate shows revision 2 by now, not 1 (GATE_REVISION)" in result.stderr
    assert "DecideGate" not in low.requests


@pytest.mark.parametrize("verb", [("approve",), ("respond", "--payload", "{}")])
@pytest.mark.parametrize("options", [(), ("--yes",), ("--revision", "2")])
def test_high_risk_needs_the_run_id_on_the_line_without_a_terminal(
    high: Stage, verb: tuple[str, ...], options: tuple[str, ...]
) -> None:
    result = high.call("gate", verb[0], RUN_ID, *verb[1:], *options)

    assert result.exit_code == 2
    assert "error: the action is of HIGH risk and must be confirmed" in result.stderr
    assert f"add --yes-i-mean {RUN_ID}" in result.stderr
    assert "DecideGate" not in high.requests


def test_high_risk_confirmed_on_the_line(high: Stage) -> None:
    assert high.call("gate", "approve", RUN_ID, "--yes-i-mean", RUN_ID).exit_code == 0
    assert "DecideGate" in high.requests


def test_high_risk_confirmed_with_another_run_id(high: Stage) -> None:
    result = high.call("gate", "approve", RUN_ID, "--yes-i-mean", "r-2")

    assert result.exit_code == 2
    assert "DecideGate" not in high.requests


@pytest.mark.parametrize(("typed", "decided"), [(RUN_ID, True), ("yes", False), ("", False)])
def test_high_risk_is_typed_at_a_terminal(high: Stage, typed: str, decided: bool) -> None:
    high.typed = [typed]

    result = high.call("gate", "approve", RUN_ID, "--yes")

    assert "type the run id: " in result.stderr
    assert ("DecideGate" in high.requests) == decided
    assert result.exit_code == (0 if decided else 1)


def test_refusing_high_risk_needs_no_confirmation(high: Stage) -> None:
    assert high.call("gate", "reject", RUN_ID).exit_code == 0


@pytest.mark.parametrize("verb", ["approve", "reject", "edit"])
def test_somebody_was_faster(stage: Stage, verb: str) -> None:
    stage.answers["GetGate"] = gates.GetGateResponse(gate=samples.resolved_gate())

    result = stage.call("gate", verb, RUN_ID, "review")

    assert result.exit_code == 1
    assert "error: the gate is resolved: APPROVED by bob at 14:05:25 (5s ago) (GATE_RESOLVED)" in result.stderr
    assert f"holdfast gate show {RUN_ID} review" in result.stderr
    assert "DecideGate" not in stage.requests


def test_edit_sends_the_new_subject_and_shows_the_difference(low: Stage) -> None:
    edited = samples.low_gate()
    edited.revision = 3
    low.answers["DecideGate"] = gates.DecideGateResponse(gate=edited)

    result = low.call("gate", "edit", RUN_ID, "--payload", '{"path": "out/other.md", "copies": 1152921504606846976}')

    assert low.got("DecideGate").decision == Decision.DECISION_EDIT
    assert '-  "path": "out/report.md"' in result.stderr
    assert '+  "path": "out/other.md"' in result.stderr
    assert "OPEN  review of" in result.stdout
    assert "revision 3, 0 of 2 approvals" in " ".join(result.stdout.split())


def _editor(tmp_path: Path, program: str) -> str:
    script = tmp_path / "editor"
    script.write_text(f"#!/bin/sh\n{program}\n")
    script.chmod(0o755)
    return str(script)


def test_edit_opens_the_editor_of_the_person(low: Stage, tmp_path: Path) -> None:
    low.typed = []
    editor = _editor(tmp_path, 'sed -i s/report.md/mine.md/ "$2"')

    result = low.call("gate", "edit", RUN_ID, VISUAL=f"{editor} --flag", EDITOR="false")

    sent = json.loads(low.got("DecideGate").payload.data)
    assert result.exit_code == 0
    assert sent == {"path": "out/mine.md", "copies": 2**60}


def test_an_edit_that_changes_nothing_decides_nothing(low: Stage) -> None:
    low.typed = []

    result = low.call("gate", "edit", RUN_ID, EDITOR="true")

    assert (result.exit_code, "DecideGate" in low.requests) == (0, False)
    assert "nothing was changed" in result.stderr


def test_an_edit_that_is_no_json_is_kept(low: Stage, tmp_path: Path) -> None:
    low.typed = []

    result = low.call("gate", "edit", RUN_ID, EDITOR=_editor(tmp_path, 'echo "{oops" > "$1"'))

    kept = Path(result.stderr.rpartition("--payload @")[2].strip())
    assert result.exit_code == 2
    assert "not JSON" in result.stderr
    assert kept.read_text() == "{oops\n"
    assert "DecideGate" not in low.requests
    kept.unlink()


@pytest.mark.parametrize(
    ("editor", "message"), [("/nowhere/vi", "cannot start the editor"), ("false", "ended with code")]
)
def test_an_editor_that_fails_decides_nothing(low: Stage, editor: str, message: str) -> None:
    low.typed = []

    result = low.call("gate", "edit", RUN_ID, EDITOR=editor)

    assert result.exit_code in (1, 2)
    assert message in result.stderr
    assert "DecideGate" not in low.requests


def test_edit_without_a_terminal_asks_for_a_payload(low: Stage) -> None:
    result = low.call("gate", "edit", RUN_ID)

    assert result.exit_code == 2
    assert "--payload @FILE" in result.stderr


def test_respond_sends_its_data(low: Stage) -> None:
    low.call("gate", "respond", RUN_ID, "--payload", '"forty-two"')

    sent = low.got("DecideGate")
    assert (sent.decision, sent.payload.data) == (Decision.DECISION_RESPOND, b'"forty-two"')


@pytest.mark.parametrize("decision", ["RETRY", "skip", "FAIL"])
def test_a_review_takes_its_own_decisions(stage: Stage, decision: str) -> None:
    fill(stage)
    stage.answers["GetGate"] = gates.GetGateResponse(gate=samples.review_gate())

    assert stage.call("gate", "decide", decision, RUN_ID, "mend", "-p", "1").exit_code == 0
    assert stage.got("DecideGate").decision == Decision.Value(f"DECISION_{decision.upper()}")


def test_delegating_names_who(low: Stage) -> None:
    low.call("gate", "decide", "DELEGATE", RUN_ID, "--to", "bob", "--to", "eve")

    assert list(low.got("DecideGate").delegate_to.principals) == ["bob", "eve"]


def test_list_asks_for_what_was_named(stage: Stage) -> None:
    result = stage.call("gate", "list", "--run", "r-1", "--workflow", "w")

    asked = stage.got("ListGates")
    assert (asked.run_id, asked.workflow) == ("r-1", "w")
    assert "run r-1 has no gate so far" in result.stderr


def test_show_for_programs(high: Stage) -> None:
    shown = json.loads(high.call("gate", "show", RUN_ID, "-o", "json").stdout)

    assert shown["content"]["body"] == "# Draft\n\nIt *holds*."
    assert shown["content"]["subject"]["copies"] == 2**60
    assert shown["content_hash"] == bytes(range(32)).hex()
    assert shown["response_schema"] == {"type": "object"}
