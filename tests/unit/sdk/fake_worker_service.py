"""The worker service of a server in the test's own process: a queue of tasks, and everything workers said."""

# ruff: noqa: N802 - RPCs are methods in the spelling of the contract

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
from google.protobuf.duration_pb2 import Duration
from grpc import aio

from holdfast.client import Client
from holdfast.v1 import worker_service_pb2 as messages, worker_service_pb2_grpc
from holdfast.v1.errors_pb2 import ErrorReason
from holdfast.v1.payload_pb2 import Payload
from holdfast.v1.task_pb2 import Task, TaskResult
from tests.unit.sdk.fake import QUICK, Context, Fake, serving

Script = Callable[[Any, Context], Awaitable[Any]]


class FakeWorkerService(worker_service_pb2_grpc.WorkerServiceServicer):
    """Hands out tasks, takes results. An entry in `scripts` runs before the answer and may replace it."""

    def __init__(self, lease_s: float = 30.0) -> None:
        self.tasks: deque[Task] = deque()
        self.results: dict[bytes, TaskResult] = {}
        self.completions: list[messages.CompleteTasksRequest] = []
        self.polls: list[messages.PollTasksRequest] = []
        self.beats: list[messages.HeartbeatRequest] = []
        self.drained: list[str] = []
        self.states: dict[bytes, messages.HeldState.ValueType] = {}
        self.refusals: dict[bytes, ErrorReason.ValueType] = {}
        self.scripts: dict[str, Script] = {}
        self.server_id = "server-1"
        self.lease_s = lease_s
        self.leased: set[bytes] = set()
        self.parked = 0
        self.changed = asyncio.Condition()
        self._count = 0

    async def add(self, handler: str, data: bytes | None = b"null", **fields: Any) -> bytes:
        """Queue a task and return its token."""
        self._count += 1
        token = b"token-%d" % self._count
        task = Task(
            token=token,
            namespace="default",
            run_id=f"run-{self._count}",
            workflow="w",
            version=1,
            step_path="step",
            attempt=1,
            handler=handler,
            **{"queue": "default", "idempotency_key": f"key-{self._count}", **fields},
        )
        if data is not None:
            task.input.CopyFrom(Payload(data=data))
        async with self.changed:
            self.tasks.append(task)
            self.changed.notify_all()
        return token

    async def result(self, token: bytes) -> TaskResult:
        """Wait for the result of a task."""
        await self.until(lambda: token in self.results)
        return self.results[token]

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until something that came in makes the condition true."""
        async with self.changed:
            await self.changed.wait_for(condition)

    async def note(self) -> None:
        """Let everybody look again."""
        async with self.changed:
            self.changed.notify_all()

    def _take(self, request: Any) -> list[Task]:
        free = request.slots_total - len(self.leased)
        taken = [t for t in self.tasks if t.queue == request.queue and t.handler in request.handlers][: max(free, 0)]
        for task in taken:
            self.tasks.remove(task)
            self.leased.add(task.token)
        return taken

    async def PollTasks(self, request: Any, context: Context) -> Any:
        self.polls.append(request)
        await self.note()
        if (script := self.scripts.get("PollTasks")) is not None and (answer := await script(request, context)):
            return answer
        taken: list[Task] = []

        def ready() -> bool:
            taken.extend(self._take(request))
            return bool(taken) or request.worker.id in self.drained

        self.parked += 1
        try:
            await self.until(ready)
        finally:
            self.parked -= 1
        return messages.PollTasksResponse(tasks=taken)

    async def CompleteTasks(self, request: Any, context: Context) -> Any:
        self.completions.append(request)
        if (script := self.scripts.get("CompleteTasks")) is not None and (answer := await script(request, context)):
            return answer
        response = messages.CompleteTasksResponse()
        async with self.changed:
            for index, result in enumerate(request.results):
                reason = self.refusals.pop(result.token, None)
                if reason is not None:
                    away = reason == ErrorReason.ERROR_REASON_STORE_UNAVAILABLE
                    code = grpc.StatusCode.UNAVAILABLE if away else grpc.StatusCode.FAILED_PRECONDITION
                    rejected = response.rejected.add(index=index)
                    rejected.error.code, rejected.error.reason = code.value[0], reason
                    continue
                self.results[result.token] = result
                self.leased.discard(result.token)
            response.tasks.extend(self._take(request))
            self.changed.notify_all()
        return response

    async def Heartbeat(self, request: Any, context: Context) -> Any:
        if (script := self.scripts.get("Heartbeat")) is not None and (answer := await script(request, context)):
            return answer
        async with self.changed:
            self.beats.append(request)
            self.changed.notify_all()
        response = messages.HeartbeatResponse(server_id=self.server_id)
        response.lease_timeout.CopyFrom(Duration(nanos=int(self.lease_s % 1 * 1e9), seconds=int(self.lease_s)))
        for held in request.held:
            response.states.append(self.states.get(held.token, messages.HeldState.HELD_STATE_HELD))
        return response

    async def DrainWorker(self, request: Any, context: Context) -> Any:
        async with self.changed:
            self.drained.append(request.worker.id)
            self.changed.notify_all()
        return messages.DrainWorkerResponse()


@asynccontextmanager
async def worker_service(lease_s: float = 30.0) -> AsyncIterator[tuple[FakeWorkerService, Client]]:
    """Run a server with a worker service and a client of it."""
    service = FakeWorkerService(lease_s)
    async with serving(Fake(), service) as target, Client(target, backoff=QUICK, timeout_s=5.0) as client:
        yield service, client


async def abort(context: aio.ServicerContext[Any, Any], code: grpc.StatusCode) -> None:
    """End a call as a broken connection would."""
    await context.abort(code, "broken")
