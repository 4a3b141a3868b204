"""One decision and every way it can end, in the words that are shown."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from holdfast.errors import (
    ClientClosedError,
    DecidedAlreadyError,
    GateChangedError,
    GateResolvedError,
    HoldfastError,
    RunClosedError,
    SchemaViolationError,
    ServerError,
    UnavailableError,
)
from holdfast.scrub import scrub
from holdfast.v1.definition_pb2 import Decision
from holdfast.v1.gate_pb2 import Gate, GateState
from holdfast_tui.client.port import TuiClient
from holdfast_tui.store.gate_page import approvals
from holdfast_tui.store.times import Moments
from holdfast_tui.store.words import decision_name, gate_outcome

__all__ = ["Ending", "Outcome", "decide"]


class Ending(StrEnum):
    """How a decision ended."""

    RECORDED = "recorded"
    """It counts."""
    LATE = "late"
    """The gate was resolved before."""
    CHANGED = "changed"
    """The gate shows something else by now."""
    REFUSED = "refused"
    """The gate does not take it."""
    UNKNOWN = "unknown"
    """No answer came; it may have been recorded."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a decision ended, in words.

    Attributes:
        ending: How it ended.
        sentence: What happened.
        next: What to do now; empty if there is nothing.
        gate: The gate afterwards, if the decision was recorded.
    """

    ending: Ending
    sentence: str
    next: str = ""
    gate: Gate | None = None


async def decide(
    client: TuiClient, gate: Gate, decision: Decision.ValueType, comment: str, request_id: str, moments: Moments
) -> Outcome:
    """Send a decision and return how it ended; nothing the server says is an exception here.

    Args:
        client: The server.
        gate: The gate as it was shown; revision and hash of the decision are those of it.
        decision: The decision.
        comment: Why; empty for no comment.
        request_id: The same for every try of the same decision, so that it counts once.
        moments: The present time, for the words.
    """
    try:
        after = await client.decide(gate, decision, comment, request_id)
    except HoldfastError as fault:
        return _refused(fault, gate, moments)
    return Outcome(Ending.RECORDED, _recorded(after, decision), gate=after)


def _recorded(gate: Gate, decision: int) -> str:
    if gate.state == GateState.GATE_STATE_OPEN:
        name = decision_name(decision)
        return f"{name} recorded: {approvals(gate)} of {gate.quorum} approvals. The gate stays open."
    return f"{gate_outcome(gate).text}: {scrub(gate.content.title or gate.step_path)}"


def _refused(fault: HoldfastError, gate: Gate, moments: Moments) -> Outcome:
    match fault:
        case GateResolvedError():
            by = f" by {scrub(fault.decided_by)}" if fault.decided_by else ""
            outcome = scrub(fault.resolution) or "resolved"
            when = _when(fault.decided_at, moments)
            return Outcome(Ending.LATE, f"Already {outcome}{by}{when}.", "Nothing was changed by you.")
        case RunClosedError():
            return Outcome(Ending.LATE, f"The run is closed: {scrub(fault.message)}", "Nothing was changed by you.")
        case GateChangedError():
            sentence = f"The gate shows something else by now: {scrub(fault.message)}"
            return Outcome(Ending.CHANGED, sentence, "Go back, read it again, and decide on that.")
        case DecidedAlreadyError():
            return Outcome(Ending.REFUSED, scrub(fault.message), "Somebody else has to decide now.")
        case SchemaViolationError():
            command = scrub(f"holdfast gate approve {gate.run_id} {gate.step_path} --payload JSON")
            return Outcome(Ending.REFUSED, _with_violations(fault), f"It needs data that fits: {command}")
        case UnavailableError() | ClientClosedError():
            sentence = f"No answer: {scrub(str(fault))}"
            return Outcome(Ending.UNKNOWN, sentence, "It may have been recorded. Sending it again counts once.")
        case ServerError():
            return Outcome(Ending.REFUSED, _with_violations(fault), "The gate is as it was.")
        case _:
            return Outcome(Ending.REFUSED, scrub(str(fault)), "The gate is as it was.")


def _with_violations(fault: ServerError) -> str:
    reason = fault.reason or fault.code
    details = [f"{v.field}: {v.description}" for v in fault.violations if v.description not in fault.message]
    return scrub("; ".join([f"{fault.message} ({reason})", *details]))


def _when(rfc3339: str, moments: Moments) -> str:
    try:
        return f" at {moments.ago(datetime.fromisoformat(rfc3339).timestamp())}"
    except (ValueError, OverflowError):
        return f" at {scrub(rfc3339)}" if rfc3339 else ""
