"""Gates: what is shown to people, and what their decisions and deadlines do.

A gate is decided once: each decision names the revision and the hash of what was shown, counts once per person, and the
first resolution closes the gate.
"""

import hashlib

from holdfast.v1.definition_pb2 import Approvers, Decision, OnDeadline
from holdfast.v1.gate_history_pb2 import GateOpened, GateResolved, GateRevised, ReviseCause
from holdfast.v1.gate_pb2 import GateContent, GateDecision, GateReason, ProposedAction, Resolution, ResolutionRule
from holdfast.v1.payload_pb2 import Payload
from holdfast_server.engine import failures, outcomes, rendering, state as st
from holdfast_server.engine.json_values import encode
from holdfast_server.engine.payloads import OpaquePayloadError
from holdfast_server.engine.plan import GatePlan, StepPlan
from holdfast_server.engine.state import GateRecord, Scope, StepRecord
from holdfast_server.engine.times import iso, timestamp, timestamp_us
from holdfast_server.engine.turn import Turn

__all__ = [
    "content_hash",
    "fire",
    "plan_of",
    "resolve_approved",
    "resolve_rejected",
    "resolve_responded",
    "skipped_output",
    "start",
]

MARKDOWN = {"encoding": b"text/markdown"}
RESOLUTION_PREFIX = len("RESOLUTION_")
DECISION_PREFIX = len("DECISION_")


def plan_of(step: StepPlan) -> GatePlan:
    """The gate's part of a gate step's plan."""
    if step.gate is None:
        message = f"step {step.name!r} is not a gate"
        raise ValueError(message)
    return step.gate


def content_hash(content: GateContent) -> bytes:
    """SHA-256 of what is shown; large payloads count by their own hash."""
    return hashlib.sha256(content.SerializeToString(deterministic=True)).digest()


def start(turn: Turn, scope: Scope, step: StepPlan) -> None:
    """Renders what is shown and opens the gate."""
    record = scope.record(step.index)
    gate = plan_of(step)
    try:
        content = _content(turn, scope, step, gate)
    except rendering.StepFault as fault:
        outcomes.fail(turn, scope, step, fault.failure)
        return
    body = GateOpened(
        path=scope.path(step),
        reason=GateReason.GATE_REASON_STEP,
        revision=record.revision + 1,
        content=content,
        content_hash=content_hash(content),
    )
    if gate.deadline_us is not None:
        body.deadline_time.CopyFrom(timestamp(turn.now_us + gate.deadline_us))
    turn.emit("gate_opened", body)


def _content(turn: Turn, scope: Scope, step: StepPlan, gate: GatePlan) -> GateContent:
    subject = rendering.render_input(turn, scope, step)
    content = GateContent(title=rendering.render_text(turn, scope, gate.title, f"`title` of step {step.name!r}"))
    if gate.body is not None:
        text = rendering.render_text(turn, scope, gate.body, f"`body` of step {step.name!r}")
        content.body.CopyFrom(body_payload(turn, step, text))
    if gate.spec.HasField("action"):
        action = gate.spec.action
        content.action.CopyFrom(ProposedAction(name=action.name, risk=action.risk))
        if gate.args is not None:
            subject = rendering.render(turn, scope, gate.args, f"`args` of step {step.name!r}")
    if subject is not None:
        _check_readable(turn, step, subject)
        content.subject.CopyFrom(subject)
    return content


def _check_readable(turn: Turn, step: StepPlan, subject: Payload) -> None:
    """Fails the gate now rather than when somebody has decided on it: its output will hold what was shown.

    Raises:
        StepFault: ExpressionError.
    """
    try:
        turn.bag.decode(subject)
    except OpaquePayloadError as error:
        raise rendering.expression_fault(error, f"what gate {step.name!r} shows") from error


def body_payload(turn: Turn, step: StepPlan, text: str) -> Payload:
    """A rendered body as the payload that is shown.

    Raises:
        StepFault: PayloadTooLarge.
    """
    data = text.encode()
    limit = turn.settings.gate_body_bytes
    if len(data) > limit:
        message = f"the body of step {step.name!r} has {len(data)} bytes; the limit gate_body_bytes is {limit}"
        raise rendering.StepFault(failures.failure(failures.PAYLOAD_TOO_LARGE, message))
    return turn.bag.intern(Payload(metadata=MARKDOWN, data=data))


def fire(turn: Turn, scope: Scope, step: StepPlan, record: StepRecord) -> None:
    """The deadline of a gate step: its declared rule decides."""
    gate = record.gate
    if gate is None or gate.resolution or not gate.deadline_us or gate.deadline_us > turn.now_us:
        return
    plan = plan_of(step)
    rule = OnDeadline.ON_DEADLINE_FAIL if gate.escalated else plan.on_deadline
    if rule == OnDeadline.ON_DEADLINE_ESCALATE:
        _escalate(turn, scope, step, plan, record, gate)
    elif rule == OnDeadline.ON_DEADLINE_APPROVE:
        resolve_approved(turn, scope, step, None, ResolutionRule.RESOLUTION_RULE_DEADLINE)
    elif rule == OnDeadline.ON_DEADLINE_REJECT:
        resolve_rejected(turn, scope, step, ResolutionRule.RESOLUTION_RULE_DEADLINE)
    else:
        _resolved(turn, scope, step, Resolution.RESOLUTION_FAILED, ResolutionRule.RESOLUTION_RULE_DEADLINE)
        message = f"nobody decided at gate {step.name!r} before its deadline"
        outcomes.fail(turn, scope, step, failures.failure(failures.GATE, message))


def _escalate(turn: Turn, scope: Scope, step: StepPlan, plan: GatePlan, record: StepRecord, gate: GateRecord) -> None:
    body = GateRevised(
        path=scope.path(step),
        revision=record.revision + 1,
        cause=ReviseCause.REVISE_CAUSE_ESCALATE,
        content_hash=gate.content_hash,
        approvers=plan.spec.escalation.approvers if plan.spec.escalation.HasField("approvers") else Approvers(),
        deadline_time=timestamp(turn.now_us + (plan.escalation_us or 0)),
    )
    turn.emit("gate_revised", body)


def resolve_approved(
    turn: Turn,
    scope: Scope,
    step: StepPlan,
    payload: Payload | None,
    rule: ResolutionRule.ValueType = ResolutionRule.RESOLUTION_RULE_DECISION,
) -> None:
    """Approves: the output carries the decision's payload, or what was shown and is thereby allowed."""
    gate = _gate(scope, step)
    if payload is None and gate.content.HasField("subject"):
        payload = gate.content.subject
    _resolved(turn, scope, step, Resolution.RESOLUTION_APPROVED, rule)
    _succeed(turn, scope, step, payload)


def resolve_responded(turn: Turn, scope: Scope, step: StepPlan, payload: Payload | None) -> None:
    """Answers with data."""
    _resolved(turn, scope, step, Resolution.RESOLUTION_RESPONDED, ResolutionRule.RESOLUTION_RULE_DECISION)
    _succeed(turn, scope, step, payload)


def resolve_rejected(
    turn: Turn,
    scope: Scope,
    step: StepPlan,
    rule: ResolutionRule.ValueType = ResolutionRule.RESOLUTION_RULE_DECISION,
) -> None:
    """Rejects: an outcome that edges route, or the failure `Rejected` where the definition says so."""
    _resolved(turn, scope, step, Resolution.RESOLUTION_REJECTED, rule)
    if plan_of(step).spec.fail_on_reject:
        gate = _gate(scope, step)
        last = gate.decisions[-1] if gate.decisions else None
        said = f" by {last.actor.name}: {last.comment}" if last is not None else " by its deadline"
        outcomes.fail(turn, scope, step, failures.failure(failures.REJECTED, f"gate {step.name!r} was rejected{said}"))
    else:
        _succeed(turn, scope, step, None)


def _gate(scope: Scope, step: StepPlan) -> GateRecord:
    gate = scope.record(step.index).gate
    if gate is None:
        message = f"step {step.name!r} has no gate"
        raise ValueError(message)
    return gate


def _resolved(
    turn: Turn, scope: Scope, step: StepPlan, resolution: Resolution.ValueType, rule: ResolutionRule.ValueType
) -> None:
    record = scope.record(step.index)
    body = GateResolved(path=scope.path(step), revision=record.revision, resolution=resolution, rule=rule)
    turn.emit("gate_resolved", body)


def _succeed(turn: Turn, scope: Scope, step: StepPlan, payload: Payload | None) -> None:
    gate = _gate(scope, step)
    output = Payload(data=_output(turn, gate, payload))
    try:
        rendering.check_size(turn, output, f"the output of gate {step.name!r}")
    except rendering.StepFault as fault:
        outcomes.fail(turn, scope, step, fault.failure)
        return
    outcomes.succeed(turn, scope, step, output)


def _output(turn: Turn, gate: GateRecord, payload: Payload | None) -> bytes:
    by_people = gate.rule == ResolutionRule.RESOLUTION_RULE_DECISION
    last = gate.decisions[-1] if gate.decisions and by_people else None
    value = {
        "resolution": Resolution.Name(gate.resolution)[RESOLUTION_PREFIX:],
        "payload": turn.bag.decode(payload),
        "comment": last.comment if last is not None else "",
        "decided_by": last.actor.name if last is not None else None,
        "decided_at": iso(gate.resolve_us),
        "decisions": [_decision(turn, decision) for decision in gate.decisions],
    }
    return encode(value)


def skipped_output(turn: Turn, scope: Scope, step: StepPlan, payload: Payload | None, note: str) -> Payload:
    """The output of a gate that an operator skips, open or not yet: nobody has decided.

    Raises:
        OpaquePayloadError: the payload cannot be read.
    """
    record = scope.steps[step.index]
    decisions = record.gate.decisions if record is not None and record.gate is not None else []
    value = {
        "resolution": "SKIPPED",
        "payload": turn.bag.decode(payload),
        "comment": note,
        "decided_by": None,
        "decided_at": iso(turn.now_us),
        "decisions": [_decision(turn, decision) for decision in decisions],
    }
    return Payload(data=encode(value))


def _decision(turn: Turn, decision: GateDecision) -> dict[str, object]:
    return {
        "decision": Decision.Name(decision.decision)[DECISION_PREFIX:],
        "by": decision.actor.name,
        "at": iso(timestamp_us(decision.time)),
        "comment": decision.comment,
        "payload": turn.bag.decode(decision.payload) if decision.HasField("payload") else None,
        "revision": decision.revision,
    }


OPEN_STATES = frozenset({st.WAITING, st.IN_REVIEW})
"""States of a step whose gate can be decided."""
