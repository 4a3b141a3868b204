"""Bad input: one table of what can be wrong with a request, and exactly what the server says to it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from uuid import uuid4

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from grpc import aio

from holdfast.v1 import (
    gate_service_pb2 as gates,
    operations_service_pb2 as operations,
    run_service_pb2 as runs,
    worker_service_pb2 as workers,
    workflow_service_pb2 as workflows,
)
from holdfast.v1.definition_pb2 import Decision
from holdfast.v1.errors_pb2 import ErrorReason
from holdfast.v1.payload_pb2 import JsonValue, Payload, PayloadRef
from holdfast.v1.run_pb2 import RunState, WaitingReason
from holdfast.v1.signal_pb2 import Signal
from holdfast.v1.task_pb2 import TaskResult, WorkerInfo
from tests.integration.raw import MIB, RawWorker, Stubs, json_payload, refused

LONG = "x" * 200
HELD = """
name: held
input_schema: {type: [object, "null"], properties: {n: {type: integer}}}
signals: [{name: go, schema: {type: object, required: [word]}}, {name: other}]
queries: [{name: word, expression: "input.n"}]
steps:
  - {name: ask, gate: {title: Ask, decisions: [APPROVE, REJECT], response_schema: {type: [object, "null"]}}}
  - {name: hold, wait: {signal: go}}
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

    def poll(self, **fields: object) -> Awaitable[object]:
        worker = WorkerInfo(id="table", session_id="table")
        given = {"worker": worker, "handlers": ["work"], "slots_total": 1} | fields
        return self.stubs.workers.PollTasks(workers.PollTasksRequest(**given))  # type: ignore[arg-type]


@dataclass(frozen=True)
class Case:
    """One fault."""

    name: str
    call: Callable[[World], Awaitable[object]]
    reason: str
    code: str
    fields: tuple[str, ...] = ()


BIG = Payload(data=b'"' + b"x" * (4 * MIB) + b'"')
SHORT = Duration(seconds=-1)

TABLE = [
    # definitions
    Case("yaml", lambda w: w.register("name: [a"), "INVALID_DEFINITION", "INVALID_ARGUMENT"),
    Case("empty document", lambda w: w.register(""), "INVALID_DEFINITION", "INVALID_ARGUMENT"),
    Case(
        "dangling edge",
        lambda w: w.register("{name: a, steps: [{name: x, compute: {}, after: [{step: nobody}]}]}"),
        "INVALID_DEFINITION",
        "INVALID_ARGUMENT",
        ("steps[0].after[0].step",),
    ),
    Case(
        "cycle",
        lambda w: w.register(
            "{name: a, steps: [{name: x, compute: {}, after: [{step: y}]}, {name: y, compute: {}, after: [{step: x}]}]}"
        ),
        "INVALID_DEFINITION",
        "INVALID_ARGUMENT",
    ),
    Case(
        "wrong type in CEL",
        lambda w: w.register(
            '{name: a, steps: [{name: x, compute: {}}, {name: y, compute: {}, after: [{step: x, when: "1 +"}]}]}'
        ),
        "INVALID_DEFINITION",
        "INVALID_ARGUMENT",
        ("steps[1].after[0].when",),
    ),
    Case(
        "document over the limit",
        lambda w: w.register("#" * (MIB + 1)),
        "LIMIT_EXCEEDED",
        "RESOURCE_EXHAUSTED",
        ("source",),
    ),
    Case(
        "unknown workflow shown",
        lambda w: w.stubs.workflows.GetWorkflow(workflows.GetWorkflowRequest(name="nobody")),
        "WORKFLOW_NOT_FOUND",
        "NOT_FOUND",
    ),
    # starts
    Case("unknown workflow", lambda w: w.start(workflow="nobody"), "WORKFLOW_NOT_FOUND", "NOT_FOUND"),
    Case("unknown version", lambda w: w.start(version=99), "WORKFLOW_NOT_FOUND", "NOT_FOUND"),
    Case("negative version", lambda w: w.start(version=-1), "INVALID_REQUEST", "INVALID_ARGUMENT", ("version",)),
    Case(
        "unknown namespace", lambda w: w.start(namespace="nowhere"), "NAMESPACE_NOT_FOUND", "NOT_FOUND", ("namespace",)
    ),
    Case("no workflow", lambda w: w.start(workflow=""), "INVALID_REQUEST", "INVALID_ARGUMENT", ("workflow",)),
    Case("long run id", lambda w: w.start(run_id=LONG), "INVALID_REQUEST", "INVALID_ARGUMENT", ("run_id",)),
    Case("odd key", lambda w: w.start(key="a b"), "INVALID_REQUEST", "INVALID_ARGUMENT", ("key",)),
    Case("unknown policy", lambda w: w.start(on_conflict=99), "INVALID_REQUEST", "INVALID_ARGUMENT", ("on_conflict",)),
    Case("negative timeout", lambda w: w.start(timeout=SHORT), "INVALID_REQUEST", "INVALID_ARGUMENT", ("timeout",)),
    Case("odd trace", lambda w: w.start(traceparent="00-x"), "INVALID_REQUEST", "INVALID_ARGUMENT", ("traceparent",)),
    Case(
        "long request id", lambda w: w.start(request_id=LONG), "LIMIT_EXCEEDED", "RESOURCE_EXHAUSTED", ("request_id",)
    ),
    Case(
        "input against its schema",
        lambda w: w.start(input=json_payload({"n": "one"})),
        "INPUT_SCHEMA",
        "INVALID_ARGUMENT",
    ),
    Case("input that is no JSON", lambda w: w.start(input=Payload(data=b"{")), "INPUT_SCHEMA", "INVALID_ARGUMENT"),
    Case("large input", lambda w: w.start(input=BIG), "PAYLOAD_TOO_LARGE", "INVALID_ARGUMENT", ("input",)),
    Case(
        "input by reference",
        lambda w: w.start(input=Payload(ref=PayloadRef(sha256=b"x" * 32, size_bytes=1))),
        "INVALID_REQUEST",
        "INVALID_ARGUMENT",
        ("input",),
    ),
    Case(
        "attribute that is no JSON",
        lambda w: w.start(attributes={"team": JsonValue(json="{")}),
        "INVALID_REQUEST",
        "INVALID_ARGUMENT",
        ("attributes.team",),
    ),
    Case(
        "too many signals along",
        lambda w: w.start(signals=[Signal(name="other")] * 101),
        "LIMIT_EXCEEDED",
        "RESOURCE_EXHAUSTED",
        ("signals",),
    ),
    Case("run id taken", lambda w: w.start(run_id=w.held), "RUN_EXISTS", "ALREADY_EXISTS", ("run_id",)),
    Case(
        "empty batch",
        lambda w: w.stubs.runs.StartRuns(runs.StartRunsRequest()),
        "INVALID_REQUEST",
        "INVALID_ARGUMENT",
        ("starts",),
    ),
    Case(
        "large batch",
        lambda w: w.stubs.runs.StartRuns(runs.StartRunsRequest(starts=[runs.StartRunRequest()] * 1_001)),
        "LIMIT_EXCEEDED",
        "RESOURCE_EXHAUSTED",
        ("starts",),
    ),
    # reads
    Case(
        "unknown run",
        lambda w: w.stubs.runs.GetRun(runs.GetRunRequest(run_id="nobody")),
        "RUN_NOT_FOUND",
        "NOT_FOUND",
    ),
    Case(
        "wait for an unknown run",
        lambda w: w.stubs.runs.WaitRun(runs.WaitRunRequest(run_id="nobody")),
        "RUN_NOT_FOUND",
        "NOT_FOUND",
    ),
    Case(
        "history of an unknown run",
        lambda w: w.stubs.runs.GetHistory(runs.GetHistoryRequest(run_id="nobody")),
        "RUN_NOT_FOUND",
        "NOT_FOUND",
    ),
    Case(
        "page token of another list",
        lambda w: w.stubs.runs.ListRuns(runs.ListRunsRequest(page_token="bm9uZQ")),
        "PAGE_TOKEN_INVALID",
        "INVALID_ARGUMENT",
        ("page_token",),
    ),
    Case(
        "negative page",
        lambda w: w.stubs.runs.ListRuns(runs.ListRunsRequest(page_size=-1)),
        "INVALID_REQUEST",
        "INVALID_ARGUMENT",
        ("page_size",),
    ),
    Case(
        "unknown state",
        lambda w: w.stubs.runs.ListRuns(runs.ListRunsRequest(filter=runs.RunFilter(states=[99]))),  # type: ignore[list-item]
        "INVALID_REQUEST",
        "INVALID_ARGUMENT",
        ("filter.states[0]",),
    ),
    Case(
        "large page of queues",
        lambda w: w.stubs.operations.ListQueues(operations.ListQueuesRequest(page_size=1_001)),
        "INVALID_REQUEST",
        "INVALID_ARGUMENT",
        ("page_size",),
    ),
    # signals and queries
    Case("undeclared signal", lambda w: w.signal(w.held, "nothing", 1), "SIGNAL_UNDECLARED", "INVALID_ARGUMENT"),
    Case("signal against its schema", lambda w: w.signal(w.held, "go", 1), "SIGNAL_SCHEMA", "INVALID_ARGUMENT"),
    Case("odd signal", lambda w: w.signal(w.held, "Go!", 1), "INVALID_REQUEST", "INVALID_ARGUMENT", ("signal.name",)),
    Case("signal to a closed run", lambda w: w.signal(w.closed, "other", 1), "RUN_CLOSED", "FAILED_PRECONDITION"),
    Case("signal to nobody", lambda w: w.signal("nobody", "other", 1), "RUN_NOT_FOUND", "NOT_FOUND"),
    Case("unknown query", lambda w: w.query(name="nothing"), "QUERY_NOT_FOUND", "NOT_FOUND", ("name",)),
    Case("no query", lambda w: w.query(), "INVALID_REQUEST", "INVALID_ARGUMENT", ("query",)),
    Case("query that does not compile", lambda w: w.query(expression="1 +"), "QUERY_FAILED", "INVALID_ARGUMENT"),
    Case("query of the wrong type", lambda w: w.query(expression="run.id + 1"), "QUERY_FAILED", "INVALID_ARGUMENT"),
    Case(
        "long query",
        lambda w: w.query(expression="1" * 4_097),
        "LIMIT_EXCEEDED",
        "RESOURCE_EXHAUSTED",
        ("expression",),
    ),
    # gates
    Case(
        "unknown gate",
        lambda w: w.stubs.gates.GetGate(gates.GetGateRequest(run_id=w.held, step_path="hold")),
        "GATE_NOT_FOUND",
        "NOT_FOUND",
    ),
    Case("no decision", lambda w: w.decide(0), "INVALID_REQUEST", "INVALID_ARGUMENT", ("decision",)),
    Case(
        "decision on another revision",
        lambda w: w.decide(Decision.DECISION_APPROVE, revision=7),
        "GATE_REVISION",
        "ABORTED",
        ("revision",),
    ),
    Case(
        "decision on another content",
        lambda w: w.decide(Decision.DECISION_APPROVE, content_hash=b"other"),
        "GATE_HASH",
        "ABORTED",
        ("content_hash",),
    ),
    Case(
        "decision the gate does not take",
        lambda w: w.decide(Decision.DECISION_EDIT, payload=json_payload({})),
        "DECISION_NOT_ALLOWED",
        "INVALID_ARGUMENT",
        ("decision",),
    ),
    Case(
        "decision against its schema",
        lambda w: w.decide(Decision.DECISION_APPROVE, payload=json_payload("yes")),
        "DECISION_SCHEMA",
        "INVALID_ARGUMENT",
    ),
    Case(
        "long comment",
        lambda w: w.decide(Decision.DECISION_APPROVE, comment="x" * 16_385),
        "LIMIT_EXCEEDED",
        "RESOURCE_EXHAUSTED",
        ("comment",),
    ),
    # operations
    Case(
        "cancel of a closed run",
        lambda w: w.stubs.runs.CancelRun(runs.CancelRunRequest(run_id=w.closed)),
        "RUN_CLOSED",
        "FAILED_PRECONDITION",
    ),
    Case(
        "retry of a run that succeeded",
        lambda w: w.stubs.runs.RetryRun(runs.RetryRunRequest(run_id=w.closed)),
        "ILLEGAL_STATE",
        "FAILED_PRECONDITION",
    ),
    Case(
        "retry of an open run",
        lambda w: w.stubs.runs.RetryRun(runs.RetryRunRequest(run_id=w.held)),
        "ILLEGAL_STATE",
        "FAILED_PRECONDITION",
    ),
    # workers
    Case("poll without handlers", lambda w: w.poll(handlers=[]), "INVALID_REQUEST", "INVALID_ARGUMENT", ("handlers",)),
    Case(
        "poll without slots", lambda w: w.poll(slots_total=0), "INVALID_REQUEST", "INVALID_ARGUMENT", ("slots_total",)
    ),
    Case(
        "poll by nobody", lambda w: w.poll(worker=WorkerInfo()), "INVALID_REQUEST", "INVALID_ARGUMENT", ("worker.id",)
    ),
    Case("odd queue", lambda w: w.poll(queue="a/b"), "INVALID_REQUEST", "INVALID_ARGUMENT", ("queue",)),
    Case("odd handler", lambda w: w.poll(handlers=["a b"]), "INVALID_REQUEST", "INVALID_ARGUMENT", ("handlers[0]",)),
]


@pytest.mark.asyncio
@pytest.mark.parametrize("case", TABLE, ids=[case.name for case in TABLE])
async def test_bad_input_is_refused_by_name(case: Case, stubs: Stubs) -> None:
    world = await World(stubs).prepare()
    with refused(case.reason, case.code, *case.fields) as told:
        await case.call(world)
    assert told.message
    assert all(told.violations.values())


@pytest.mark.asyncio
async def test_a_message_over_the_limit_is_refused_and_the_connection_goes_on(stubs: Stubs) -> None:
    world = await World(stubs).prepare()
    with refused("LIMIT_EXCEEDED", "RESOURCE_EXHAUSTED") as told:
        await world.start(input=Payload(data=b"x" * (17 * MIB)))
    assert (told.metadata["limit"], told.metadata["value"]) == ("message_bytes", str(16 * MIB))
    assert int(told.metadata["actual"]) > 17 * MIB
    with pytest.raises(aio.AioRpcError) as caught:  # the transport does not even take it in
        await world.start(input=Payload(data=b"x" * (65 * MIB)))
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    await world.start()


@pytest.mark.asyncio
async def test_a_request_id_is_for_one_request(stubs: Stubs) -> None:
    world = await World(stubs).prepare()
    request_id = uuid4().hex
    await world.start(request_id=request_id)
    with refused("REQUEST_ID_REUSED", "INVALID_ARGUMENT", "request_id"):
        await world.start(request_id=request_id, key="another")


@pytest.mark.asyncio
async def test_a_decision_on_a_resolved_gate_says_who_was_first(stubs: Stubs) -> None:
    world = await World(stubs).prepare()
    await world.decide(Decision.DECISION_REJECT)
    with refused("GATE_RESOLVED", "FAILED_PRECONDITION") as told:
        await world.decide(Decision.DECISION_APPROVE)
    assert told.metadata["resolution"] == "REJECTED"
    assert told.metadata["decided_by"] == "anonymous"
    assert told.metadata["decided_at"]


@pytest.mark.asyncio
async def test_tokens_that_are_forged_stale_or_somebody_elses_are_told_apart(stubs: Stubs) -> None:
    world = await World(stubs).prepare()
    worker, other = (RawWorker(stubs, "work", queue="bad-input") for _ in range(2))
    await world.start(workflow="worked")
    task = await worker.task()
    bad = bytearray(task.token)
    bad[-1] ^= 1
    answer = await worker.settle(
        TaskResult(token=bytes(bad), output=json_payload({})), TaskResult(token=b"", output=json_payload({}))
    )
    foreign = await other.settle(TaskResult(token=task.token, output=json_payload({})))
    nothing = await worker.settle(TaskResult(token=task.token))
    reasons = [one.error.reason for one in (*answer.rejected, *foreign.rejected, *nothing.rejected)]
    assert reasons == [ErrorReason.ERROR_REASON_TOKEN_INVALID] * 3 + [ErrorReason.ERROR_REASON_INVALID_REQUEST]
    wrong = await worker.settle(TaskResult(token=task.token, output=json_payload("no object")))
    assert [one.error.reason for one in wrong.rejected] == [ErrorReason.ERROR_REASON_OUTPUT_SCHEMA]


@pytest.mark.asyncio
async def test_what_nobody_serves_says_so_instead_of_failing(stubs: Stubs) -> None:
    world = await World(stubs).prepare()
    await world.register("{name: unserved, steps: [{name: x, task: {handler: nobody, queue: nowhere}}]}")
    run_id = (await stubs.runs.StartRun(runs.StartRunRequest(workflow="unserved"))).run_id
    run = (await stubs.runs.GetRun(runs.GetRunRequest(run_id=run_id))).run
    assert run.summary.waiting_reason == WaitingReason.WAITING_REASON_NO_WORKER
    assert "no worker serves handler 'nobody' on queue 'nowhere'" in run.waiting_on[0].message


@pytest.mark.asyncio
async def test_an_expression_that_meets_the_wrong_type_fails_its_step_by_name(stubs: Stubs) -> None:
    world = await World(stubs).prepare()
    await world.register(
        "{name: mistyped, steps: [{name: a, compute: {}, input: {n: one}}, "
        '{name: b, compute: {}, after: [{step: a, when: "steps.a.output.n > 1"}]}]}'
    )
    run_id = (await stubs.runs.StartRun(runs.StartRunRequest(workflow="mistyped"))).run_id
    run = (await stubs.runs.GetRun(runs.GetRunRequest(run_id=run_id))).run
    assert run.summary.state == RunState.RUN_STATE_FAILED
    assert (run.failure.type, run.failure.step_path) == ("ExpressionError", "b")
    assert "steps.a.output.n > 1" in run.failure.message
