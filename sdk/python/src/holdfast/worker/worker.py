"""The worker: makes the calls its core asks for, and runs handlers. All decisions are in `core`."""

import asyncio
import logging
import os
import random as random_module
import secrets
import signal
import socket
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from types import TracebackType
from typing import Any, Self

import grpc
from grpc import aio

from holdfast.client import Client
from holdfast.client.status import error_of_item, error_of_rpc, lost_the_server
from holdfast.context import CancelReason
from holdfast.errors import ClientClosedError, ServerError, WorkerError
from holdfast.handlers import NAME, Handler, as_handler
from holdfast.v1.task_pb2 import Task, TaskResult, WorkerInfo
from holdfast.v1.worker_service_pb2 import DrainWorkerRequest
from holdfast.worker.attempts import Attempts
from holdfast.worker.core import (
    Action,
    CancelPoll,
    CancelRunning,
    Complete,
    Drain,
    Lane,
    Poll,
    Settings,
    Sync,
    WorkerCore,
)
from holdfast.worker.heartbeats import Heartbeats, grpc_sender
from holdfast.worker.ledger import Ledger, Stop

__all__ = ["Worker"]

SLOTS_MAX = 10_000
HANDLERS_MAX = 1_000
# The server parks a poll for 60 s; a little more before the call counts as lost.
POLL_TIMEOUT_S = 70.0
COMPLETE_TIMEOUT_S = 30.0
DRAIN_TIMEOUT_S = 3.0
# The server says that the request is wrong, or that another process has this worker's id: trying again will not help.
_HOPELESS = frozenset(
    {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.FAILED_PRECONDITION}
)
_TOO_LARGE = frozenset({grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.RESOURCE_EXHAUSTED})

_log = logging.getLogger("holdfast.worker")


class Worker:
    """Serves handlers: takes their tasks from the server, runs them, sends what comes of them.

    It reconnects for ever, sends results until they are accepted, keeps leases from a thread of its own, and stops in
    good order: `run` on SIGTERM and SIGINT, `stop` at any time.

    Attributes:
        worker_id: Its id, as the server lists it.
    """

    def __init__(
        self,
        client: Client,
        handlers: Iterable[Handler[..., Any] | Callable[..., Any]],
        *,
        queue: str = "default",
        slots: int = 50,
        worker_id: str | None = None,
        build_id: str = "",
        grace_s: float = 30.0,
        random: Callable[[], float] = random_module.random,
    ) -> None:
        """Build a worker; nothing is sent before it starts.

        Args:
            client: A client of the server; the worker calls in its namespace and as its actor, and leaves it open.
            handlers: What it serves. Plain functions are handlers under their own names.
            queue: Queue of the handlers that name none.
            slots: Most tasks at once, over all queues, 1 to 10,000.
            worker_id: Id, unique among connected workers; None makes one from host and process.
            build_id: Version of your code, shown to operators.
            grace_s: How long running handlers may go on after a stop, in seconds.
            random: Source of the jitter, a number from 0 to 1.

        Raises:
            WorkerError: No handler, two of one name on one queue, or a value out of range.
            HandlerError: A function cannot be a handler.
        """
        self._client = client
        self._handlers = _by_queue_and_name(handlers, queue)
        if not 1 <= slots <= SLOTS_MAX:
            raise WorkerError(f"slots is {slots}; it must be from 1 to {SLOTS_MAX}")
        self.worker_id = worker_id or _new_id()
        if not NAME.fullmatch(self.worker_id):
            raise WorkerError(f"worker_id {self.worker_id!r} does not match {NAME.pattern}")
        info = WorkerInfo(
            id=self.worker_id,
            session_id=secrets.token_hex(16),
            language="python",
            sdk_version=version("holdfast"),
            build_id=build_id,
            identity=f"{socket.gethostname()} process {os.getpid()}",
        )
        self._settings = Settings(
            worker=info,
            namespace=client.connection.namespace,
            lanes=_lanes(self._handlers),
            slots=slots,
            grace_s=grace_s,
            backoff=client.connection.backoff_policy,
        )
        self._ledger = Ledger(info, self._settings.namespace)
        self._core = WorkerCore(self._settings, self._ledger, random)
        self._calls: set[asyncio.Task[None]] = set()
        self._polls: dict[str, asyncio.Task[None]] = {}
        self._pump_asked = False
        self._timer: asyncio.TimerHandle | None = None
        self._said: dict[str, str] = {}
        self._fault: Exception | None = None
        self._running = False

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def run(self) -> None:
        """Serve until SIGTERM, SIGINT or `stop`, then stop in good order. A second signal cuts the grace short.

        Raises:
            ServerError: The server refuses this worker for good, for example because of an invalid name.
        """
        await self.start()
        with self._signals():
            try:
                await self._ended.wait()
            finally:
                await self._leave()
        if self._fault is not None:
            raise self._fault

    async def start(self) -> None:
        """Begin to serve in the background; returns at once, also while no server is there."""
        if self._running:
            raise WorkerError("the worker is running already")
        if self._core.stopping:
            raise WorkerError("the worker was stopped; make a new one")
        self._running = True
        self._loop = asyncio.get_running_loop()
        self._now = self._loop.time
        self._ended = asyncio.Event()
        connection = self._client.connection
        self._attempts = Attempts(
            self._handlers,
            converter=self._client.converter,
            ledger=self._ledger,
            worker_id=self.worker_id,
            slots=self._settings.slots,
            on_result=self._on_result,
        )
        self._heartbeats = Heartbeats(
            self._ledger,
            grpc_sender(connection.target, connection.credentials, connection.metadata),
            clock=self._now,
            on_beat=self._from_thread(self._beat_answered),
            on_sync_failed=self._from_thread(self._sync_failed),
        )
        self._ledger.on_sooner = self._heartbeats.hurry
        self._heartbeats.start()
        served = "; ".join(f"{queue}: {', '.join(names)}" for queue, names in self._settings.lanes.items())
        _log.info("worker %s serves %s (%d slots)", self.worker_id, served, self._settings.slots)
        self._pump()

    async def stop(self, grace_s: float | None = None) -> None:
        """Stop in good order and return when it is done: no new tasks, running handlers end, their results are sent.

        Args:
            grace_s: How long running handlers may go on, in seconds, before they are told to stop; None for the
                worker's own.
        """
        if not self._running:
            return
        self._begin_to_stop(grace_s)
        try:
            await self._ended.wait()
        finally:
            await self._leave()

    def _begin_to_stop(self, grace_s: float | None = None) -> None:
        if not self._core.stopping:
            _log.info("worker %s stops; %d handlers are running", self.worker_id, self._core.running)
            self._attempts.withdraw()
        self._core.stop(self._now())
        if grace_s is not None:
            self._core.cut_grace(self._now() + grace_s)
        self._pump_soon()

    def _on_signal(self) -> None:
        self._begin_to_stop(0.0 if self._core.stopping else None)

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """Stop on SIGTERM and SIGINT where the loop can listen to them (not in threads, not on Windows)."""
        listening = []
        for number in (signal.SIGTERM, signal.SIGINT):
            try:
                self._loop.add_signal_handler(number, self._on_signal)
            except (NotImplementedError, RuntimeError, ValueError):
                continue
            listening.append(number)
        try:
            yield
        finally:
            for number in listening:
                self._loop.remove_signal_handler(number)

    async def _leave(self) -> None:
        """Let go of everything, whatever is left."""
        if not self._running:
            return
        self._running = False
        if self._timer is not None:
            self._timer.cancel()
        if self._core.running or self._core.unsent:
            left = (self.worker_id, self._core.running, self._core.unsent)
            _log.warning("worker %s leaves %d handlers and %d results behind; others will do them again", *left)
        await self._attempts.abandon()
        for call in self._calls:
            call.cancel()
        await asyncio.gather(*self._calls, return_exceptions=True)
        await asyncio.to_thread(self._heartbeats.stop)
        self._ended.set()
        _log.info("worker %s has stopped", self.worker_id)

    def _fail(self, fault: Exception) -> None:
        """Stop because going on makes no sense; `run` raises the fault."""
        if self._fault is None:
            self._fault = fault
            _log.error("worker %s gives up: %s", self.worker_id, fault)
        self._begin_to_stop()

    # The pump: after every change, ask the core what to do.

    def _pump_soon(self) -> None:
        """Ask the core once everything that is ready in this turn of the loop has come in, so that it goes together."""
        if not self._pump_asked and self._running:
            self._pump_asked = True
            self._loop.call_soon(self._pump)

    def _pump(self) -> None:
        self._pump_asked = False
        if not self._running:
            return
        now_s = self._now()
        for action in self._core.actions(now_s):
            self._do(action)
        if self._core.done:
            self._ended.set()
            return
        if self._timer is not None:
            self._timer.cancel()
        due_s = self._core.due_s(now_s)
        self._timer = None if due_s is None else self._loop.call_at(due_s, self._pump_soon)

    def _do(self, action: Action) -> None:
        match action:
            case Poll():
                self._call(self._poll(action))
            case CancelPoll():
                self._polls[action.lane.queue].cancel()
            case Complete():
                self._call(self._complete(action))
            case Sync():
                self._heartbeats.sync()
            case Drain():
                self._call(self._drain())
            case CancelRunning():
                self._stop_handlers([Stop(held, CancelReason.WORKER_STOPPING) for held in action.held])

    def _call(self, call: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(call)
        self._calls.add(task)
        task.add_done_callback(self._calls.discard)

    # Calls.

    async def _poll(self, action: Poll) -> None:
        connection, lane = self._client.connection, action.lane
        task = asyncio.current_task()
        if task is not None:
            self._polls[lane.queue] = task
        try:
            response = await connection.call_once(connection.workers.PollTasks, action.request, POLL_TIMEOUT_S)
        except asyncio.CancelledError:
            self._core.poll_failed(lane, self._now(), lost=False)
        except ClientClosedError as fault:
            self._core.poll_failed(lane, self._now(), lost=False)
            self._fail(fault)
        except aio.AioRpcError as fault:
            self._core.poll_failed(lane, self._now(), lost=lost_the_server(fault))
            self._say(f"poll of queue {lane.queue}", error_of_rpc(fault, connection.target))
            if fault.code() in _HOPELESS:
                self._fail(error_of_rpc(fault, connection.target))
        else:
            self._said.clear()
            self._core.poll_answered(lane, len(response.tasks), self._now())
            self._begin(lane, response.tasks)
        self._pump_soon()

    async def _complete(self, action: Complete) -> None:
        connection, lane = self._client.connection, action.lane
        try:
            response = await connection.call_once(connection.workers.CompleteTasks, action.request, COMPLETE_TIMEOUT_S)
        except ClientClosedError as fault:
            self._core.completion_failed(action, self._now(), lost=False)
            self._fail(fault)
        except aio.AioRpcError as fault:
            self._completion_failed(action, fault)
        else:
            for held, item in self._core.completed(action, response.rejected, self._now()):
                _log.warning("the result of %s was refused: %s", held, error_of_item(item.error))
            self._begin(lane, response.tasks)
        self._pump_soon()

    def _completion_failed(self, action: Complete, fault: aio.AioRpcError) -> None:
        error = error_of_rpc(fault, self._client.connection.target)
        from_server = not lost_the_server(fault)
        refused = fault.code() is grpc.StatusCode.INVALID_ARGUMENT or (fault.code() in _TOO_LARGE and not from_server)
        if not refused:
            self._core.completion_failed(action, self._now(), lost=not from_server)
            self._say(f"completion on queue {action.lane.queue}", error)
            return
        dropped = self._core.completion_refused(action)
        if dropped is not None:
            _log.error("the result of %s cannot be sent and is dropped: %s", dropped, error)

    async def _drain(self) -> None:
        connection = self._client.connection
        request = DrainWorkerRequest(namespace=self._settings.namespace, worker=self._settings.worker)
        try:
            await connection.call_once(connection.workers.DrainWorker, request, DRAIN_TIMEOUT_S)
        except (aio.AioRpcError, ClientClosedError) as fault:
            _log.info("the server could not be told that worker %s stops: %s", self.worker_id, fault)
            self._core.drained(self._now(), ok=False)
        else:
            self._core.drained(self._now(), ok=True)
        self._pump_soon()

    def _say(self, what: str, error: ServerError) -> None:
        """Log why a call failed, once until it says something else; the connection logs its own loss."""
        if error.reason and self._said.get(what) != error.reason:
            self._said[what] = error.reason
            _log.warning("%s failed, trying again: %s", what, error)

    # What comes in.

    def _begin(self, lane: Lane, tasks: Sequence[Task]) -> None:
        begin = self._attempts.begin
        for held in self._core.tasks_came(lane, tasks):
            begin(held)

    def _on_result(self, result: TaskResult) -> None:
        self._core.finished(result)
        if not self._pump_asked:
            self._pump_soon()

    def _stop_handlers(self, stops: list[Stop]) -> None:
        for stop in self._core.stops_asked(stops):
            if stop.held.cancel_reason is None:
                stop.held.cancel_reason = stop.reason
            if stop.reason is CancelReason.LOST:
                _log.warning("%s is lost to this worker; its handler is told to stop", stop.held)
            self._attempts.stop(stop.held)

    # What the thread of the heartbeats tells.

    def _from_thread(self, callback: Callable[..., None]) -> Callable[..., None]:
        def tell(*arguments: Any, **options: Any) -> None:
            try:
                self._loop.call_soon_threadsafe(lambda: callback(*arguments, **options))
            except RuntimeError:
                return  # the loop is closed: nobody is left to tell

        return tell

    def _beat_answered(self, server_id: str, stops: list[Stop], *, everything: bool) -> None:
        if everything:
            self._core.synced(server_id)
        else:
            self._core.beat_answered(server_id)
        self._stop_handlers(stops)
        self._pump_soon()

    def _sync_failed(self, fault: ServerError) -> None:
        self._core.sync_failed(self._now())
        if fault.code in {code.name for code in _HOPELESS}:
            self._fail(fault)
        self._pump_soon()


def _by_queue_and_name(
    handlers: Iterable[Handler[..., Any] | Callable[..., Any]], queue: str
) -> dict[tuple[str, str], Handler[..., Any]]:
    if not NAME.fullmatch(queue):
        raise WorkerError(f"queue {queue!r} does not match {NAME.pattern}")
    served: dict[tuple[str, str], Handler[..., Any]] = {}
    for handler in map(as_handler, handlers):
        place = (handler.queue or queue, handler.name)
        if place in served:
            raise WorkerError(f"two handlers are called {handler.name!r} on queue {place[0]!r}")
        served[place] = handler
    if not served:
        raise WorkerError("a worker needs at least one handler")
    return served


def _lanes(handlers: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    lanes: dict[str, list[str]] = {}
    for queue, name in handlers:
        lanes.setdefault(queue, []).append(name)
    for queue, names in lanes.items():
        if len(names) > HANDLERS_MAX:
            raise WorkerError(f"queue {queue!r} has {len(names)} handlers; at most {HANDLERS_MAX} can be served there")
    return lanes


def _new_id() -> str:
    """Return an id from host and process, unique also for several workers in one process."""
    host = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "-" for c in socket.gethostname())
    return f"w-{host[:60]}-{os.getpid()}-{secrets.token_hex(3)}"
