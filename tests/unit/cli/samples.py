"""What a server might answer: runs, gates, histories and the rest, at fixed times."""

import json
from datetime import timedelta

from google.protobuf.timestamp_pb2 import Timestamp

from holdfast.v1 import definition_pb2 as definitions
from holdfast.v1.actor_pb2 import Actor, ActorKind
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
from holdfast.v1.history_pb2 import HistoryEvent
from holdfast.v1.operations_service_pb2 import GetServerInfoResponse, HealthState
from holdfast.v1.payload_pb2 import JsonValue, Payload
from holdfast.v1.run_pb2 import (
    Activation,
    Run,
    RunOutcome,
    RunState,
    RunSummary,
    StepKind,
    StepState,
    WaitingOn,
    WaitingReason,
)
from holdfast.v1.signal_pb2 import Signal
from holdfast.v1.task_pb2 import QueueSummary, WorkerInfo, WorkerQueue, WorkerSummary
from holdfast.v1.workflow_service_pb2 import Diagnostic, GetWorkflowResponse, WorkflowVersion
from tests.unit.cli.stage import NOW

RUN_ID = "019aaf2e-8f3c-7d2e-9c3a-1b2c3d4e5f60"
OTHER_ID = "019aaf2e-9000-7000-8000-000000000001"
ADA = Actor(kind=ActorKind.ACTOR_KIND_CLIENT, name="ada")
BOB = Actor(kind=ActorKind.ACTOR_KIND_CLIENT, name="bob", verified=True)


def at(seconds: float) -> Timestamp:
    """Return the time so many seconds from now; negative for the past."""
    time = Timestamp()
    time.FromDatetime(NOW + timedelta(seconds=seconds))
    return time


def payload(value: object) -> Payload:
    """Return a JSON payload."""
    return Payload(data=json.dumps(value).encode())


def summary(**fields: object) -> RunSummary:
    """Return a run as lists show it."""
    made = RunSummary(
        namespace="default",
        run_id=RUN_ID,
        workflow="research-report",
        version=3,
        state=RunState.RUN_STATE_RUNNING,
        start_time=at(-130),
        run_epoch=1,
        last_seq=9,
        waiting_reason=WaitingReason.WAITING_REASON_GATE,
        status_message="review: people decide: Publish the report?",
    )
    made.MergeFrom(RunSummary(**fields))  # type: ignore[arg-type]
    return made


def summaries() -> list[RunSummary]:
    """Return runs in every sort of state."""
    return [
        summary(),
        summary(
            run_id="short-id",
            workflow="a-workflow-with-a-name-that-is-far-too-long-for-a-column",
            waiting_reason=WaitingReason.WAITING_REASON_NO_WORKER,
            status_message="fetch: no worker serves handler 'fetch_documents_from_archive' on queue 'tools-with-gpu'",
            start_time=at(-5),
        ),
        RunSummary(
            run_id="x" * 100,
            workflow="nightly",
            state=RunState.RUN_STATE_FAILED,
            start_time=at(-3 * 86_400),
            close_time=at(-2 * 86_400),
            status_message="connection refused",
        ),
        RunSummary(run_id=OTHER_ID, workflow="nightly", state=RunState.RUN_STATE_SUCCEEDED, start_time=at(-9e7)),
    ]


def failure() -> Failure:
    """Return a failure with details, a cause and a stack trace."""
    return Failure(
        type="RateLimited",
        message="the provider asks to slow down",
        details=payload({"left": 0}),
        stack_trace='Traceback (most recent call last):\n  File "handlers.py", line 3, in search\nRateLimited: no',
        step_path="search",
        cause=Failure(type="HTTPError", message="429 Too Many Requests"),
    )


def run() -> Run:
    """Return an open run with steps in every state."""
    steps = [
        Activation(path="plan", step="plan", state=StepState.STEP_STATE_SUCCEEDED, attempt=1, finish_time=at(-129)),
        Activation(
            path="search",
            step="search",
            state=StepState.STEP_STATE_BACKING_OFF,
            attempt=2,
            failure=failure(),
            after=["plan"],
        ),
        Activation(path="read", step="read", state=StepState.STEP_STATE_RUNNING, attempt=1, worker_id="w-1"),
        Activation(path="fetch", step="fetch", state=StepState.STEP_STATE_QUEUED, attempt=1),
        Activation(path="review", step="review", kind=StepKind.STEP_KIND_GATE, state=StepState.STEP_STATE_WAITING),
        Activation(path="mend", step="mend", state=StepState.STEP_STATE_IN_REVIEW, attempt=5, failure=failure()),
        Activation(path="old", step="old", state=StepState.STEP_STATE_FAILED, failure=failure()),
        Activation(path="other", step="other", state=StepState.STEP_STATE_SKIPPED, note="JOIN_NOT_MET"),
        Activation(path="stopped", step="stopped", state=StepState.STEP_STATE_CANCELED),
        Activation(
            path="publish",
            step="publish",
            state=StepState.STEP_STATE_PENDING,
            after=["review", "analyse_passages_of_all_documents", "figures_and_dates"],
        ),
    ]
    for activation in steps[:-1]:
        activation.schedule_time.CopyFrom(at(-129.5))
    return Run(
        summary=summary(key="order-1", attributes={"team": JsonValue(json='"north"'), "size": JsonValue(json="3")}),
        input=payload({"question": "What holds fast?", "folder": "docs", "big": 2**60}),
        activations=steps,
        waiting_on=[
            WaitingOn(
                reason=WaitingReason.WAITING_REASON_GATE,
                step_path="review",
                since_time=at(-60),
                until_time=at(86_000),
                message="people decide: Publish the report?",
            ),
            WaitingOn(
                reason=WaitingReason.WAITING_REASON_NO_WORKER,
                step_path="fetch",
                since_time=at(-129.5),
                message="no worker serves handler 'fetch' on queue 'tools'",
            ),
        ],
        unconsumed_signals=[Signal(name="more", payload=payload([1, 2]), seq=7, receive_time=at(-20))],
        started_by=ADA,
        deadline_time=at(3_600),
    )


def skipped_by_operator() -> Activation:
    """Return a step an operator gave the output of."""
    state = StepState.STEP_STATE_SUCCEEDED
    return Activation(path="search", step="search", state=state, attempt=2, output=payload([]), note="answered by ada")


def closed_run() -> Run:
    """Return a run that failed."""
    made = Run(
        summary=summary(state=RunState.RUN_STATE_FAILED, close_time=at(-10), status_message="it is over", run_epoch=2),
        failure=failure(),
        started_by=BOB,
    )
    made.summary.ClearField("waiting_reason")
    return made


def gate(**fields: object) -> Gate:
    """Return an open gate of high risk."""
    made = Gate(
        namespace="default",
        run_id=RUN_ID,
        step_path="review",
        workflow="research-report",
        reason=GateReason.GATE_REASON_STEP,
        state=GateState.GATE_STATE_OPEN,
        revision=2,
        content_hash=bytes(range(32)),
        content=GateContent(
            title="Publish the report?",
            body=Payload(metadata={"encoding": b"text/markdown"}, data=b"# Draft\n\nIt *holds*."),
            action=ProposedAction(name="publish", risk=definitions.Risk.RISK_HIGH),
            subject=payload({"path": "out/report.md", "copies": 2**60}),
        ),
        decisions=[definitions.Decision.DECISION_APPROVE, definitions.Decision.DECISION_REJECT],
        response_schema=JsonValue(json='{"type":"object"}'),
        approvers=definitions.Approvers(principals=["bob"], roles=["editor"], exclude_starter=True),
        quorum=2,
        open_time=at(-60),
        deadline_time=at(86_000),
        decided=[
            GateDecision(
                decision=definitions.Decision.DECISION_EDIT,
                actor=ADA,
                time=at(-30),
                payload=payload({"path": "out/report.md"}),
                comment="shorter",
                revision=1,
            )
        ],
    )
    made.MergeFrom(Gate(**fields))  # type: ignore[arg-type]
    return made


def low_gate() -> Gate:
    """Return an open gate without particular risk."""
    made = gate()
    made.content.action.risk = definitions.Risk.RISK_LOW
    return made


def resolved_gate() -> Gate:
    """Return a gate that somebody approved."""
    return gate(
        state=GateState.GATE_STATE_RESOLVED,
        resolution=Resolution.RESOLUTION_APPROVED,
        resolution_rule=ResolutionRule.RESOLUTION_RULE_DECISION,
        resolved_by=BOB,
        resolve_time=at(-5),
    )


def review_gate() -> Gate:
    """Return the review of a failed step."""
    made = gate(reason=GateReason.GATE_REASON_ERROR_REVIEW, failure=failure(), step_path="mend")
    del made.decisions[:]
    made.decisions.extend([definitions.Decision.DECISION_RETRY, definitions.Decision.DECISION_SKIP])
    made.content.ClearField("action")
    return made


def outcome(state: RunState.ValueType = RunState.RUN_STATE_SUCCEEDED) -> RunOutcome:
    """Return how the run ended."""
    if state == RunState.RUN_STATE_SUCCEEDED:
        return RunOutcome(run_id=RUN_ID, state=state, output=payload({"pages": 3}), run_epoch=1)
    return RunOutcome(run_id=RUN_ID, state=state, failure=failure(), run_epoch=1)


def history() -> list[HistoryEvent]:
    """Return a history with every sort of event a reader meets."""
    made: list[HistoryEvent] = []

    def add(after_s: float, actor: Actor | None = None, **body: object) -> None:
        made.append(HistoryEvent(seq=len(made) + 1, time=at(-130 + after_s), actor=actor, **body))  # type: ignore[arg-type]

    add(0, ADA, run_started={"workflow": "research-report", "version": 3, "key": "order-1"})
    add(0.001, step_queued={"path": "search", "attempt": 1, "handler": "search", "queue": "tools"})
    add(0.004, step_started={"path": "search", "attempt": 1, "worker_id": "w-1", "lease": 1})
    add(0.5, step_attempt_failed={"path": "search", "attempt": 1, "failure": failure()})
    add(1.5, step_queued={"path": "search", "attempt": 2, "handler": "search", "queue": "tools", "cause": 1})
    add(1.6, step_started={"path": "search", "attempt": 2, "worker_id": "w-1", "lease": 2})
    add(2.25, step_succeeded={"path": "search", "attempt": 2, "output": payload({"hits": 3})})
    add(2.25, gate_opened={"path": "review", "content": {"title": "Publish the report?"}, "revision": 1})
    add(60, ADA, gate_decision_recorded={"path": "review", "revision": 1, "decision": 1, "comment": "good"})
    add(60, gate_resolved={"path": "review", "revision": 1, "resolution": 1, "rule": 1})
    add(60, step_succeeded={"path": "review"})
    add(61, BOB, signal_received={"name": "more", "payload": payload([1, 2])})
    add(61, step_skipped={"path": "revise", "reason": 1})
    add(61, step_failed={"path": "publish_the_report_of_the_year", "attempt": 3, "failure": failure(), "handled": True})
    add(61.5, BOB, step_action_taken={"path": "read", "action": 2, "attempt": 1, "note": "read by hand"})
    add(61.5, step_succeeded={"path": "read", "attempt": 1, "answered_by": "bob"})
    add(62, run_succeeded={"output": payload({"pages": 3})})
    return made


def version() -> WorkflowVersion:
    """Return a version of a workflow."""
    return WorkflowVersion(
        namespace="default",
        name="research-report",
        version=3,
        definition_hash=bytes(range(32)),
        register_time=at(-7_200),
        description="Answers a question from a folder of documents",
        steps=2,
    )


def workflow() -> GetWorkflowResponse:
    """Return a workflow with all it can declare."""
    return GetWorkflowResponse(
        workflow=version(),
        source="name: research-report\nsteps: []\n",
        definition=definitions.WorkflowDefinition(
            name="research-report",
            input_schema=JsonValue(json='{"required":["question"],"type":"object"}'),
            block=definitions.Block(
                steps=[
                    definitions.Step(name="plan", task=definitions.TaskStep(handler="plan_queries", queue="writers")),
                    definitions.Step(
                        name="review",
                        after=[definitions.Edge(step="plan")],
                        gate=definitions.GateStep(title="Publish the report of ${input.question}?"),
                    ),
                    definitions.Step(
                        name="tidy",
                        cleanup=True,
                        after=[definitions.Edge(step="plan"), definitions.Edge(step="review")],
                        wait=definitions.WaitStep(signal="more"),
                    ),
                ]
            ),
            signals=[definitions.SignalDefinition(name="more", schema=JsonValue(json='{"type":"array"}'))],
            queries=[definitions.QueryDefinition(name="progress", expression="size(steps.plan.output)")],
        ),
    )


def diagnostics() -> list[Diagnostic]:
    """Return faults of a document."""
    return [
        Diagnostic(path="steps[2].after[0].step", message="unknown step 'reviev'; known: review", line=7, column=14),
        Diagnostic(message="the document is empty"),
    ]


def queues() -> list[QueueSummary]:
    """Return queues, one of which nobody serves."""
    return [
        QueueSummary(queue="default", queued=12_345, running=50, oldest_time=at(-75), workers=2, slots_free=0),
        QueueSummary(queue="tools", queued=1, oldest_time=at(-129), unserved_handlers=["fetch", "search"]),
    ]


def workers() -> list[WorkerSummary]:
    """Return workers."""
    return [
        WorkerSummary(
            worker=WorkerInfo(
                id="w-host-1-abcdef", language="python", sdk_version="0.1.0", build_id="42", identity="host process 1"
            ),
            queues=[WorkerQueue(queue="default", handlers=["plan", "merge"]), WorkerQueue(queue="tools")],
            slots_total=50,
            slots_used=3,
            last_seen_time=at(-2),
            draining=True,
        )
    ]


def server_info() -> GetServerInfoResponse:
    """Return what a server says of itself."""
    made = GetServerInfoResponse(
        version="0.1.0",
        server_id="4711-abc",
        server_epoch=3,
        start_time=at(-3_700),
        health=HealthState.HEALTH_STATE_READ_ONLY,
        health_message="the disk is full",
        store="sqlite 3.53.4",
        schema_version=1,
        open_runs=1_234,
        hot_runs=56,
    )
    made.retention.FromTimedelta(timedelta(days=30))
    made.limits.add(name="payload_bytes", value=4_194_304)
    return made
