"""Gates: the list, and the page of one with exactly what a decision would be on."""

import json
import shlex
from collections.abc import Iterable, Iterator
from difflib import unified_diff

from rich.console import Group, RenderableType
from rich.text import Text

from holdfast.cli.render.columns import Column, Listing
from holdfast.cli.render.json import dumps, payload_value
from holdfast.cli.render.payloads import (
    block,
    facts,
    failure_text,
    hanging,
    json_text,
    payload_line,
    payload_text,
    section,
)
from holdfast.cli.render.times import Moments
from holdfast.cli.render.words import actor_name, decision_word, gate_state, resolution_word, risk_word, safe
from holdfast.scrub import scrub
from holdfast.v1.definition_pb2 import Approvers, OnDeadline, Risk
from holdfast.v1.gate_pb2 import Gate, GateReason, GateState, ResolutionRule
from holdfast.v1.payload_pb2 import Payload

__all__ = ["difference", "gate_list", "gate_page", "gate_result", "resolved_by"]


def gate_list(gates: Iterable[Gate], moments: Moments) -> Listing:
    """Return gates as a list; below each, what it asks."""
    listing = Listing([Column("RUN"), Column("STEP", shrinks=True), Column("OPEN SINCE"), Column("DEADLINE")])
    for gate in gates:
        asks = Text()
        if gate.state != GateState.GATE_STATE_OPEN:
            asks.append_text(_outcome(gate)).append("  ")
        if gate.reason == GateReason.GATE_REASON_ERROR_REVIEW:
            asks.append("review of a failure  ", style="yellow")
        if gate.content.action.risk == Risk.RISK_HIGH and gate.state == GateState.GATE_STATE_OPEN:
            asks.append("HIGH risk  ", style="bold red")
        listing.add(
            safe(gate.run_id),
            safe(gate.step_path),
            moments.when(gate.open_time),
            moments.ago(gate.deadline_time) if gate.HasField("deadline_time") else "–",
            notes=[asks + safe(gate.content.title)],
        )
    return listing


def gate_page(gate: Gate, moments: Moments) -> Group:
    """Return everything about a gate; nothing of what is decided on is cut."""
    return Group(*_parts(gate, moments))


def _parts(gate: Gate, moments: Moments) -> Iterator[RenderableType]:
    yield safe(gate.content.title, "bold")
    yield facts(_facts(gate, moments))
    if gate.HasField("failure"):
        more = f"holdfast run show {shlex.quote(scrub(gate.run_id))} --step {shlex.quote(scrub(gate.step_path))} --full"
        yield section("Failure under review", failure_text(gate.failure, more=more))
    if gate.content.HasField("body"):
        body = gate.content.body
        value = payload_value(body)
        # As it is written, not rendered: rendering hides parts of what is decided on.
        text = block(value, lines_max=None) if isinstance(value, str) else payload_text(body, lines_max=None)
        yield section("Body", text)
    if gate.content.HasField("subject"):
        yield section("Proposed", payload_text(gate.content.subject, lines_max=None))
    if gate.HasField("response_schema"):
        yield section("Payload must fit", json_text(gate.response_schema, lines_max=None))
    if gate.decided:
        yield section("Decisions so far", *_decided(gate, moments))


def _facts(gate: Gate, moments: Moments) -> Iterator[tuple[str, Text]]:
    yield "run", safe(f"{gate.run_id} ({gate.workflow})")
    yield "step", safe(gate.step_path)
    yield "state", _outcome(gate)
    if gate.state == GateState.GATE_STATE_RESOLVED:
        yield "resolved", Text(f"by {resolved_by(gate)} at {moments.full(gate.resolve_time)}")
    if gate.content.HasField("action"):
        action = gate.content.action
        yield "action", safe(f"{action.name or 'unnamed'}, risk ") + risk_word(action.risk)
    yield "revision", Text(f"{gate.revision}, hash {gate.content_hash.hex()[:16]}…")
    if gate.state == GateState.GATE_STATE_OPEN:
        yield "takes", Text(", ").join(decision_word(decision) for decision in gate.decisions)
    yield "approvers", Text(_approvers(gate))
    yield "open since", Text(moments.full(gate.open_time))
    if gate.HasField("deadline_time"):
        rule = OnDeadline.Name(gate.on_deadline or OnDeadline.ON_DEADLINE_FAIL).removeprefix("ON_DEADLINE_")
        yield "deadline", Text(f"{moments.full(gate.deadline_time)}, then {rule}")


def _outcome(gate: Gate) -> Text:
    return resolution_word(gate.resolution) if gate.resolution else gate_state(gate.state)


def _approvers(gate: Gate) -> str:
    who = _names(gate.approvers)
    if gate.approvers.exclude_starter:
        who += ", but not who started the run"
    return f"{who}; {gate.quorum} must approve" if gate.quorum > 1 else who


def _names(approvers: Approvers) -> str:
    people = [scrub(name) for name in approvers.principals]
    roles = [f"role {scrub(name)}" for name in approvers.roles]
    return ", ".join(people + roles) or "anyone"


def _decided(gate: Gate, moments: Moments) -> Iterator[RenderableType]:
    for decision in gate.decided:
        line = decision_word(decision.decision)
        line.append_text(safe(f" by {actor_name(decision.actor)} at {moments.full(decision.time)}"))
        line.append(f", revision {decision.revision}", style="dim")
        if decision.comment:
            line.append_text(safe(f": {decision.comment}"))
        if decision.HasField("payload"):
            line.append_text(safe(f" {payload_line(decision.payload)}", "dim"))
        yield hanging(line)


def resolved_by(gate: Gate) -> str:
    """Return who or what resolved a gate."""
    if gate.resolution_rule == ResolutionRule.RESOLUTION_RULE_DEADLINE:
        return "its deadline"
    return actor_name(gate.resolved_by)


def gate_result(gate: Gate, moments: Moments) -> Text:
    """Return one line on a gate after a decision: what it is now, or what it still needs."""
    where = safe(f"{gate.step_path} of {gate.run_id}")
    if gate.state != GateState.GATE_STATE_OPEN:
        return Text.assemble(_outcome(gate), "  ", where, f" at {moments.clock(gate.resolve_time)}")
    approvals = sum(
        decision.revision == gate.revision and decision_word(decision.decision).plain == "APPROVE"
        for decision in gate.decided
    )
    line = Text.assemble(_outcome(gate), "  ", where, f"  revision {gate.revision}")
    return line.append(f", {approvals} of {gate.quorum} approvals" if gate.quorum > 1 else "")


def difference(before: Payload, after: object) -> Text:
    """Return what an edit changes, line by line."""
    old, new = _lines(payload_value(before)), _lines(after)
    result = Text()
    for line in list(unified_diff(old, new, n=2, lineterm=""))[2:]:
        style = {"+": "green", "-": "red"}.get(line[:1], "dim")
        result.append(f"  {scrub(line)}\n", style=style)
    result.rstrip()
    return result


def _lines(value: object) -> list[str]:
    return json.dumps(value, indent=2, ensure_ascii=False).splitlines() if value is not None else dumps(None).split()
