"""WorkerService: hands out tasks and takes results."""

from collections.abc import Sequence
from datetime import timedelta

from google.protobuf.duration_pb2 import Duration

from holdfast.v1 import worker_service_pb2 as pb
from holdfast.v1.task_pb2 import Task, WorkerInfo
from holdfast.v1.worker_service_pb2_grpc import WorkerServiceServicer
from holdfast_server.rpc.errors import Context, item_error, mapped
from holdfast_server.rpc.validation import Validator, invalid, over
from holdfast_server.runtime.reading import Reading
from holdfast_server.runtime.runtime import Runtime
from holdfast_server.runtime.tasks import Tasks

__all__ = ["WorkerService"]

PARK_US = 60_000_000


class WorkerService(WorkerServiceServicer):
    """What workers call."""

    def __init__(
        self,
        runtime: Runtime,
        tasks: Tasks,
        reading: Reading,
        validator: Validator,
        server_id: str,
        lease_s: float,
        heartbeat_s: float,
    ) -> None:
        self._runtime = runtime
        self._tasks = tasks
        self._reading = reading
        self._validator = validator
        self._server_id = server_id
        self._lease_timeout = Duration()
        self._lease_timeout.FromTimedelta(timedelta(seconds=lease_s))
        self._heartbeat_interval = Duration()
        self._heartbeat_interval.FromTimedelta(timedelta(seconds=heartbeat_s))

    @mapped
    async def PollTasks(self, request: pb.PollTasksRequest, _context: Context) -> pb.PollTasksResponse:
        """Parks until tasks are there."""
        namespace = self._validator.namespace(request.namespace)
        queue = self._check(request.worker, request.queue, request.handlers, request.slots_total)
        if not request.handlers:
            raise invalid("handlers", "is empty; a poll names the handlers the worker serves")
        park_us = PARK_US
        if request.HasField("park_timeout"):
            park_us = min(PARK_US, self._validator.duration_us("park_timeout", request.park_timeout))
        tasks = await self._runtime.matching.poll(
            namespace, request.worker, queue, request.handlers, request.slots_total, park_us
        )
        await self._fill(tasks)
        return pb.PollTasksResponse(tasks=tasks)

    @mapped
    async def CompleteTasks(self, request: pb.CompleteTasksRequest, _context: Context) -> pb.CompleteTasksResponse:
        """Settles results and brings the next tasks."""
        namespace = self._validator.namespace(request.namespace)
        queue = self._check(request.worker, request.queue, request.handlers, request.slots_total)
        if len(request.results) > self._validator.limits.batch_items:
            raise over("results", "batch_items", self._validator.limits.batch_items, len(request.results))
        rejected = await self._tasks.settle(namespace, request.worker, request.results)
        answer = pb.CompleteTasksResponse(
            rejected=[pb.RejectedResult(index=index, error=item_error(refused)) for index, refused in rejected]
        )
        if request.handlers:
            tasks = self._runtime.matching.take(namespace, request.worker, queue, request.handlers, request.slots_total)
            await self._fill(tasks)
            answer.tasks.extend(tasks)
        return answer

    @mapped
    async def Heartbeat(self, request: pb.HeartbeatRequest, _context: Context) -> pb.HeartbeatResponse:
        """Keeps leases alive and tells what to stop."""
        namespace = self._validator.namespace(request.namespace)
        self._check_worker(request.worker)
        if len(request.held) > self._validator.limits.slots:
            raise over("held", "slots", self._validator.limits.slots, len(request.held))
        for position, held in enumerate(request.held):
            if held.HasField("details"):
                self._validator.payload(f"held[{position}].details", held.details)
        states = self._runtime.matching.heartbeat(namespace, request.worker, request.held, all_held=request.all_held)
        return pb.HeartbeatResponse(
            states=states,
            lease_timeout=self._lease_timeout,
            server_id=self._server_id,
            heartbeat_interval=self._heartbeat_interval,
        )

    @mapped
    async def DrainWorker(self, request: pb.DrainWorkerRequest, _context: Context) -> pb.DrainWorkerResponse:
        """Answers the worker's parked polls empty."""
        namespace = self._validator.namespace(request.namespace)
        self._check_worker(request.worker)
        self._runtime.matching.drain(namespace, request.worker)
        return pb.DrainWorkerResponse()

    async def _fill(self, tasks: Sequence[Task]) -> None:
        large = [task for task in tasks if task.input.HasField("ref")]
        if large:
            await self._reading.fill(large)

    def _check_worker(self, worker: WorkerInfo) -> None:
        self._validator.name("worker.id", worker.id)
        self._validator.name("worker.session_id", worker.session_id)
        for field in ("language", "sdk_version", "build_id", "identity"):
            size = len(getattr(worker, field))
            limit = self._validator.limits.worker_info_chars
            if size > limit:
                raise over(f"worker.{field}", "worker_info_chars", limit, size)

    def _check(self, worker: WorkerInfo, queue: str, handlers: Sequence[str], slots_total: int) -> str:
        self._check_worker(worker)
        if len(handlers) > self._validator.limits.handlers:
            raise over("handlers", "handlers", self._validator.limits.handlers, len(handlers))
        for position, handler in enumerate(handlers):
            self._validator.name(f"handlers[{position}]", handler)
        if handlers and not 1 <= slots_total <= self._validator.limits.slots:
            raise invalid("slots_total", f"{slots_total} is not from 1 to {self._validator.limits.slots}")
        return self._validator.name("queue", queue or "default")
