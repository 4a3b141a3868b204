"""Approve and reject: on exactly what was shown, told only when the server has answered, whatever it answers."""

import pytest

from holdfast.errors import (
    DecidedAlreadyError,
    DecisionRefusedError,
    GateChangedError,
    GateResolvedError,
    HoldfastError,
    RunClosedError,
    SchemaViolationError,
    UnavailableError,
    Violation,
)
from holdfast.v1.definition_pb2 import Decision, Risk
from holdfast.v1.gate_pb2 import Gate, GateState
from holdfast.v1.payload_pb2 import JsonValue
from holdfast_tui.screens.decision import DecisionDialog
from tests.tui.fake import Decided, FakeClient, Seat, seated, watching
from tests.tui.making import gate, json_payload, markdown, reference, resolved, said, summary


def is_asking(seat: Seat) -> bool:
    return isinstance(seat.app.screen, DecisionDialog)


async def ask(seat: Seat, key: str) -> None:
    """Open the dialog of a decision."""
    await seat.reads("OPEN")
    await seat.press(key)
    await seat.until(lambda: is_asking(seat))
    await seat.until(lambda: seat.app.screen.focused is not None)


def refusing(fault: HoldfastError) -> FakeClient:
    """A server that refuses every decision on its only gate."""

    def refuse(_made: Decided) -> Gate:
        raise fault

    client = FakeClient(on_decide=refuse)
    client.tell_all((gate(),))
    return client


@pytest.mark.asyncio
async def test_a_and_enter_approve_exactly_the_revision_and_hash_that_were_shown() -> None:
    shown = gate(revision=3, title="Third try?")
    async with watching(shown) as seat:
        await ask(seat, "a")
        await seat.sees("Approve this gate?", "Third try?", "review  of run r1", "revision 3", "ada")
        await seat.press("enter")
        await seat.until(lambda: not is_asking(seat))
        (made,) = seat.client.decided
        assert (made.gate.revision, made.gate.content_hash) == (3, shown.content_hash)
        assert (made.decision, made.comment) == (Decision.DECISION_APPROVE, "")
        assert made.request_id
        await seat.sees("Inbox", "Nothing waits for a decision.")
        await seat.reads("APPROVED by ada")
        assert seat.notes() == ["APPROVED: Third try?"]


@pytest.mark.asyncio
async def test_a_text_and_ctrl_s_approve_with_a_comment_of_several_lines() -> None:
    async with watching(gate()) as seat:
        await ask(seat, "a")
        await seat.type("looks\ngood")
        await seat.press("ctrl+s")
        await seat.until(lambda: not is_asking(seat))
        assert [made.comment for made in seat.client.decided] == ["looks\ngood"]


@pytest.mark.asyncio
async def test_r_needs_a_reason_and_ctrl_s_sends_it() -> None:
    async with watching(gate()) as seat:
        await ask(seat, "r")
        await seat.sees("Reject this gate?", "Reason (needed)")
        await seat.press("enter")
        await seat.sees("A rejection needs a reason; nothing was sent.")
        await seat.press("ctrl+s")
        assert seat.client.decided == []
        await seat.type("too long")
        await seat.press("ctrl+s")
        await seat.until(lambda: not is_asking(seat))
        (made,) = seat.client.decided
        assert (made.decision, made.comment) == (Decision.DECISION_REJECT, "too long")
        await seat.reads("REJECTED by ada", "too long")


@pytest.mark.asyncio
async def test_escape_leaves_without_a_decision() -> None:
    async with watching(gate()) as seat:
        await ask(seat, "a")
        await seat.press("escape")
        await seat.until(lambda: not is_asking(seat))
        assert seat.client.decided == []
        await seat.sees("Inbox  1")


@pytest.mark.asyncio
async def test_high_risk_needs_the_run_id_typed() -> None:
    shown = gate("run-7", action="deploy", risk=Risk.RISK_HIGH)
    async with watching(shown) as seat:
        await ask(seat, "a")
        await seat.sees("deploy", "risk HIGH", "Type the run id to")
        await seat.press("enter")
        await seat.sees("That is not the run id; nothing was sent.")
        await seat.type("run-8")
        await seat.press("ctrl+s")
        await seat.press("backspace")
        assert seat.client.decided == []
        await seat.type("7")
        await seat.press("enter")
        await seat.until(lambda: not is_asking(seat))
        assert len(seat.client.decided) == 1


@pytest.mark.asyncio
async def test_rejecting_high_risk_needs_no_run_id() -> None:
    async with watching(gate("run-7", action="deploy", risk=Risk.RISK_HIGH)) as seat:
        await ask(seat, "r")
        assert "Type the run id" not in seat.text()
        await seat.type("no")
        await seat.press("ctrl+s")
        await seat.until(lambda: not is_asking(seat))
        assert len(seat.client.decided) == 1


@pytest.mark.asyncio
async def test_nothing_is_shown_as_decided_before_the_server_has_answered() -> None:
    async with watching(gate()) as seat:
        await ask(seat, "a")
        seat.client.may_answer.clear()
        await seat.press("enter")
        await seat.sees("Sent; waiting for the server's answer")
        await seat.press("enter", "ctrl+s")  # once is enough
        assert len(seat.client.decided) == 1
        assert seat.notes() == []
        assert seat.app.store.gates.listed().total == 1
        seat.client.may_answer.set()
        await seat.until(lambda: not is_asking(seat))
        assert len(seat.client.decided) == 1


@pytest.mark.asyncio
async def test_leaving_while_it_is_sent_tells_the_answer_all_the_same() -> None:
    async with watching(gate()) as seat:
        await ask(seat, "a")
        seat.client.may_answer.clear()
        await seat.press("enter", "escape")
        await seat.until(lambda: not is_asking(seat))
        seat.client.may_answer.set()
        await seat.until(lambda: seat.notes() == ["APPROVED: Publish this?"])


@pytest.mark.asyncio
async def test_a_refusal_after_leaving_is_told_too() -> None:
    async with seated(refusing(DecisionRefusedError("you may not", reason="NOT_AN_APPROVER"))) as seat:
        await ask(seat, "a")
        seat.client.may_answer.clear()
        await seat.press("enter", "escape")
        await seat.until(lambda: not is_asking(seat))
        seat.client.may_answer.set()
        await seat.until(lambda: seat.notes() == ["you may not (NOT_AN_APPROVER) The gate is as it was."])


LATE = {"decided_by": "bob", "decided_at": "2030-03-17T17:46:00Z", "resolution": "REJECTED"}


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (GateResolvedError("gone", metadata=LATE), ("Already REJECTED by bob at", "(40s ago)")),
        (GateResolvedError("gone", metadata={"resolution": "CANCELED"}), ("Already CANCELED.",)),
        (RunClosedError("run r1 is closed"), ("The run is closed: run r1 is closed",)),
        (
            GateChangedError("it is at revision 2"),
            ("shows something else by now: it is at revision 2", "read it again"),
        ),
        (DecisionRefusedError("not you", reason="NOT_AN_APPROVER"), ("not you (NOT_AN_APPROVER)", "as it was")),
        (DecidedAlreadyError("you decided before"), ("you decided before", "Somebody else has to decide now.")),
        (
            SchemaViolationError(
                "does not fit", reason="DECISION_SCHEMA", violations=(Violation("payload", "is null"),)
            ),
            ("does not fit (DECISION_SCHEMA); payload: is null", "holdfast gate approve r1 review --payload JSON"),
        ),
        (HoldfastError("something else"), ("something else",)),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
@pytest.mark.asyncio
async def test_a_refusal_is_told_with_who_and_why_and_ends_the_dialog_by_escape(
    fault: HoldfastError, words: tuple[str, ...]
) -> None:
    async with seated(refusing(fault)) as seat:
        await ask(seat, "a")
        await seat.press("enter")
        await seat.sees("esc back to the gate")
        told = " ".join(seat.text().replace("│", " ").split())
        assert all(word in told for word in words), told
        await seat.press("ctrl+s", "enter")  # it is over
        assert len(seat.client.decided) == 1
        await seat.press("escape")
        await seat.until(lambda: not is_asking(seat))
        assert seat.notes() == []


@pytest.mark.asyncio
async def test_without_an_answer_the_same_decision_is_sent_again_as_the_same() -> None:
    client = refusing(UnavailableError("no server answers", code="UNAVAILABLE"))
    async with seated(client) as seat:
        await ask(seat, "a")
        await seat.press("enter")
        await seat.sees("No answer: UNAVAILABLE: no server answers", "It may have been recorded.")
        client.on_decide = None
        await seat.press("ctrl+s")
        await seat.until(lambda: not is_asking(seat))
        first, second = client.decided
        assert first.request_id == second.request_id


@pytest.mark.asyncio
async def test_another_comment_makes_it_another_decision() -> None:
    client = refusing(UnavailableError("no server answers", code="UNAVAILABLE"))
    async with seated(client) as seat:
        await ask(seat, "a")
        await seat.press("enter")
        await seat.sees("No answer")
        client.on_decide = None
        await seat.type("fine")
        await seat.press("ctrl+s")
        await seat.until(lambda: not is_asking(seat))
        first, second = client.decided
        assert first.request_id != second.request_id


@pytest.mark.asyncio
async def test_somebody_faster_is_shown_in_the_open_dialog_with_who_and_when() -> None:
    shown = gate()
    async with watching(shown) as seat:
        await ask(seat, "r")
        seat.client.tell_gates(resolved(shown, by="carol"))
        await seat.sees("Already APPROVED by carol at", "(10s ago)", "Nothing was changed by you.")
        await seat.press("ctrl+s")
        assert seat.client.decided == []


@pytest.mark.asyncio
async def test_a_new_revision_ends_the_dialog_on_the_old_one() -> None:
    async with watching(gate(title="First words")) as seat:
        await ask(seat, "a")
        seat.client.tell_gates(gate(title="Other words", revision=2))
        await seat.sees("The gate shows revision 2 by now.", "read it again")
        await seat.press("enter")
        assert seat.client.decided == []
        await seat.press("escape")
        await seat.reads("Other words", "revision 2")


@pytest.mark.asyncio
async def test_a_gate_whose_step_was_cancelled_says_so() -> None:
    shown = gate()
    canceled = Gate()
    canceled.CopyFrom(shown)
    canceled.state = GateState.GATE_STATE_CANCELED
    async with watching(shown) as seat:
        await ask(seat, "a")
        seat.client.tell_gates(canceled)
        await seat.sees("The gate was closed: its step was cancelled.")
        await seat.press("escape", "a")
        await seat.until(lambda: seat.notes() == ["The gate is closed: its step was cancelled."])


@pytest.mark.asyncio
async def test_one_of_two_approvals_leaves_the_gate_open_and_says_so() -> None:
    def record(made: Decided) -> Gate:
        after = Gate()
        after.CopyFrom(made.gate)
        after.decided.append(said("ada", Decision.DECISION_APPROVE))
        return after

    async with watching(gate(quorum=2)) as seat:
        seat.client.on_decide = record
        await ask(seat, "a")
        await seat.press("enter")
        await seat.until(lambda: seat.notes() == ["APPROVE recorded: 1 of 2 approvals. The gate stays open."])
        await seat.reads("OPEN", "1 of 2 so far", "APPROVE  ada")


@pytest.mark.asyncio
async def test_a_gate_says_which_decisions_it_takes_where_this_is_none() -> None:
    decisions = (Decision.DECISION_RETRY, Decision.DECISION_SKIP, Decision.DECISION_FAIL)
    async with watching(gate(decisions=decisions)) as seat:
        await seat.reads("takes RETRY, SKIP, FAIL", "holdfast gate decide RETRY r1 review")
        await seat.press("a")
        await seat.until(lambda: seat.notes() == ["This gate takes RETRY, SKIP, FAIL, not APPROVE."])
        assert not is_asking(seat)


@pytest.mark.asyncio
async def test_data_that_has_to_come_along_is_told_with_the_command() -> None:
    shown = gate()
    shown.response_schema.CopyFrom(JsonValue(json='{"type":"object"}'))
    async with watching(shown) as seat:
        await seat.reads("Data that has to come along", "holdfast gate approve r1 review --payload", '"type": "object"')


@pytest.mark.asyncio
async def test_from_a_run_the_key_leads_to_its_gate_first() -> None:
    async with watching(gate("r1", title="Of the run?"), gate("r2"), runs=(summary("r1"),)) as seat:
        await seat.press("down", "2")
        await seat.until(lambda: seat.overview.shown.key == "r1")
        await seat.press("a")
        await seat.until(lambda: seat.overview.shown.key == ("r1", "review"))
        assert not is_asking(seat)
        assert seat.notes() == ["This is the gate of the run. Read it, then decide."]
        await ask(seat, "a")


@pytest.mark.asyncio
async def test_without_a_gate_the_key_says_what_to_do() -> None:
    async with watching() as seat:
        await seat.press("a")
        await seat.until(lambda: seat.notes() == ["Select an open gate first."])


@pytest.mark.asyncio
async def test_a_gate_is_only_decided_once_all_of_it_is_here() -> None:
    part = gate(subject=reference())
    whole = gate(subject=json_payload({"all": "of it"}))
    whole.content_hash = part.content_hash
    client = FakeClient(gates={("r1", "review"): whole})
    client.may_answer.clear()
    client.tell_all((part,))
    async with seated(client) as seat:
        await seat.reads("Loading all of what is decided on", "9,000 bytes, left on the server")
        await seat.press("a")
        await seat.until(lambda: seat.notes() == ["Not all of what is decided on is here yet."])
        assert not is_asking(seat)
        client.may_answer.set()
        await seat.reads('"all": "of it"')
        await ask(seat, "a")
        await seat.press("enter")
        await seat.until(lambda: not is_asking(seat))
        assert client.decided[0].gate is whole


@pytest.mark.asyncio
async def test_what_is_too_long_for_the_screen_is_said_where_it_is_decided() -> None:
    async with watching(gate(body=markdown("word " * 20_000))) as seat:
        await seat.reads("characters more: holdfast gate show r1 review")
        await ask(seat, "a")
        await seat.sees("Not all of it is on the screen")


@pytest.mark.asyncio
async def test_a_comment_over_the_limit_is_refused_before_it_is_sent() -> None:
    async with watching(gate()) as seat:
        await ask(seat, "a")
        seat.app.screen.query_one("#comment").insert("x" * 17_000)  # type: ignore[attr-defined]
        await seat.press("ctrl+s")
        await seat.sees("The comment has 17,000 bytes, at most 16,384 are taken;")
        assert seat.client.decided == []


@pytest.mark.asyncio
async def test_read_only_has_no_decisions_at_all() -> None:
    async with watching(gate(), is_read_only=True) as seat:
        await seat.reads("OPEN")
        await seat.sees("READ-ONLY")
        assert "Approve" not in seat.text()
        assert "Reject" not in seat.text()
        await seat.press("a", "r")
        await seat.overview.action_decide("APPROVE")
        assert not is_asking(seat)
        await seat.press("question_mark")
        await seat.sees("Help")
        assert "approve the gate" not in seat.text()
