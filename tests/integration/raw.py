"""Calls without the SDK: bare stubs, what a refusal says, and a worker that does only what it is told."""

import itertools
from collections.abc import AsyncIterator, Awaitable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import orjson
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2, status_pb2
from grpc import aio

from holdfast.v1.errors_pb2 import ErrorReason, ItemError
from holdfast.v1.gate_service_pb2_grpc import GateServiceStub
from holdfast.v1.operations_service_pb2_grpc import OperationsServiceStub
from holdfast.v1.payload_pb2 import Payload
from holdfast.v1.run_service_pb2_grpc import RunServiceStub
from holdfast.v1.task_pb2 import Task, TaskResult, WorkerInfo
from holdfast.v1.worker_service_pb2 import (
    CompleteTasksRequest,
    CompleteTasksResponse,
    DrainWorkerRequest,
    HeartbeatRequest,
    HeartbeatResponse,
    HeldTask,
    PollTasksRequest,
)
from holdfast.v1.worker_service_pb2_grpc import WorkerServiceStub
from holdfast.v1.workflow_service_pb2_grpc import WorkflowServiceStub

__all__ = ["RawWorker", "Refusal", "Stubs", "json_payload", "open_channel", "refused", "refused_item", "value_of"]

MIB = 1024 * 1024
PARK_S = 30
_numbers = itertools.count(1)


def open_channel(target: str) -> aio.Channel:
    """A channel of its own that carries large messages."""
    options = (
        ("grpc.max_send_message_length", 256 * MIB),
        ("grpc.max_receive_message_length", 16 * MIB),
        ("grpc.use_local_subchannel_pool", 1),
    )
    return aio.insecure_channel(target, options=options)


class Stubs:
    """The services of a server."""

    def __init__(self, channel: aio.Channel) -> None:
        self.channel = channel
        self.workflows = WorkflowServiceStub(channel)
        self.runs = RunServiceStub(channel)
        self.gates = GateServiceStub(channel)
        self.workers = WorkerServiceStub(channel)
        self.operations = OperationsServiceStub(channel)


def json_payload(value: object) -> Payload:
    """A value as the SDK would send it."""
    return Payload(data=orjson.dumps(value))


def value_of(payload: Payload) -> Any:
    """What a payload carries."""
    assert not payload.HasField("ref"), "the payload is a reference"
    return orjson.loads(payload.data)


@dataclass
class Refusal:
    """What a refused call says."""

    code: grpc.StatusCode = grpc.StatusCode.OK
    message: str = ""
    reason: str = ""
    domain: str = ""
    metadata: dict[str, str] = field(default_factory=dict)
    violations: dict[str, str] = field(default_factory=dict)


@contextmanager
def refused(reason: str, code: str | None = None, *fields: str) -> Iterator[Refusal]:
    """What is inside has to be refused with this reason, code and these faulty fields."""
    told = Refusal()
    with pytest.raises(aio.AioRpcError) as caught:
        yield told
    _read(caught.value, told)
    assert (told.reason, told.domain) == (reason, "holdfast"), caught.value
    if code is not None:
        assert told.code.name == code, caught.value
    assert list(told.violations) == list(fields) or not fields, told


def _read(error: aio.AioRpcError, told: Refusal) -> None:
    told.code, told.message = error.code(), error.details() or ""
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin" and isinstance(value, bytes):
            status = status_pb2.Status.FromString(value)
            assert (status.code, status.message) == (told.code.value[0], told.message)
            for detail in status.details:
                info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
                if detail.Unpack(info):
                    told.reason, told.domain, told.metadata = info.reason, info.domain, dict(info.metadata)
                elif detail.Unpack(bad):
                    told.violations = {one.field: one.description for one in bad.field_violations}


async def refusal_of(call: Awaitable[Any]) -> Refusal:
    """What a call that has to be refused says."""
    with pytest.raises(aio.AioRpcError) as caught:
        await call
    told = Refusal()
    _read(caught.value, told)
    return told


def refused_item(item: ItemError, reason: str, *fields: str) -> None:
    """An item of a batch is refused with this reason and these faulty fields."""
    assert ErrorReason.Name(item.reason) == f"ERROR_REASON_{reason}", item
    assert item.code
    assert item.message
    assert [one.field for one in item.violations] == list(fields) or not fields, item


class RawWorker:
    """A worker that polls, answers and heartbeats only when told."""

    def __init__(self, stubs: Stubs, *handlers: str, queue: str = "default", slots: int = 10, name: str = "") -> None:
        number = next(_numbers)
        self.stub = stubs.workers
        self.handlers = handlers
        self.queue = queue
        self.slots = slots
        self.info = WorkerInfo(id=name or f"raw-{number}", session_id=f"session-{number}", language="test")

    async def poll(self, count: int = 1, park_s: float = PARK_S) -> list[Task]:
        """Polls until it has that many tasks."""
        tasks: list[Task] = []
        while len(tasks) < count:
            got = await self.poll_once(park_s)
            assert got, f"{len(tasks)} tasks came in place of {count}"
            tasks += got
        return tasks

    async def task(self) -> Task:
        """Polls for exactly one task."""
        (task,) = await self.poll()
        return task

    async def poll_once(self, park_s: float = 0.0, slots: int | None = None) -> list[Task]:
        """One poll; does not park unless told to."""
        park = Duration()
        park.FromMicroseconds(int(park_s * 1e6))
        request = PollTasksRequest(
            worker=self.info,
            queue=self.queue,
            handlers=self.handlers,
            slots_total=self.slots if slots is None else slots,
            park_timeout=park,
        )
        return list((await self.stub.PollTasks(request)).tasks)

    async def settle(self, *results: TaskResult, more: bool = False) -> CompleteTasksResponse:
        """Sends results; takes next tasks along only if told to."""
        request = CompleteTasksRequest(
            worker=self.info,
            queue=self.queue,
            handlers=self.handlers if more else (),
            slots_total=self.slots,
            results=results,
        )
        return await self.stub.CompleteTasks(request)

    async def succeed(self, task: Task, output: object = None) -> None:
        """Sends an output, which has to be accepted."""
        answer = await self.settle(TaskResult(token=task.token, output=json_payload(output)))
        assert not answer.rejected, answer

    async def beat(self, *held: Task | HeldTask, all_held: bool = False, alive: bool = False) -> HeartbeatResponse:
        """Sends a heartbeat."""
        listed = [one if isinstance(one, HeldTask) else HeldTask(token=one.token, alive=alive) for one in held]
        return await self.stub.Heartbeat(HeartbeatRequest(worker=self.info, held=listed, all_held=all_held))

    async def drain(self) -> None:
        """Says that it goes down."""
        await self.stub.DrainWorker(DrainWorkerRequest(worker=self.info))


@asynccontextmanager
async def cancelled_at_end(call: Any) -> AsyncIterator[Any]:
    """A stream that is left before its end."""
    try:
        yield call
    finally:
        call.cancel()


def outputs(tasks: Sequence[Task]) -> list[TaskResult]:
    """Results with null for each task."""
    return [TaskResult(token=task.token, output=json_payload(None)) for task in tasks]
