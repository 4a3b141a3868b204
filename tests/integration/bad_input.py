"""The table of bad input: what is wrong with a request, the reason it is refused for, the field that is told."""

from collections.abc import AsyncIterable, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from holdfast.v1 import (
    gate_service_pb2 as gates,
    operations_service_pb2 as operations,
    run_service_pb2 as runs,
    worker_service_pb2 as workers,
    workflow_service_pb2 as workflows,
)
from holdfast.v1.definition_pb2 import Decision
from holdfast.v1.payload_pb2 import JsonValue, Payload, PayloadRef
from holdfast.v1.signal_pb2 import Signal
from holdfast.v1.step_action_pb2 import FailStep, RetryStep, SkipStep, StepActionRequest
from holdfast.v1.task_pb2 import TaskResult, WorkerInfo
from holdfast_server.rpc import paging
from tests.integration.raw import MIB, Stubs, json_payload

__all__ = ["TABLE", "Row", "World"]

LONG = "x" * 200
APPROVE = Decision.DECISION_APPROVE
HELD = """
name: held
input_schema: {type: [object, "null"], properties: {n: {type: integer}}}
signals: [{name: go, schema: {type: object, required: [word]}}, {name: other}]
queries: [{name: word, expression: "input.n"}]
steps:
  - {name: ask, gate: {title: Ask, decisions: [APPROVE, REJECT], response_schema: {type: [object, "null"]}}}
  - name: hold
    wait: {signal: go}
    output_schema: {type: object, properties: {word: {type: string}}}
"""
WORKED = """
name: worked
steps: [{name: work, task: {handler: work, queue: bad-input}, output_schema: {type: object}, retry: {max_attempts: 1}}]
"""
AT_ONCE = "{name: at-once, steps: [{name: only, compute: {}}]}"


@dataclass
class World:
    """A server with a run of each sort."""

    stubs: Stubs
    held: str = ""
    closed: str = ""

    async def prepare(self) -> "World":
        for source in (HELD, WORKED, AT_ONCE):
            await self.stubs.workflows.RegisterWorkflow(workflows.RegisterWorkflowRequest(source=source))
        self.held = (await self.stubs.runs.StartRun(runs.StartRunRequest(workflow="held"))).run_id
        self.closed = (await self.stubs.runs.StartRun(runs.StartRunRequest(workflow="at-once"))).run_id
        return self

    def start(self, **fields: object) -> Awaitable[object]:
        return self.stubs.runs.StartRun(runs.StartRunRequest(**({"workflow": "held"} | fields)))  # type: ignore[arg-type]

    def register(self, source: str) -> Awaitable[object]:
        return self.stubs.workflows.RegisterWorkflow(workflows.RegisterWorkflowRequest(source=source))

    def signal(self, run_id: str, name: str, value: object) -> Awaitable[object]:
        signal = Signal(name=name, payload=json_payload(value))
        return self.stubs.runs.SignalRun(runs.SignalRunRequest(run_id=run_id, signal=signal))

    def query(self, **fields: str) -> Awaitable[object]:
        return self.stubs.runs.QueryRun(runs.QueryRunRequest(run_id=self.held, **fields))

    async def decide(self, decision: int, **fields: object) -> object:
        gate = (await self.stubs.gates.GetGate(gates.GetGateRequest(run_id=self.held, step_path="ask"))).gate
        named = {"revision": gate.revision, "content_hash": gate.content_hash} | fields
        request = gates.DecideGateRequest(run_id=self.held, step_path="ask", decision=decision, **named)  # type: ignore[arg-type]
        return await self.stubs.gates.DecideGate(request)

    def act(self, step_path: str, run_id: str = "", **fields: object) -> Awaitable[object]:
        named = {"run_id": run_id or self.held, "step_path": step_path} | fields
        return self.stubs.runs.StepAction(StepActionRequest(**named))  # type: ignore[arg-type]

    def get(self, run_id: str, **fields: object) -> Awaitable[object]:
        return self.stubs.runs.GetRun(runs.GetRunRequest(run_id=run_id, **fields))  # type: ignore[arg-type]

    def listed(self, **fields: object) -> Awaitable[object]:
        return self.stubs.runs.ListRuns(runs.ListRunsRequest(**fields))  # type: ignore[arg-type]

    def filtered(self, **fields: object) -> Awaitable[object]:
        return self.listed(filter=runs.RunFilter(**fields))  # type: ignore[arg-type]

    def history(self, **fields: object) -> Awaitable[object]:
        return self.stubs.runs.GetHistory(runs.GetHistoryRequest(**({"run_id": self.held} | fields)))  # type: ignore[arg-type]

    def beat(self, *held: workers.HeldTask, **fields: object) -> Awaitable[object]:
        worker = WorkerInfo(id="table", session_id="table", **fields)  # type: ignore[arg-type]
        return self.stubs.workers.Heartbeat(workers.HeartbeatRequest(worker=worker, held=held))

    def complete(self, count: int) -> Awaitable[object]:
        worker = WorkerInfo(id="table", session_id="table")
        results = [TaskResult(token=b"x")] * count
        return self.stubs.workers.CompleteTasks(workers.CompleteTasksRequest(worker=worker, results=results))

    def poll(self, **fields: object) -> Awaitable[object]:
        worker = WorkerInfo(id="table", session_id="table")
        given = {"worker": worker, "handlers": ["work"], "slots_total": 1} | fields
        return self.stubs.workers.PollTasks(workers.PollTasksRequest(**given))  # type: ignore[arg-type]


BIG = Payload(data=b'"' + b"x" * (4 * MIB) + b'"')
REF = Payload(ref=PayloadRef(sha256=b"x" * 32, size_bytes=1))
NEGATIVE = Duration(seconds=-1)
AGES = Duration(seconds=200 * 365 * 86_400)
RETRY = RetryStep()
NEVER = Timestamp(seconds=-1)


async def _first(stream: AsyncIterable[object]) -> object:
    return await anext(aiter(stream))


def edges(first: str, second: str) -> str:
    """Two steps with these edges."""
    sources = zip("xy", (first, second), strict=True)
    steps = [f"{{name: {name}, compute: {{}}, after: [{{step: {source}}}]}}" for name, source in sources]
    return f"{{name: a, steps: [{', '.join(steps)}]}}"


def when(condition: str) -> str:
    """A second step behind a condition."""
    step = f"{{name: y, compute: {{}}, after: [{{step: x, when: '{condition}'}}]}}"
    return f"{{name: a, steps: [{{name: x, compute: {{}}}}, {step}]}}"


Row = tuple[str, Callable[[World], Awaitable[Any]], str] | tuple[str, Callable[[World], Awaitable[Any]], str, str]
DEFINITIONS: list[Row] = [
    ("yaml", lambda w: w.register("name: [a"), "INVALID_DEFINITION"),
    ("empty document", lambda w: w.register(""), "INVALID_DEFINITION"),
    ("no text at all", lambda w: w.register("\0"), "INVALID_DEFINITION"),
    ("dangling edge", lambda w: w.register(edges("nobody", "x")), "INVALID_DEFINITION", "steps[0].after[0].step"),
    ("edge to itself", lambda w: w.register(edges("x", "x")), "INVALID_DEFINITION", "steps[0].after[0].step"),
    ("cycle", lambda w: w.register(edges("y", "x")), "INVALID_DEFINITION"),
    ("CEL that does not parse", lambda w: w.register(when("1 +")), "INVALID_DEFINITION", "steps[1].after[0].when"),
    ("CEL that is no condition", lambda w: w.register(when("1 + 1")), "INVALID_DEFINITION", "steps[1].after[0].when"),
    ("large document", lambda w: w.register("#" * (MIB + 1)), "LIMIT_EXCEEDED", "source"),
    (
        "format",
        lambda w: w.stubs.workflows.RegisterWorkflow(workflows.RegisterWorkflowRequest(source="{}", format=9)),  # type: ignore[arg-type]
        "INVALID_REQUEST",
        "format",
    ),
    (
        "unknown workflow shown",
        lambda w: w.stubs.workflows.GetWorkflow(workflows.GetWorkflowRequest(name="nobody")),
        "WORKFLOW_NOT_FOUND",
        "name",
    ),
    (
        "negative version shown",
        lambda w: w.stubs.workflows.GetWorkflow(workflows.GetWorkflowRequest(name="held", version=-1)),
        "INVALID_REQUEST",
        "version",
    ),
    (
        "versions of an unknown workflow",
        lambda w: w.stubs.workflows.ListWorkflowVersions(workflows.ListWorkflowVersionsRequest(name="nobody")),
        "WORKFLOW_NOT_FOUND",
        "name",
    ),
]
STARTS: list[Row] = [
    ("unknown workflow", lambda w: w.start(workflow="nobody"), "WORKFLOW_NOT_FOUND", "workflow"),
    ("unknown version", lambda w: w.start(version=99), "WORKFLOW_NOT_FOUND", "workflow"),
    ("negative version", lambda w: w.start(version=-1), "INVALID_REQUEST", "version"),
    ("unknown namespace", lambda w: w.start(namespace="nowhere"), "NAMESPACE_NOT_FOUND", "namespace"),
    ("no workflow", lambda w: w.start(workflow=""), "INVALID_REQUEST", "workflow"),
    ("long workflow", lambda w: w.start(workflow=LONG), "INVALID_REQUEST", "workflow"),
    ("long run id", lambda w: w.start(run_id=LONG), "INVALID_REQUEST", "run_id"),
    ("odd key", lambda w: w.start(key="a b"), "INVALID_REQUEST", "key"),
    ("newline in a key", lambda w: w.start(key="a\n"), "INVALID_REQUEST", "key"),
    ("unknown policy", lambda w: w.start(on_conflict=99), "INVALID_REQUEST", "on_conflict"),
    ("negative timeout", lambda w: w.start(timeout=NEGATIVE), "INVALID_REQUEST", "timeout"),
    ("no timeout", lambda w: w.start(timeout=Duration()), "INVALID_REQUEST", "timeout"),
    ("ages of timeout", lambda w: w.start(timeout=AGES), "INVALID_REQUEST", "timeout"),
    ("start before all time", lambda w: w.start(start_after_time=NEVER), "INVALID_REQUEST", "start_after_time"),
    (
        "start after all time",
        lambda w: w.start(start_after_time=Timestamp(seconds=10**15)),
        "INVALID_REQUEST",
        "start_after_time",
    ),
    ("odd trace", lambda w: w.start(traceparent="00-x"), "INVALID_REQUEST", "traceparent"),
    ("long request id", lambda w: w.start(request_id=LONG), "LIMIT_EXCEEDED", "request_id"),
    ("input against its schema", lambda w: w.start(input=json_payload({"n": "one"})), "INPUT_SCHEMA", "input.n"),
    ("input that is no JSON", lambda w: w.start(input=Payload(data=b"{")), "INPUT_SCHEMA", "input"),
    ("input that is too deep", lambda w: w.start(input=Payload(data=b"[" * 65 + b"]" * 65)), "LIMIT_EXCEEDED", "input"),
    ("large input", lambda w: w.start(input=BIG), "PAYLOAD_TOO_LARGE", "input"),
    ("input by reference", lambda w: w.start(input=REF), "INVALID_REQUEST", "input"),
    (
        "attribute that is no JSON",
        lambda w: w.start(attributes={"team": JsonValue(json="{")}),
        "INVALID_REQUEST",
        "attributes.team",
    ),
    (
        "attribute with an odd name",
        lambda w: w.start(attributes={"Team": JsonValue(json="1")}),
        "INVALID_REQUEST",
        "attributes.Team",
    ),
    (
        "large attribute",
        lambda w: w.start(attributes={"team": JsonValue(json=f'"{"x" * 1_024}"')}),
        "LIMIT_EXCEEDED",
        "attributes.team",
    ),
    ("many signals along", lambda w: w.start(signals=[Signal(name="other")] * 101), "LIMIT_EXCEEDED", "signals"),
    ("large signal along", lambda w: w.start(signals=[Signal(name="other", payload=BIG)]), "PAYLOAD_TOO_LARGE"),
    ("odd signal along", lambda w: w.start(signals=[Signal(name="x y")]), "INVALID_REQUEST", "signals[0].name"),
    ("undeclared signal along", lambda w: w.start(signals=[Signal(name="x")]), "SIGNAL_UNDECLARED", "signal.name"),
    ("run id taken", lambda w: w.start(run_id=w.held), "RUN_EXISTS", "run_id"),
    ("run id of a closed run", lambda w: w.start(run_id=w.closed), "RUN_EXISTS", "run_id"),
    ("empty batch", lambda w: w.stubs.runs.StartRuns(runs.StartRunsRequest()), "INVALID_REQUEST", "starts"),
    (
        "large batch",
        lambda w: w.stubs.runs.StartRuns(runs.StartRunsRequest(starts=[runs.StartRunRequest()] * 1_001)),
        "LIMIT_EXCEEDED",
        "starts",
    ),
]
READS: list[Row] = [
    ("unknown run", lambda w: w.get("nobody"), "RUN_NOT_FOUND", "run_id"),
    ("no run", lambda w: w.get(""), "INVALID_REQUEST", "run_id"),
    ("odd run", lambda w: w.get("../x"), "INVALID_REQUEST", "run_id"),
    ("unknown view", lambda w: w.get(w.held, payload_view=7), "INVALID_REQUEST", "payload_view"),
    (
        "wait for an unknown run",
        lambda w: w.stubs.runs.WaitRun(runs.WaitRunRequest(run_id="nobody")),
        "RUN_NOT_FOUND",
        "run_id",
    ),
    (
        "wait for less than nothing",
        lambda w: w.stubs.runs.WaitRun(runs.WaitRunRequest(run_id=w.held, park_timeout=NEGATIVE)),
        "INVALID_REQUEST",
        "park_timeout",
    ),
    ("history of an unknown run", lambda w: w.history(run_id="nobody"), "RUN_NOT_FOUND", "run_id"),
    ("large page of history", lambda w: w.history(page_size=10_001), "INVALID_REQUEST", "page_size"),
    ("page of another list", lambda w: w.history(page_token=paging.encode("runs", 1, 1)), "PAGE_TOKEN_INVALID"),
    ("unknown view of history", lambda w: w.history(payload_view=9), "INVALID_REQUEST", "payload_view"),
    ("odd page token", lambda w: w.listed(page_token="bm9uZQ"), "PAGE_TOKEN_INVALID", "page_token"),
    ("no page token", lambda w: w.listed(page_token="\u2603"), "PAGE_TOKEN_INVALID", "page_token"),
    ("huge page token", lambda w: w.listed(page_token=paging.encode("runs", 2**63, 1)), "PAGE_TOKEN_INVALID"),
    ("page token of texts", lambda w: w.listed(page_token=paging.encode("runs", "1", "1")), "PAGE_TOKEN_INVALID"),
    ("negative page", lambda w: w.listed(page_size=-1), "INVALID_REQUEST", "page_size"),
    ("large page", lambda w: w.listed(page_size=1_001), "INVALID_REQUEST", "page_size"),
    ("unknown state", lambda w: w.filtered(states=[99]), "INVALID_REQUEST", "filter.states[0]"),
    ("state of nothing", lambda w: w.filtered(states=[1, 0]), "INVALID_REQUEST", "filter.states[1]"),
    ("unknown wait", lambda w: w.filtered(waiting_reasons=[99]), "INVALID_REQUEST", "filter.waiting_reasons[0]"),
    ("odd workflow", lambda w: w.filtered(workflow="a b"), "INVALID_REQUEST", "filter.workflow"),
    ("long key", lambda w: w.filtered(key=LONG), "INVALID_REQUEST", "filter.key"),
    ("odd time", lambda w: w.filtered(start_after_time=NEVER), "INVALID_REQUEST", "filter.start_after_time"),
    (
        "count of nothing known",
        lambda w: w.stubs.runs.CountRuns(runs.CountRunsRequest(filter=runs.RunFilter(states=[42]))),  # type: ignore[list-item]
        "INVALID_REQUEST",
        "filter.states[0]",
    ),
    (
        "watch of many closed runs",
        lambda w: _first(w.stubs.runs.WatchRuns(runs.WatchRunsRequest(closed_limit=1_001))),
        "INVALID_REQUEST",
        "closed_limit",
    ),
    (
        "watch of less than none",
        lambda w: _first(w.stubs.runs.WatchRuns(runs.WatchRunsRequest(closed_limit=-1))),
        "INVALID_REQUEST",
        "closed_limit",
    ),
    (
        "watch of another namespace",
        lambda w: _first(w.stubs.gates.WatchGates(gates.WatchGatesRequest(namespace="x"))),
        "NAMESPACE_NOT_FOUND",
        "namespace",
    ),
    (
        "large page of queues",
        lambda w: w.stubs.operations.ListQueues(operations.ListQueuesRequest(page_size=1_001)),
        "INVALID_REQUEST",
        "page_size",
    ),
    (
        "odd page of workers",
        lambda w: w.stubs.operations.ListWorkers(operations.ListWorkersRequest(page_token="x")),
        "PAGE_TOKEN_INVALID",
        "page_token",
    ),
]
CHANGES: list[Row] = [
    ("undeclared signal", lambda w: w.signal(w.held, "nothing", 1), "SIGNAL_UNDECLARED", "signal.name"),
    ("signal against its schema", lambda w: w.signal(w.held, "go", 1), "SIGNAL_SCHEMA", "signal.payload"),
    ("odd signal", lambda w: w.signal(w.held, "Go!", 1), "INVALID_REQUEST", "signal.name"),
    ("long signal", lambda w: w.signal(w.held, "x" * 64, 1), "INVALID_REQUEST", "signal.name"),
    ("signal to a closed run", lambda w: w.signal(w.closed, "other", 1), "RUN_CLOSED", "run_id"),
    ("signal to nobody", lambda w: w.signal("nobody", "other", 1), "RUN_NOT_FOUND", "run_id"),
    ("large signal", lambda w: w.signal(w.held, "other", "x" * 4 * MIB), "PAYLOAD_TOO_LARGE", "signal.payload"),
    ("no signals", lambda w: w.stubs.runs.SignalRuns(runs.SignalRunsRequest()), "INVALID_REQUEST", "signals"),
    (
        "many signals",
        lambda w: w.stubs.runs.SignalRuns(runs.SignalRunsRequest(signals=[runs.SignalRunRequest()] * 1_001)),
        "LIMIT_EXCEEDED",
        "signals",
    ),
    ("unknown query", lambda w: w.query(name="nothing"), "QUERY_NOT_FOUND", "name"),
    ("no query", lambda w: w.query(), "INVALID_REQUEST", "query"),
    ("query that does not compile", lambda w: w.query(expression="1 +"), "QUERY_FAILED", "expression"),
    ("query of the wrong type", lambda w: w.query(expression="run.id + 1"), "QUERY_FAILED", "query"),
    ("long query", lambda w: w.query(expression="1" * 4_097), "LIMIT_EXCEEDED", "expression"),
    (
        "unknown gate",
        lambda w: w.stubs.gates.GetGate(gates.GetGateRequest(run_id=w.held, step_path="hold")),
        "GATE_NOT_FOUND",
        "step_path",
    ),
    (
        "long path",
        lambda w: w.stubs.gates.GetGate(gates.GetGateRequest(run_id=w.held, step_path="x" * 1_025)),
        "INVALID_REQUEST",
        "step_path",
    ),
    (
        "odd page of gates",
        lambda w: w.stubs.gates.ListGates(gates.ListGatesRequest(page_token="x")),
        "PAGE_TOKEN_INVALID",
        "page_token",
    ),
    ("no action", lambda w: w.act("hold"), "INVALID_REQUEST", "action"),
    ("action on no step", lambda w: w.act("", retry=RETRY), "INVALID_REQUEST", "step_path"),
    ("action on an unknown step", lambda w: w.act("nope", retry=RETRY), "STEP_NOT_FOUND", "step_path"),
    ("action on a long path", lambda w: w.act("x" * 1_025, retry=RETRY), "INVALID_REQUEST", "step_path"),
    ("retry of what has no attempt", lambda w: w.act("hold", retry=RETRY), "ILLEGAL_STATE", "step_path"),
    ("action on a closed run", lambda w: w.act("only", w.closed, retry=RETRY), "RUN_CLOSED", "run_id"),
    ("action on nobody", lambda w: w.act("only", "nobody", retry=RETRY), "RUN_NOT_FOUND", "run_id"),
    ("long note of an action", lambda w: w.act("hold", retry=RETRY, note="x" * 16_385), "LIMIT_EXCEEDED", "note"),
    ("large output", lambda w: w.act("hold", skip=SkipStep(output=BIG)), "PAYLOAD_TOO_LARGE", "skip.output"),
    ("output by reference", lambda w: w.act("hold", skip=SkipStep(output=REF)), "INVALID_REQUEST", "skip.output"),
    (
        "output that is no JSON at a gate",
        lambda w: w.act("ask", skip=SkipStep(output=Payload(data=b"{"))),
        "OUTPUT_SCHEMA",
        "skip.output",
    ),
    (
        "output against its schema",
        lambda w: w.act("hold", skip=SkipStep(output=json_payload({"word": 1}))),
        "OUTPUT_SCHEMA",
        "skip.output.word",
    ),
    ("reserved type", lambda w: w.act("hold", fail=FailStep(type="Lost")), "INVALID_REQUEST", "fail.type"),
    ("long type", lambda w: w.act("hold", fail=FailStep(type=LONG)), "LIMIT_EXCEEDED", "fail.type"),
    (
        "long message",
        lambda w: w.act("hold", fail=FailStep(message="x" * 16_385)),
        "LIMIT_EXCEEDED",
        "fail.message",
    ),
    ("no decision", lambda w: w.decide(0), "INVALID_REQUEST", "decision"),
    ("unknown decision", lambda w: w.decide(99), "INVALID_REQUEST", "decision"),
    ("decision on another revision", lambda w: w.decide(APPROVE, revision=7), "GATE_REVISION", "revision"),
    ("decision on a negative revision", lambda w: w.decide(APPROVE, revision=-1), "GATE_REVISION", "revision"),
    ("decision on another content", lambda w: w.decide(APPROVE, content_hash=b"x"), "GATE_HASH", "content_hash"),
    (
        "decision the gate does not take",
        lambda w: w.decide(Decision.DECISION_EDIT, payload=json_payload({})),
        "DECISION_NOT_ALLOWED",
        "decision",
    ),
    (
        "decision against its schema",
        lambda w: w.decide(APPROVE, payload=json_payload("yes")),
        "DECISION_SCHEMA",
        "payload",
    ),
    ("large decision", lambda w: w.decide(APPROVE, payload=BIG), "PAYLOAD_TOO_LARGE", "payload"),
    ("long comment", lambda w: w.decide(APPROVE, comment="x" * 16_385), "LIMIT_EXCEEDED", "comment"),
    (
        "cancel of a closed run",
        lambda w: w.stubs.runs.CancelRun(runs.CancelRunRequest(run_id=w.closed)),
        "RUN_CLOSED",
        "run_id",
    ),
    (
        "long note",
        lambda w: w.stubs.runs.PauseRun(runs.PauseRunRequest(run_id=w.held, note="x" * 16_385)),
        "LIMIT_EXCEEDED",
        "note",
    ),
    (
        "retry of a run that succeeded",
        lambda w: w.stubs.runs.RetryRun(runs.RetryRunRequest(run_id=w.closed)),
        "ILLEGAL_STATE",
    ),
    ("retry of an open run", lambda w: w.stubs.runs.RetryRun(runs.RetryRunRequest(run_id=w.held)), "ILLEGAL_STATE"),
    ("delete an open run", lambda w: w.stubs.runs.DeleteRun(runs.DeleteRunRequest(run_id=w.held)), "ILLEGAL_STATE"),
    ("delete nothing", lambda w: w.stubs.runs.DeleteRun(runs.DeleteRunRequest(run_id="nobody")), "RUN_NOT_FOUND"),
    (
        "delete with a long request id",
        lambda w: w.stubs.runs.DeleteRun(runs.DeleteRunRequest(run_id=w.closed, request_id="x" * 129)),
        "LIMIT_EXCEEDED",
        "request_id",
    ),
]
WORKERS: list[Row] = [
    ("poll without handlers", lambda w: w.poll(handlers=[]), "INVALID_REQUEST", "handlers"),
    ("poll with many handlers", lambda w: w.poll(handlers=["h"] * 1_001), "LIMIT_EXCEEDED", "handlers"),
    ("poll without slots", lambda w: w.poll(slots_total=0), "INVALID_REQUEST", "slots_total"),
    ("poll with many slots", lambda w: w.poll(slots_total=10_001), "INVALID_REQUEST", "slots_total"),
    ("poll for less than no time", lambda w: w.poll(park_timeout=NEGATIVE), "INVALID_REQUEST", "park_timeout"),
    ("poll by nobody", lambda w: w.poll(worker=WorkerInfo()), "INVALID_REQUEST", "worker.id"),
    ("poll of no session", lambda w: w.poll(worker=WorkerInfo(id="x")), "INVALID_REQUEST", "worker.session_id"),
    ("odd queue", lambda w: w.poll(queue="a/b"), "INVALID_REQUEST", "queue"),
    ("odd handler", lambda w: w.poll(handlers=["h", "a b"]), "INVALID_REQUEST", "handlers[1]"),
    ("poll of another namespace", lambda w: w.poll(namespace="x"), "NAMESPACE_NOT_FOUND", "namespace"),
    ("talkative worker", lambda w: w.beat(identity="x" * 257), "LIMIT_EXCEEDED", "worker.identity"),
    ("many held tasks", lambda w: w.beat(*[workers.HeldTask()] * 10_001), "LIMIT_EXCEEDED", "held"),
    ("large details", lambda w: w.beat(workers.HeldTask(details=BIG)), "PAYLOAD_TOO_LARGE", "held[0].details"),
    ("many results", lambda w: w.complete(1_001), "LIMIT_EXCEEDED", "results"),
]
TABLE = [*DEFINITIONS, *STARTS, *READS, *CHANGES, *WORKERS]
