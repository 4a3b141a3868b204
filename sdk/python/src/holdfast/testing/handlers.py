"""Handlers without a server: called as a worker calls them, with heartbeats and cancellation in the test's hands."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any, TypedDict, Unpack

from holdfast.client.requests import timestamp
from holdfast.context import CancelReason, Held, TaskContext
from holdfast.converter import Converter
from holdfast.handlers import Handler, as_handler
from holdfast.v1.payload_pb2 import Payload
from holdfast.v1.task_pb2 import Task, TaskResult, WorkerInfo
from holdfast.worker.attempts import Attempts
from holdfast.worker.ledger import Ledger

__all__ = ["RunningHandler", "TaskFields", "run_handler", "running_handler"]

WORKER_ID = "test-worker"


class TaskFields(TypedDict, total=False):
    """What a handler can see of its task; what is left out has a value made up for tests.

    run_id, workflow, version, step_path, attempt, namespace, queue: As `TaskContext` tells them.
    idempotency_key: The same for all attempts.
    traceparent: W3C trace context of the step.
    deadline: When the attempt is over, with time zone.
    heartbeat_timeout: Longest silence between heartbeats of the handler.
    last_heartbeat: Details of the last heartbeat of an earlier attempt.
    converter: Reads the input, writes the output; JSON without.
    """

    run_id: str
    workflow: str
    version: int
    step_path: str
    attempt: int
    namespace: str
    queue: str
    idempotency_key: str
    traceparent: str
    deadline: datetime
    heartbeat_timeout: timedelta
    last_heartbeat: object
    converter: Converter


async def run_handler(
    handler: Handler[..., Any] | Callable[..., Any], input: object = None, **fields: Unpack[TaskFields]
) -> Any:
    """Run a handler as a worker would and return what it returns.

    The input travels through the converter, so it must fit the handler's type; so must the output have a JSON form.
    Sync handlers run in a thread.

    Args:
        handler: The handler.
        input: Its input.
        fields: What it can see of its task.

    Raises:
        ConverterError: The input does not fit, or the output has no JSON form.
        Exception: What the handler raises.
    """
    handler, converter = as_handler(handler), fields.get("converter") or Converter()
    context = TaskContext(Held(_task(handler, input, converter, fields)), converter, WORKER_ID)
    arguments = handler.arguments(context, converter.encode(input), converter)
    if handler.is_async:
        output = await handler.function(*arguments)
    else:
        output = await asyncio.to_thread(handler.function, *arguments)
    converter.encode(output)
    return output


class RunningHandler:
    """A handler that runs, in the hands of a test.

    Attributes:
        heartbeats: Details of its heartbeats so far, read as plain JSON values; None for one without details.
    """

    def __init__(self, held: Held, converter: Converter) -> None:
        self._held = held
        self._converter = converter
        self._attempts: Attempts | None = None
        self._result: asyncio.Future[TaskResult] = asyncio.get_running_loop().create_future()
        self._beats: asyncio.Queue[Any] = asyncio.Queue()
        self.heartbeats: list[Any] = []

    def cancel(self, reason: CancelReason = CancelReason.CANCEL_REQUESTED) -> None:
        """Tell the handler to stop, as the server would."""
        self._held.cancel_reason = reason
        if self._attempts is not None:
            self._attempts.stop(self._held)

    async def heartbeat(self) -> Any:
        """Wait for the next heartbeat that was not waited for yet, and return its details."""
        return await self._beats.get()

    async def result(self) -> TaskResult:
        """Wait for the end and return what a worker would send: `output`, `failure` or `canceled`."""
        return await asyncio.shield(self._result)

    async def output(self, type: Any = Any) -> Any:
        """Wait for the end and return the output; an AssertionError tells any other end."""
        result = await self.result()
        if result.WhichOneof("outcome") != "output":
            raise AssertionError(f"the handler ended otherwise: {result}")
        return self._converter.decode(result.output, type)

    def _on_beat(self, payload: Payload | None) -> None:
        details = self._converter.decode(payload)
        self.heartbeats.append(details)
        self._beats.put_nowait(details)

    def _on_result(self, result: TaskResult) -> None:
        if not self._result.done():
            self._result.set_result(result)


class _RecordingLedger(Ledger):
    """Tells a test of every heartbeat, in its event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(WorkerInfo(id=WORKER_ID), "default")
        self._loop = loop
        self.running: RunningHandler | None = None

    def beat_of_handler(self, held: Held) -> None:
        payload, held.details = held.details, None
        if self.running is not None:
            self._loop.call_soon_threadsafe(self.running._on_beat, payload)  # noqa: SLF001 - two halves of one thing


@asynccontextmanager
async def running_handler(
    handler: Handler[..., Any] | Callable[..., Any], input: object = None, **fields: Unpack[TaskFields]
) -> AsyncIterator[RunningHandler]:
    """Start a handler as a worker would; leaving the block cancels it if it still runs.

    ```python
    async with running_handler(crawl, ["a", "b"]) as running:
        assert await running.heartbeat() == {"done": 1}
        running.cancel()
        assert (await running.result()).WhichOneof("outcome") == "canceled"
    ```

    Args:
        handler: The handler.
        input: Its input.
        fields: What it can see of its task.
    """
    handler, converter = as_handler(handler), fields.get("converter") or Converter()
    ledger = _RecordingLedger(asyncio.get_running_loop())
    task = _task(handler, input, converter, fields)
    held = ledger.add(task)
    running = ledger.running = RunningHandler(held, converter)
    attempts = running._attempts = Attempts(  # noqa: SLF001 - two halves of one thing
        {(task.queue, handler.name): handler},
        converter=converter,
        ledger=ledger,
        worker_id=WORKER_ID,
        slots=1,
        on_result=running._on_result,  # noqa: SLF001 - likewise
    )
    attempts.begin(held)
    try:
        yield running
    finally:
        if held.cancel_reason is None:
            held.cancel_reason = CancelReason.WORKER_STOPPING
        await attempts.abandon()


def _task(handler: Handler[..., Any], input: object, converter: Converter, fields: TaskFields) -> Task:
    step_path = fields.get("step_path", "step")
    task = Task(
        token=b"test-token",
        namespace=fields.get("namespace", "default"),
        run_id=fields.get("run_id", "test-run"),
        workflow=fields.get("workflow", "test-workflow"),
        version=fields.get("version", 1),
        step_path=step_path,
        attempt=fields.get("attempt", 1),
        handler=handler.name,
        queue=fields.get("queue", handler.queue or "default"),
        input=converter.encode(input),
        idempotency_key=fields.get("idempotency_key", f"test-key-{step_path}"),
        traceparent=fields.get("traceparent", ""),
    )
    if (deadline := fields.get("deadline")) is not None:
        task.deadline_time.CopyFrom(timestamp(deadline))
    if (heartbeat_timeout := fields.get("heartbeat_timeout")) is not None:
        task.heartbeat_timeout.FromTimedelta(heartbeat_timeout)
    if (last := fields.get("last_heartbeat")) is not None:
        task.heartbeat_details.CopyFrom(converter.encode(last))
    return task
