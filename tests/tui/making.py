"""Gates and runs as a server would tell them, made in one line."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from holdfast.v1.actor_pb2 import Actor, ActorKind
from holdfast.v1.definition_pb2 import Decision, OnDeadline, Risk
from holdfast.v1.failure_pb2 import Failure
from holdfast.v1.gate_pb2 import (
    Gate,
    GateContent,
    GateDecision,
    GateReason,
    GateState,
    ProposedAction,
    Resolution,
    ResolutionRule,
)
from holdfast.v1.payload_pb2 import Payload, PayloadRef
from holdfast.v1.run_pb2 import Activation, Run, RunState, RunSummary, StepKind, StepState, WaitingOn, WaitingReason

NOW_S = 1_900_000_000.0
"""The present in these tests; a Sunday in March 2030."""
MINUTE_S = 60


def at(seconds: float) -> Timestamp:
    """A time so many seconds from the present."""
    return Timestamp(seconds=int(NOW_S + seconds))


def json_payload(value: Any) -> Payload:
    return Payload(data=json.dumps(value).encode())


def markdown(text: str) -> Payload:
    return Payload(metadata={"encoding": b"text/markdown"}, data=text.encode())


def reference(size_bytes: int = 9_000) -> Payload:
    return Payload(ref=PayloadRef(sha256=b"x" * 32, size_bytes=size_bytes))


def person(name: str, *, verified: bool = True) -> Actor:
    return Actor(kind=ActorKind.ACTOR_KIND_CLIENT, name=name, verified=verified)


def gate(
    run_id: str = "r1",
    step: str = "review",
    *,
    title: str = "Publish this?",
    body: Payload | None = None,
    action: str = "",
    risk: Risk.ValueType = Risk.RISK_LOW,
    subject: Payload | None = None,
    opened_s: float = -5 * MINUTE_S,
    deadline_s: float | None = None,
    revision: int = 1,
    quorum: int = 1,
    decisions: Iterable[Decision.ValueType] = (Decision.DECISION_APPROVE, Decision.DECISION_REJECT),
    decided: Sequence[GateDecision] = (),
    workflow: str = "report",
) -> Gate:
    content = GateContent(title=title, body=body, subject=subject)
    if action:
        content.action.CopyFrom(ProposedAction(name=action, risk=risk))
    return Gate(
        namespace="default",
        run_id=run_id,
        step_path=step,
        workflow=workflow,
        reason=GateReason.GATE_REASON_STEP,
        state=GateState.GATE_STATE_OPEN,
        revision=revision,
        content_hash=hashlib.sha256(content.SerializeToString() + bytes([revision])).digest(),
        content=content,
        decisions=decisions,
        quorum=quorum,
        open_time=at(opened_s),
        deadline_time=None if deadline_s is None else at(deadline_s),
        on_deadline=OnDeadline.ON_DEADLINE_FAIL,
        decided=decided,
    )


def said(who: str, decision: Decision.ValueType, comment: str = "", revision: int = 1) -> GateDecision:
    return GateDecision(decision=decision, actor=person(who), time=at(-30), comment=comment, revision=revision)


def resolved(
    open_gate: Gate,
    by: str = "bob",
    resolution: Resolution.ValueType = Resolution.RESOLUTION_APPROVED,
    comment: str = "",
) -> Gate:
    """The gate after somebody resolved it."""
    after = Gate()
    after.CopyFrom(open_gate)
    after.state = GateState.GATE_STATE_RESOLVED
    after.resolution = resolution
    after.resolution_rule = ResolutionRule.RESOLUTION_RULE_DECISION
    after.resolved_by.CopyFrom(person(by))
    after.resolve_time.CopyFrom(at(-10))
    rejects = resolution == Resolution.RESOLUTION_REJECTED
    decision = Decision.DECISION_REJECT if rejects else Decision.DECISION_APPROVE
    after.decided.append(said(by, decision, comment))
    return after


def summary(
    run_id: str = "r1",
    *,
    state: RunState.ValueType = RunState.RUN_STATE_RUNNING,
    workflow: str = "report",
    started_s: float = -5 * MINUTE_S,
    closed_s: float | None = None,
    waiting: WaitingReason.ValueType = WaitingReason.WAITING_REASON_UNSPECIFIED,
    message: str = "",
    seq: int = 1,
) -> RunSummary:
    return RunSummary(
        namespace="default",
        run_id=run_id,
        workflow=workflow,
        version=1,
        state=state,
        start_time=at(started_s),
        close_time=None if closed_s is None else at(closed_s),
        run_epoch=1,
        last_seq=seq,
        waiting_reason=waiting,
        status_message=message,
    )


def step(
    path: str,
    state: StepState.ValueType = StepState.STEP_STATE_SUCCEEDED,
    *,
    attempt: int = 1,
    failure: Failure | None = None,
    after: Iterable[str] = (),
    worker: str = "",
    note: str = "",
) -> Activation:
    return Activation(
        path=path,
        step=path.rpartition("/")[2],
        kind=StepKind.STEP_KIND_TASK,
        state=state,
        attempt=attempt,
        worker_id=worker,
        schedule_time=None if state == StepState.STEP_STATE_PENDING else at(-60),
        finish_time=at(-48) if state == StepState.STEP_STATE_SUCCEEDED else None,
        failure=failure,
        after=after,
        note=note,
    )


def waiting_on(path: str, reason: WaitingReason.ValueType, message: str, until_s: float | None = None) -> WaitingOn:
    return WaitingOn(
        reason=reason,
        step_path=path,
        message=message,
        since_time=at(-60),
        until_time=None if until_s is None else at(until_s),
    )


def run(of: RunSummary, *steps: Activation, waits: Iterable[WaitingOn] = (), **fields: Any) -> Run:
    return Run(summary=of, activations=steps, waiting_on=waits, started_by=person("ada"), **fields)
