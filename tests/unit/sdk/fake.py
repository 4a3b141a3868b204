"""A server in the test's own process: it keeps what it was asked, and does what a test tells it to."""

# ruff: noqa: N802 - RPCs are methods in the spelling of the contract

import asyncio
import importlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
from google.rpc import error_details_pb2, status_pb2
from grpc import aio

from holdfast.backoff import BackoffPolicy
from holdfast.client import Client
from holdfast.v1 import (
    gate_service_pb2 as gates,
    gate_service_pb2_grpc,
    operations_service_pb2_grpc,
    run_service_pb2 as runs,
    run_service_pb2_grpc,
    worker_service_pb2_grpc,
    workflow_service_pb2_grpc,
)
from holdfast.v1.errors_pb2 import ErrorReason, ItemError
from holdfast.v1.history_pb2 import HistoryEvent
from holdfast.v1.run_pb2 import RunOutcome, RunState
from holdfast.v1.step_action_pb2 import StepActionResponse

Context = aio.ServicerContext[Any, Any]
Answer = Callable[[Any, Context], Awaitable[Any]]
QUICK = BackoffPolicy(initial_s=0.001, max_s=0.01)


async def refuse(
    context: Context,
    code: grpc.StatusCode,
    message: str,
    reason: str = "",
    metadata: dict[str, str] | None = None,
    violations: dict[str, str] | None = None,
) -> None:
    """End a call with an error in the form the contract demands; without a reason as a transport would."""
    if reason:
        status = status_pb2.Status(code=code.value[0], message=message)
        info = error_details_pb2.ErrorInfo(reason=reason, domain="holdfast", metadata=metadata or {})
        status.details.add().Pack(info)
        if violations:
            bad = error_details_pb2.BadRequest()
            for field, description in violations.items():
                bad.field_violations.add(field=field, description=description)
            status.details.add().Pack(bad)
        context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
    await context.abort(code, message)


class Fake:
    """What the server got, and what it answers. An entry in `answers` replaces the answer of that RPC."""

    def __init__(self) -> None:
        self.requests: dict[str, list[Any]] = {}
        self.metadata: dict[str, str] = {}
        self.answers: dict[str, Answer] = {}
        self.outcomes: dict[str, RunOutcome] = {}
        self.changed = asyncio.Condition()
        self.streams = 0
        self.target = ""

    def got(self, rpc: str) -> list[Any]:
        """Return the requests of an RPC so far."""
        return self.requests.get(rpc, [])

    async def record(self, rpc: str, request: Any, context: Context) -> None:
        """Keep a request."""
        copy = type(request)()
        copy.CopyFrom(request)
        self.metadata = {key: str(value) for key, value in context.invocation_metadata() or ()}
        async with self.changed:
            self.requests.setdefault(rpc, []).append(copy)
            self.changed.notify_all()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until something the server got makes the condition true."""
        async with self.changed:
            await self.changed.wait_for(condition)

    async def close_run(self, run_id: str, state: RunState.ValueType, **fields: Any) -> None:
        """Let a run end."""
        async with self.changed:
            self.outcomes[run_id] = RunOutcome(run_id=run_id, state=state, run_epoch=1, **fields)
            self.changed.notify_all()

    async def answer(self, rpc: str, request: Any, context: Context, otherwise: Callable[[], Any]) -> Any:
        """Record a request and answer it."""
        await self.record(rpc, request, context)
        scripted = self.answers.get(rpc)
        return otherwise() if scripted is None else await scripted(request, context)


def _unary(rpc: str, response: Callable[[], Any]) -> Any:
    async def method(self: "_Service", request: Any, context: Context) -> Any:
        return await self.fake.answer(rpc, request, context, response)

    return method


class _Service:
    def __init__(self, fake: Fake) -> None:
        self.fake = fake


class _Runs(_Service, run_service_pb2_grpc.RunServiceServicer):
    async def StartRuns(self, request: Any, context: Context) -> Any:
        return await self.fake.answer("StartRuns", request, context, lambda: self._started(request))

    def _started(self, request: runs.StartRunsRequest) -> runs.StartRunsResponse:
        response = runs.StartRunsResponse()
        for number, start in enumerate(request.starts):
            if start.workflow == "unknown":
                response.results.add(
                    error=ItemError(
                        code=grpc.StatusCode.NOT_FOUND.value[0],
                        reason=ErrorReason.ERROR_REASON_WORKFLOW_NOT_FOUND,
                        message="no workflow unknown",
                    )
                )
            else:
                accepted = runs.StartRunResponse(run_id=start.run_id or f"run-{number}", started=True, version=1)
                response.results.add(accepted=accepted)
        return response

    async def SignalRuns(self, request: Any, context: Context) -> Any:
        response = runs.SignalRunsResponse()
        for number, _ in enumerate(request.signals):
            response.results.add(accepted=runs.SignalRunResponse(seq=number + 1))
        return await self.fake.answer("SignalRuns", request, context, lambda: response)

    async def WaitRun(self, request: Any, context: Context) -> Any:
        await self.fake.record("WaitRun", request, context)
        await self.fake.until(lambda: request.run_id in self.fake.outcomes)
        return runs.WaitRunResponse(closed=True, outcome=self.fake.outcomes[request.run_id])

    async def WaitRuns(self, request_iterator: Any, context: Context) -> AsyncIterator[Any]:
        self.fake.streams += 1
        scripted = self.fake.answers.get("WaitRuns")
        if scripted is not None:
            await scripted(request_iterator, context)
        waiting: set[str] = set()
        reader = asyncio.create_task(self._read(request_iterator, context, waiting))
        try:
            while True:
                await self.fake.until(lambda: any(i in self.fake.outcomes or i.startswith("missing") for i in waiting))
                response = runs.WaitRunsResponse()
                for run_id in sorted(waiting):
                    if run_id in self.fake.outcomes:
                        response.outcomes.append(self.fake.outcomes[run_id])
                        waiting.discard(run_id)
                    elif run_id.startswith("missing"):
                        waiting.discard(run_id)
                        reason = ErrorReason.ERROR_REASON_RUN_NOT_FOUND
                        response.errors.add(code=5, reason=reason, message="no run", metadata={"run_id": run_id})
                yield response
        finally:
            reader.cancel()

    async def _read(self, requests: Any, context: Context, waiting: set[str]) -> None:
        async for request in requests:
            waiting.update(request.run_ids)
            await self.fake.record("WaitRuns", request, context)

    async def WatchRun(self, request: Any, context: Context) -> AsyncIterator[Any]:
        await self.fake.record("WatchRun", request, context)
        for seq in range(request.after_seq + 1, 7):
            yield runs.WatchRunResponse(events=[HistoryEvent(seq=seq)])
            if seq == 3:
                await context.abort(grpc.StatusCode.UNAVAILABLE, "going down")

    async def WatchRuns(self, request: Any, context: Context) -> AsyncIterator[Any]:
        await self.fake.record("WatchRuns", request, context)
        number = int(request.cursor or 0) + 1
        yield runs.WatchRunsResponse(reset=not request.cursor, cursor=str(number), live=True)

    async def GetHistory(self, request: Any, context: Context) -> Any:
        await self.fake.record("GetHistory", request, context)
        if not request.page_token:
            return runs.GetHistoryResponse(events=[HistoryEvent(seq=1), HistoryEvent(seq=2)], next_page_token="2")
        return runs.GetHistoryResponse(events=[HistoryEvent(seq=3)])

    async def ListRuns(self, request: Any, context: Context) -> Any:
        response = runs.ListRunsResponse(next_page_token="more")
        for number in range(request.page_size):
            response.runs.add(run_id=f"run-{number}")
        return await self.fake.answer("ListRuns", request, context, lambda: response)

    StartRun = _unary("StartRun", runs.StartRunResponse)
    GetRun = _unary("GetRun", runs.GetRunResponse)
    CountRuns = _unary("CountRuns", runs.CountRunsResponse)
    SignalRun = _unary("SignalRun", runs.SignalRunResponse)
    QueryRun = _unary("QueryRun", runs.QueryRunResponse)
    StepAction = _unary("StepAction", StepActionResponse)
    PauseRun = _unary("PauseRun", runs.PauseRunResponse)
    ResumeRun = _unary("ResumeRun", runs.ResumeRunResponse)
    CancelRun = _unary("CancelRun", runs.CancelRunResponse)
    TerminateRun = _unary("TerminateRun", runs.TerminateRunResponse)
    RetryRun = _unary("RetryRun", runs.RetryRunResponse)
    DeleteRun = _unary("DeleteRun", runs.DeleteRunResponse)


class _Gates(_Service, gate_service_pb2_grpc.GateServiceServicer):
    async def WatchGates(self, request: Any, context: Context) -> AsyncIterator[Any]:
        await self.fake.record("WatchGates", request, context)
        yield gates.WatchGatesResponse(reset=not request.cursor, cursor=request.cursor + "+", live=True)

    ListGates = _unary("ListGates", gates.ListGatesResponse)
    GetGate = _unary("GetGate", gates.GetGateResponse)
    DecideGate = _unary("DecideGate", gates.DecideGateResponse)


def _all_unary(rpcs: tuple[str, ...], module: Any) -> dict[str, Any]:
    return {rpc: _unary(rpc, getattr(module, f"{rpc}Response")) for rpc in rpcs}


def _service(base: type, module: str, *rpcs: str) -> type[_Service]:
    messages = importlib.import_module(f"holdfast.v1.{module}")
    return type("_Fake", (_Service, base), _all_unary(rpcs, messages))


_Workflows = _service(
    workflow_service_pb2_grpc.WorkflowServiceServicer,
    "workflow_service_pb2",
    *("RegisterWorkflow", "ValidateWorkflow", "GetWorkflow", "ListWorkflows", "ListWorkflowVersions"),
)
_Operations = _service(
    operations_service_pb2_grpc.OperationsServiceServicer,
    "operations_service_pb2",
    *("ListQueues", "ListWorkers", "GetServerInfo"),
)


@asynccontextmanager
async def serving(fake: Fake, worker_service: Any = None, port: int = 0) -> AsyncIterator[str]:
    """Run a server on a free port of the loopback and yield its address."""
    server = aio.server(options=[("grpc.so_reuseport", 0)])
    run_service_pb2_grpc.add_RunServiceServicer_to_server(_Runs(fake), server)
    gate_service_pb2_grpc.add_GateServiceServicer_to_server(_Gates(fake), server)
    workflow_service_pb2_grpc.add_WorkflowServiceServicer_to_server(_Workflows(fake), server)  # type: ignore[arg-type]
    operations_service_pb2_grpc.add_OperationsServiceServicer_to_server(_Operations(fake), server)  # type: ignore[arg-type]
    if worker_service is not None:
        worker_service_pb2_grpc.add_WorkerServiceServicer_to_server(worker_service, server)
    bound = server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    fake.target = f"127.0.0.1:{bound}"
    try:
        yield fake.target
    finally:
        await server.stop(grace=None)


@asynccontextmanager
async def connected(**options: Any) -> AsyncIterator[tuple[Fake, Client]]:
    """Run a server and a client of it."""
    fake = Fake()
    async with serving(fake) as target, Client(target, **{"backoff": QUICK, "timeout_s": 5.0, **options}) as client:
        yield fake, client
