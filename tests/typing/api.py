"""The public interface as type checkers see it. Read by mypy, never run: a wrong type here is a broken promise."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, assert_type

from pydantic import BaseModel

from holdfast import (
    Client,
    Failure,
    Handler,
    NonRetryable,
    RunHandle,
    TaskContext,
    Worker,
    Workflow,
    handler,
    run_filter,
)
from holdfast.builder import Edge, Expression, Gate as GateStep, Reference, SignalReference, Step
from holdfast.converter import Codec, Converter
from holdfast.errors import GateResolvedError, LimitExceededError, RunFailedError
from holdfast.testing import RunningHandler, run_handler, running_handler
from holdfast.v1 import failure_pb2
from holdfast.v1.gate_pb2 import Gate
from holdfast.v1.history_pb2 import HistoryEvent
from holdfast.v1.payload_pb2 import Payload
from holdfast.v1.run_pb2 import Activation, Run, RunState, RunSummary
from holdfast.v1.run_service_pb2 import CountRunsResponse, RunFilter, WatchRunsResponse
from holdfast.v1.task_pb2 import QueueSummary, TaskResult, WorkerSummary
from holdfast.v1.workflow_service_pb2 import Diagnostic, RegisterWorkflowResponse
from holdfast_server.testing import LocalServer


class Question(BaseModel):
    text: str


@dataclass
class Report:
    title: str


@handler
async def write(ctx: TaskContext, question: Question) -> Report:
    return Report(question.text)


@handler(name="count", queue="tools")
def count_words(text: str) -> int:
    return len(text)


async def calls(ctx: TaskContext) -> None:
    assert_type(await write(ctx, Question(text="why")), Report)
    await write(Question(text="why"))  # type: ignore[call-arg,arg-type]


assert_type(count_words("a b"), int)
count_words(1)  # type: ignore[arg-type]
handler(name=1)  # type: ignore[call-overload]


async def clients() -> None:
    async with Client("localhost:7411", namespace="team", actor="ada", timeout_s=5) as client:
        handle = await client.start(
            "report",
            Question(text="why"),
            run_id="r1",
            key="k",
            on_conflict="USE_EXISTING",
            version=2,
            attributes={"team": "north"},
            start_after=timedelta(minutes=5),
            timeout=timedelta(hours=1),
            signals=[("go", {"a": 1})],
        )
        assert_type(handle, RunHandle)
        assert_type(await handle.result(Report), Report)
        assert_type(await handle.result(), Any)
        assert_type(await handle.result(timeout_s=3), Any)
        assert_type(await handle.get(), Run)
        assert_type(handle.history(), AsyncIterator[HistoryEvent])
        assert_type(handle.watch(after_seq=3), AsyncIterator[HistoryEvent])
        assert_type(await handle.signal("go", {"a": 1}), int)
        assert_type(await handle.query("progress"), Any)
        assert_type(await handle.query_expression("input.text", str), Any)
        assert_type(await handle.pause("lunch"), RunSummary)
        assert_type(await handle.retry(), RunSummary)
        assert_type(await handle.delete(), datetime)
        assert_type(await handle.retry_step("search", "the provider is back"), Activation)
        assert_type(await handle.skip_step("search", {"a": 1}, note="by hand"), Activation)
        assert_type(await handle.fail_step("search", "down", type="Provider.Down"), Activation)
        await handle.skip_step(["search"])  # type: ignore[arg-type]

        assert_type(await client.run("report", result_type=Report, key="k"), Report)
        assert_type(await client.run("report", Question(text="why")), Any)
        await client.start("report", on_conflict="MAYBE")  # type: ignore[arg-type]
        await client.start("report", start_after=datetime.now(UTC))
        await client.start("report", timeout=5)  # type: ignore[arg-type]
        await client.run("report", versoin=1)  # type: ignore[call-overload]

        assert_type(run_filter(states=["RUNNING", RunState.RUN_STATE_PAUSED], waiting=["GATE"]), RunFilter)
        assert_type(client.runs.list(run_filter(workflow="w"), limit=3), AsyncIterator[RunSummary])
        assert_type(await client.runs.count(), CountRunsResponse)
        assert_type(client.runs.watch(cursor="c"), AsyncIterator[WatchRunsResponse])

        gate = await client.gates.get("r1", "review")
        assert_type(gate, Gate)
        assert_type(await client.gates.approve(gate, {"a": 1}, comment="fine"), Gate)
        assert_type(await client.gates.reject(gate, comment="no"), Gate)
        assert_type(await client.gates.edit(gate, Report("x")), Gate)
        assert_type(await client.gates.decide(gate, "RETRY"), Gate)
        assert_type(client.gates.list(run_id="r1"), AsyncIterator[Gate])
        await client.gates.approve("r1")  # type: ignore[arg-type]

        assert_type(await client.register("name: w"), RegisterWorkflowResponse)
        assert_type(await client.register(Workflow("w")), RegisterWorkflowResponse)
        assert_type(await client.validate({"name": "w"}), list[Diagnostic])
        assert_type(client.operations.queues(), AsyncIterator[QueueSummary])
        assert_type(client.operations.workers(), AsyncIterator[WorkerSummary])
        await client.register(7)  # type: ignore[arg-type]

        worker = Worker(client, [write, count_words, len], queue="q", slots=5, grace_s=1)
        assert_type(await worker.run(), None)
        assert_type(await worker.stop(grace_s=0), None)


def errors(fault: RunFailedError, gate: GateResolvedError, limit: LimitExceededError) -> None:
    assert_type(fault.failure, failure_pb2.Failure | None)
    assert_type(fault.failure_type, str)
    assert_type(gate.decided_by, str)
    assert_type(limit.actual, int | None)
    raise NonRetryable("no", type="Denied", details={"a": 1}, retry_after=timedelta(seconds=1)) from Failure()


class Gzip:
    def encode(self, payload: Payload) -> Payload:
        return payload

    def decode(self, payload: Payload) -> Payload:
        return payload


codec: Codec = Gzip()
assert_type(Converter(codec).encode({"a": 1}), Payload)


def builders() -> None:
    wf = Workflow("report", input=Question, timeout="24h")
    go = wf.signal("go", Report)
    assert_type(go, SignalReference)
    plan = wf.task("plan", write, input={"text": wf.input.text})
    assert_type(plan, Step)
    assert_type(plan.output.title, Reference)
    assert_type(plan.output["title"], Reference)
    assert_type(plan.output.pages > 3, Expression)
    assert_type((plan.output.pages == 3) & (plan.state == "SUCCEEDED"), Expression)
    assert_type(plan.on_failed(), Edge)
    gate = wf.gate("review", title=f"Publish {plan.output.title}?", after=plan, decisions=["APPROVE", "REJECT"])
    assert_type(gate, GateStep)
    wf.task("publish", "publish_elsewhere", after=[gate.on_approved(), plan.on_failed()], join="INCLUSIVE")
    wf.wait("wait", go, timeout=timedelta(hours=1), after=plan, when=plan.output.pages > 3)
    wf.sleep("nap", timedelta(seconds=3), cleanup=True)
    wf.compute("sum", {"a": plan.output.pages + 1}, after=plan)
    assert_type(wf.handlers, Sequence[Handler[..., Any]])
    assert_type(wf.document(), dict[str, Any])
    wf.gate("bad", title="t", decisions=["RETRY"])  # type: ignore[list-item]
    wf.task("bad", write, afer=plan)  # type: ignore[call-arg]


async def kit() -> None:
    assert_type(await run_handler(write, Question(text="x"), attempt=2), Any)
    async with running_handler(count_words, "a b") as running:
        assert_type(running, RunningHandler)
        running.cancel()
        assert_type(await running.result(), TaskResult)
    async with LocalServer(start=datetime.now(UTC), settings={"lease_s": 5.0}) as server:
        assert_type(server, LocalServer)
        assert_type(server.client, Client)
        assert_type(server.new_client(actor="bob"), Client)
        assert_type(server.now(), datetime)
        assert_type(server.next_due(), datetime | None)
        assert_type(await server.skip(timedelta(hours=1), days=1.5), datetime)
        assert_type(await server.skip_to(datetime.now(UTC), despite_running=True), datetime)
        assert_type(await server.skip_to_next(), datetime | None)
        assert_type(await server.settled(despite_queued=True), None)
        with server.held() as held:
            assert_type(held, None)
        await server.skip(weeks=1)  # type: ignore[call-arg]
        await server.skip(3)  # type: ignore[arg-type]
