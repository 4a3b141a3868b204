"""Running handlers: from a task to the result that is sent, whatever the handler does."""

import asyncio
import logging
import sys
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from holdfast.client.status import MESSAGE_MAX_BYTES
from holdfast.context import CancelReason, Held, TaskContext
from holdfast.converter import Converter
from holdfast.errors import ConverterError
from holdfast.failures import Failure, NonRetryable, failure_of
from holdfast.handlers import Handler
from holdfast.v1.task_pb2 import Task, TaskCanceled, TaskResult, TaskReturned
from holdfast.worker.ledger import Ledger
from holdfast.worker.threads import HandlerThreads, NotStartedError, raised_by

__all__ = ["Attempts"]

# What a result may weigh so that the message around it still fits.
RESULT_MAX_BYTES = MESSAGE_MAX_BYTES - 64 * 1024

_log = logging.getLogger("holdfast.worker")


class Attempts:
    """The handlers that run, one asyncio task each. It belongs to one event loop."""

    def __init__(
        self,
        handlers: Mapping[tuple[str, str], Handler[..., Any]],
        *,
        converter: Converter,
        ledger: Ledger,
        worker_id: str,
        slots: int,
        on_result: Callable[[TaskResult], None],
    ) -> None:
        """Build it.

        Args:
            handlers: Handlers by queue and name.
            converter: Reads inputs, writes outputs.
            ledger: Takes the heartbeats of handlers.
            worker_id: Id of the worker.
            slots: Most handlers in threads at once.
            on_result: Called with each result.
        """
        self._handlers = handlers
        self._converter = converter
        self._ledger = ledger
        self._worker_id = worker_id
        self._on_result = on_result
        self._tasks: dict[bytes, asyncio.Task[None]] = {}
        self._loop = asyncio.get_running_loop()
        self._threads = HandlerThreads(slots, self._loop)
        self._attach = _trace_attacher()

    def begin(self, held: Held) -> None:
        """Start the handler of a task."""
        task = held.task
        handler = self._handlers.get((task.queue, task.handler))
        if handler is None:
            _log.error("%s came for handler %r on queue %r, which is not served here", held, task.handler, task.queue)
            self._on_result(TaskResult(token=held.token, returned=TaskReturned()))
            return
        run = self._run_async if handler.is_async else self._run_in_thread
        self._tasks[held.token] = self._loop.create_task(run(handler, held))

    def stop(self, held: Held) -> None:
        """Tell a handler to stop, for `held.cancel_reason`; one in a thread looks by itself."""
        running = self._tasks.get(held.token)
        handler = self._handlers[held.task.queue, held.task.handler]
        if running is not None and handler.is_async:
            running.cancel()
            running.add_done_callback(partial(self._after_stop, held))

    def withdraw(self) -> None:
        """Give back the tasks of handlers for which there was no thread yet."""
        self._threads.withdraw()

    async def abandon(self) -> None:
        """Leave the handlers that still run."""
        self._threads.close()
        running = list(self._tasks.values())
        self._tasks.clear()
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running, timeout=0)

    async def _run_async(self, handler: Handler[..., Any], held: Held) -> None:
        context = TaskContext(held, self._converter, self._worker_id, self._ledger.beat_of_handler)
        try:
            arguments = self._arguments(handler, context, held.task)
            if self._attach is not None:
                self._attach(held.task.traceparent)
            result = self._succeeded(held, await handler.function(*arguments))
        except KeyboardInterrupt:
            raise
        except BaseException as fault:  # noqa: BLE001 - whatever a handler raises is its result
            result = self._ended(held, fault)
        self._settle(held, result)

    async def _run_in_thread(self, handler: Handler[..., Any], held: Held) -> None:
        context = TaskContext(held, self._converter, self._worker_id, self._ledger.beat_of_handler)
        try:
            arguments = self._arguments(handler, context, held.task)
            if self._attach is not None:
                self._attach(held.task.traceparent)
            result = self._succeeded(held, await self._threads.run(handler.function, arguments))
        except KeyboardInterrupt:
            raise
        except BaseException as fault:  # noqa: BLE001 - whatever a handler raises is its result
            result = self._ended(held, raised_by(fault))
        self._settle(held, result)

    def _arguments(self, handler: Handler[..., Any], context: TaskContext, task: Task) -> tuple[Any, ...]:
        try:
            return handler.arguments(context, task.input if task.HasField("input") else None, self._converter)
        except ConverterError as fault:
            message = f"the input of the step does not fit handler {handler.name!r}: {fault}"
            # Without the cause, which shows the values: payloads may hold what does not belong into failures.
            raise NonRetryable(message, type="InvalidInput") from None

    def _succeeded(self, held: Held, value: object) -> TaskResult:
        try:
            result = TaskResult(token=held.token, output=self._converter.encode(value))
        except ConverterError as fault:
            raise NonRetryable(str(fault), type="InvalidOutput") from fault
        size_bytes = result.ByteSize()
        if size_bytes > RESULT_MAX_BYTES:
            limit = f"the output has {size_bytes} bytes, a message carries at most {RESULT_MAX_BYTES}"
            raise NonRetryable(f"{limit}; store it elsewhere and return where", type="PayloadTooLarge")
        return result

    def _ended(self, held: Held, fault: BaseException) -> TaskResult:
        """Return the result of a handler that raised."""
        token, reason = held.token, held.cancel_reason
        if isinstance(fault, NotStartedError):
            return TaskResult(token=token, returned=TaskReturned())
        if isinstance(fault, asyncio.CancelledError) and reason is not None:
            if reason is CancelReason.WORKER_STOPPING:
                fault = Failure("the worker stopped before the handler was done", type="WorkerStopped")
                return TaskResult(token=token, failure=failure_of(fault, self._converter))
            return TaskResult(token=token, canceled=TaskCanceled())
        failure = failure_of(fault, self._converter)
        expected = isinstance(fault, Failure)
        _log.warning("%s failed: %s: %s", held, failure.type, failure.message, exc_info=None if expected else fault)
        return TaskResult(token=token, failure=failure)

    def _settle(self, held: Held, result: TaskResult) -> None:
        if self._tasks.pop(held.token, None) is not None:  # else it was abandoned
            self._on_result(result)

    def _after_stop(self, held: Held, running: "asyncio.Task[None]") -> None:
        """Answer for a handler that was stopped before its first line ran."""
        if running.cancelled():
            self._settle(held, self._ended(held, asyncio.CancelledError()))


def _trace_attacher() -> Callable[[str], None] | None:
    """Return what makes spans of a handler children of its step's; None in a program that does not trace.

    OpenTelemetry is in use once a program has set a tracer provider; if none has, handlers do not pay for it.
    """
    trace = sys.modules.get("opentelemetry.trace")
    if trace is None or isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        return None
    from opentelemetry import context  # noqa: PLC0415 - only for programs that trace
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator  # noqa: PLC0415 - likewise

    propagator = TraceContextTextMapPropagator()

    def attach(traceparent: str) -> None:
        # Each handler has its own copy of the context, so it needs no detaching.
        if traceparent:
            context.attach(propagator.extract({"traceparent": traceparent}))

    return attach
