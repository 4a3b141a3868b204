"""Checks one person's decision and carries it out.

The order of the checks is part of the contract: a gate that is resolved says who did it before anything else is looked
at, then the decision must be on exactly what was shown, then the person and what they say are checked.
"""

from collections.abc import Sequence

import jsonpatch

from holdfast.v1.actor_pb2 import Actor
from holdfast.v1.definition_pb2 import Approvers, Decision
from holdfast.v1.errors_pb2 import ErrorReason
from holdfast.v1.gate_history_pb2 import GateDecisionRecorded, GateRevised, ReviseCause
from holdfast.v1.gate_pb2 import GateContent, Resolution, ResolutionRule
from holdfast.v1.payload_pb2 import Payload
from holdfast_server.engine.commands import DecideGate
from holdfast_server.engine.json_values import encode
from holdfast_server.engine.payloads import OpaquePayloadError
from holdfast_server.engine.plan import StepPlan
from holdfast_server.engine.refusal import Refused, field_path
from holdfast_server.engine.schemas import Schema
from holdfast_server.engine.state import GateRecord, RunState, Scope, StepRecord
from holdfast_server.engine.steps import gate as gates, review
from holdfast_server.engine.times import iso
from holdfast_server.engine.turn import Turn

__all__ = ["approvers_of", "decide_gate", "decisions_of", "find_gate", "resolver_of"]

PREFIX = len("DECISION_")


def find_gate(run: RunState, path: str) -> tuple[Scope, StepPlan, StepRecord, GateRecord]:
    """The gate of an activation.

    Raises:
        Refused: GATE_NOT_FOUND.
    """
    found = run.locate(path)
    if found is not None:
        record = found[0].steps[found[1].index]
        if record is not None and record.gate is not None:
            return found[0], found[1], record, record.gate
    message = f"run {run.run_id!r} has no gate at step {path!r}"
    raise Refused(ErrorReason.ERROR_REASON_GATE_NOT_FOUND, message, {"run_id": run.run_id, "step_path": path})


def decisions_of(step: StepPlan, gate: GateRecord) -> tuple[Decision.ValueType, ...]:
    """The decisions a gate takes."""
    return review.decisions_of(step) if gate.review_rule else gates.plan_of(step).decisions


def approvers_of(step: StepPlan, gate: GateRecord) -> Approvers:
    """Who may decide at present."""
    if gate.approvers is not None:
        return gate.approvers
    if gate.review_rule:
        return step.on_error[gate.review_rule - 1].approvers or Approvers()
    return gates.plan_of(step).spec.approvers


def resolver_of(gate: GateRecord) -> Actor | None:
    """Who resolved a gate; None if its deadline did, or if it is open."""
    if gate.rule == ResolutionRule.RESOLUTION_RULE_OPERATOR:
        return gate.operator
    by_people = gate.rule == ResolutionRule.RESOLUTION_RULE_DECISION and gate.decisions
    return gate.decisions[-1].actor if by_people else None


def decide_gate(turn: Turn, command: DecideGate) -> None:
    """Records a decision and, where it settles the gate, resolves it.

    Raises:
        Refused: with the reason for which the decision does not count; the gate is as it was.
    """
    scope, step, record, gate = find_gate(turn.run, command.path)
    _check_open(turn.run, record, gate)
    _check_shown(record, gate, command)
    allowed = decisions_of(step, gate)
    if command.decision not in allowed:
        names = ", ".join(Decision.Name(one)[PREFIX:] for one in allowed)
        message = f"gate {command.path!r} takes {names}"
        raise Refused(ErrorReason.ERROR_REASON_DECISION_NOT_ALLOWED, message, violations=(("decision", message),))
    _check_actor(turn, step, record, gate)
    payload = turn.bag.intern(command.payload) if command.payload is not None else None
    _check_payload(turn, step, gate, command, payload)
    actor_name = turn.actor.name if turn.actor is not None else ""
    turn.emit(
        "gate_decision_recorded",
        GateDecisionRecorded(
            path=command.path,
            revision=command.revision,
            decision=command.decision,
            payload=payload,
            comment=command.comment,
            delegate_to=command.delegate_to,
        ),
    )
    if gate.review_rule:
        review.carry_out(turn, scope, step, command.decision, payload, actor_name)
    else:
        _carry_out(turn, scope, step, command, payload)


def _check_open(run: RunState, record: StepRecord, gate: GateRecord) -> None:
    if gate.resolution:
        resolution = Resolution.Name(gate.resolution)[len("RESOLUTION_") :]
        resolver = resolver_of(gate)
        by_whom = resolver.name if resolver is not None else "its deadline"
        when = iso(gate.resolve_us)
        message = f"the gate was {resolution} by {by_whom} at {when}"
        facts = {"decided_by": by_whom, "decided_at": when, "resolution": resolution}
        raise Refused(ErrorReason.ERROR_REASON_GATE_RESOLVED, message, facts)
    if not run.open:
        message = f"run {run.run_id!r} is closed, and its gate with it"
        raise Refused(ErrorReason.ERROR_REASON_RUN_CLOSED, message, {"run_id": run.run_id})
    if record.state not in gates.OPEN_STATES:
        message = "the gate was closed because its step was cancelled"
        facts = {"decided_by": "", "decided_at": iso(record.finish_us), "resolution": "CANCELED"}
        raise Refused(ErrorReason.ERROR_REASON_GATE_RESOLVED, message, facts)


def _check_shown(record: StepRecord, gate: GateRecord, command: DecideGate) -> None:
    if command.revision != record.revision:
        message = f"the decision is on revision {command.revision}; revision {record.revision} is open: look again"
        raise Refused(
            ErrorReason.ERROR_REASON_GATE_REVISION,
            message,
            {"revision": str(record.revision)},
            (("revision", message),),
        )
    if command.content_hash != gate.content_hash:
        message = "the decision names another content than the one that is open: look again"
        raise Refused(
            ErrorReason.ERROR_REASON_GATE_HASH,
            message,
            {"content_hash": gate.content_hash.hex()},
            (("content_hash", message),),
        )


def _check_actor(turn: Turn, step: StepPlan, record: StepRecord, gate: GateRecord) -> None:
    name = turn.actor.name if turn.actor is not None else ""
    approvers = approvers_of(step, gate)
    if approvers.principals and name not in approvers.principals:
        message = f"{name!r} is not among the approvers: {', '.join(approvers.principals)}"
        raise Refused(ErrorReason.ERROR_REASON_NOT_AN_APPROVER, message, {"actor": name})
    starter = turn.run.started_by
    if approvers.exclude_starter and starter is not None and starter.name == name:
        message = f"{name!r} started the run and may not decide here"
        raise Refused(ErrorReason.ERROR_REASON_NOT_AN_APPROVER, message, {"actor": name})
    if any(one.revision == record.revision and one.actor.name == name for one in gate.decisions):
        message = f"{name!r} has decided on this revision already"
        raise Refused(ErrorReason.ERROR_REASON_DECIDED_ALREADY, message, {"actor": name})


def _check_payload(turn: Turn, step: StepPlan, gate: GateRecord, command: DecideGate, payload: Payload | None) -> None:
    decision = command.decision
    if decision == Decision.DECISION_DELEGATE:
        if command.delegate_to is None or not (command.delegate_to.principals or command.delegate_to.roles):
            message = "DELEGATE needs `delegate_to` with at least one principal or role"
            raise Refused(ErrorReason.ERROR_REASON_INVALID_REQUEST, message, violations=(("delegate_to", message),))
        return
    if decision in (Decision.DECISION_RESPOND, Decision.DECISION_EDIT) and payload is None:
        message = f"{Decision.Name(decision)[PREFIX:]} needs a payload"
        raise Refused(ErrorReason.ERROR_REASON_DECISION_SCHEMA, message, violations=(("payload", message),))
    shown = gate.content.subject if gate.content.HasField("subject") else None
    if decision == Decision.DECISION_EDIT and not gate.review_rule:
        _readable(turn, shown)  # to write down the difference
    value = _readable(turn, payload)
    for schema in _schemas(step, gate, decision):
        _check_schema(schema, value)
    if decision == Decision.DECISION_APPROVE and step.output_schema is not None:
        # Without a payload what was shown is approved, and becomes the output's payload.
        _check_schema(step.output_schema, value if payload is not None else _readable(turn, shown))


def _schemas(step: StepPlan, gate: GateRecord, decision: Decision.ValueType) -> Sequence[Schema]:
    """What the payload of a decision must fit."""
    found: list[Schema | None] = []
    if gate.review_rule:
        if decision == Decision.DECISION_EDIT:
            found.append(step.input_schema)
        elif decision == Decision.DECISION_SKIP:
            found.append(step.output_schema)
    else:
        plan = gates.plan_of(step)
        if decision == Decision.DECISION_EDIT:
            found.append(plan.args_schema if plan.args is not None else step.input_schema)
        elif decision == Decision.DECISION_APPROVE:
            found.append(plan.response_schema)
        elif decision == Decision.DECISION_RESPOND:
            found += [plan.response_schema, step.output_schema]
    return [schema for schema in found if schema is not None]


def _readable(turn: Turn, payload: Payload | None) -> object:
    """The JSON value of what a person sent or was shown: it becomes part of the gate's output.

    Raises:
        Refused: DECISION_SCHEMA if it cannot be read.
    """
    try:
        return turn.bag.decode(payload)
    except OpaquePayloadError as error:
        message = f"the payload cannot be read: {error}"
        raise Refused(ErrorReason.ERROR_REASON_DECISION_SCHEMA, message, violations=(("payload", message),)) from error


def _check_schema(schema: Schema, value: object) -> None:
    faults = schema.check(value)
    if faults:
        message = "the payload does not fit what the gate asks for; the gate stays open"
        listed = tuple((field_path("payload", fault.path), fault.message) for fault in faults)
        raise Refused(ErrorReason.ERROR_REASON_DECISION_SCHEMA, message, violations=listed)


def _carry_out(turn: Turn, scope: Scope, step: StepPlan, command: DecideGate, payload: Payload | None) -> None:
    decision = command.decision
    if decision == Decision.DECISION_EDIT and payload is not None:
        _edit(turn, scope, step, payload)
    elif decision == Decision.DECISION_DELEGATE:
        _delegate(turn, scope, step, command.delegate_to or Approvers())
    elif decision == Decision.DECISION_RESPOND:
        gates.resolve_responded(turn, scope, step, payload)
    elif decision == Decision.DECISION_APPROVE:
        if _count(scope, step, Decision.DECISION_APPROVE) >= gates.plan_of(step).quorum:
            gates.resolve_approved(turn, scope, step, payload)
    elif gates.plan_of(step).veto or _quorum_is_lost(turn.run, scope, step):
        gates.resolve_rejected(turn, scope, step)


def _count(scope: Scope, step: StepPlan, decision: Decision.ValueType) -> int:
    record = scope.record(step.index)
    decisions = record.gate.decisions if record.gate is not None else []
    return sum(one.decision == decision and one.revision == record.revision for one in decisions)


def _quorum_is_lost(run: RunState, scope: Scope, step: StepPlan) -> bool:
    """Whether so many of the named approvers rejected that the quorum cannot be reached; unknown without names."""
    gate = scope.record(step.index).gate
    if gate is None:
        return False
    approvers = approvers_of(step, gate)
    people = set(approvers.principals)
    if not people:
        return False
    if approvers.exclude_starter and run.started_by is not None:
        people.discard(run.started_by.name)
    rejected = _count(scope, step, Decision.DECISION_REJECT)
    return len(people) - rejected < gates.plan_of(step).quorum


def _edit(turn: Turn, scope: Scope, step: StepPlan, payload: Payload) -> None:
    record = scope.record(step.index)
    gate = record.gate
    if gate is None:
        return
    before = turn.bag.decode(gate.content.subject) if gate.content.HasField("subject") else None
    difference = jsonpatch.make_patch(before, turn.bag.decode(payload)).patch
    content = GateContent()
    content.CopyFrom(gate.content)
    content.subject.CopyFrom(payload)
    turn.emit(
        "gate_revised",
        GateRevised(
            path=scope.path(step),
            revision=record.revision + 1,
            cause=ReviseCause.REVISE_CAUSE_EDIT,
            content=content,
            content_hash=gates.content_hash(content),
            difference=turn.bag.intern(Payload(data=encode(difference))),
        ),
    )


def _delegate(turn: Turn, scope: Scope, step: StepPlan, approvers: Approvers) -> None:
    record = scope.record(step.index)
    if record.gate is None:
        return
    delegated = Approvers()
    delegated.CopyFrom(approvers)
    # A delegation names other people, it does not lift the rule that nobody approves what they started themselves.
    delegated.exclude_starter = approvers.exclude_starter or approvers_of(step, record.gate).exclude_starter
    turn.emit(
        "gate_revised",
        GateRevised(
            path=scope.path(step),
            revision=record.revision + 1,
            cause=ReviseCause.REVISE_CAUSE_DELEGATE,
            content_hash=record.gate.content_hash,
            approvers=delegated,
        ),
    )
