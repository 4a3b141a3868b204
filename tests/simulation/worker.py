"""Workers: the SDK's own core and ledger, with simulated calls, handlers and heartbeats around them.

What the shell does here is what `holdfast.worker.worker` and `holdfast.worker.heartbeats` do with channels and threads.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from random import Random
from typing import Any

import grpc

from holdfast.context import CancelReason, Held
from holdfast.v1.failure_pb2 import Failure
from holdfast.v1.payload_pb2 import Payload
from holdfast.v1.task_pb2 import Task, TaskCanceled, TaskResult, TaskReturned, WorkerInfo
from holdfast.v1.worker_service_pb2 import (
    CompleteTasksResponse,
    DrainWorkerRequest,
    DrainWorkerResponse,
    HeartbeatResponse,
    PollTasksResponse,
)
from holdfast.worker import core as c
from holdfast.worker.heartbeats import RETRY_S, TIMEOUT_S
from holdfast.worker.ledger import Beat, Ledger, Stop
from holdfast.worker.worker import COMPLETE_TIMEOUT_S, DRAIN_TIMEOUT_S, POLL_TIMEOUT_S
from tests.simulation.loop import Process, SimulatedLoop
from tests.simulation.network import CallFailed, Network

__all__ = ["Act", "SimulatedWorker"]

SERVICE = "holdfast.v1.WorkerService/"
TICK_S = 0.000_001
"""Time passes in steps of this."""
HOPELESS = frozenset({grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.INVALID_ARGUMENT})


@dataclass(frozen=True, slots=True)
class Act:
    """What a handler does with a task.

    Attributes:
        takes_s: how long it runs.
        result: how it ends; without it, it gives the task back.
        stubborn: it does not stop when told to.
        beat_s: how often it speaks meanwhile; None for never.
    """

    takes_s: float
    result: Payload | Failure | None
    stubborn: bool = False
    beat_s: float | None = None


@dataclass(frozen=True, slots=True)
class _Handler:
    """A handler that runs."""

    act: Act
    told_to_stop: asyncio.Event
    running: "asyncio.Task[None]"


class SimulatedWorker:
    """A process that serves handlers.

    Args:
        loop: where it lives.
        network: its way to the server.
        chance: decides about jitter.
        info: who it is.
        lanes: handlers by queue.
        slots: most tasks at once.
        act: what a handler does with a task.
        note: writes a line of the trace.

    Attributes:
        process: what can be killed.
        ended: it has stopped, or given up.
        fault: why it gave up.
    """

    def __init__(
        self,
        loop: SimulatedLoop,
        network: Network,
        chance: Random,
        info: WorkerInfo,
        lanes: Mapping[str, Sequence[str]],
        slots: int,
        act: Callable[[Task], Act],
        note: Callable[[str, str], None] | None = None,
    ) -> None:
        self.process = Process(loop, f"{info.id}.{info.session_id}")
        self.slots = slots
        self.info = info
        self.ended = False
        self.fault: CallFailed | None = None
        self._loop = loop
        self._network = network
        self._act = act
        self._note = note
        self._ledger = Ledger(info, "default")
        settings = c.Settings(info, "default", lanes, slots, grace_s=5.0, cancel_s=1.0, send_s=5.0)
        self._core = c.WorkerCore(settings, self._ledger, chance.random)
        self._handlers: dict[bytes, _Handler] = {}
        self._polls: dict[str, asyncio.Task[None]] = {}
        self._pump_asked = False
        self._timer: asyncio.TimerHandle | None = None
        self._wake_beats: asyncio.Event
        self._sync_asked = self._beats_fail = False
        _ = self.process.spawn(self._begin())

    async def _begin(self) -> None:
        self._wake_beats = asyncio.Event()
        self._ledger.on_sooner = self._wake_beats.set
        _ = self.process.spawn(self._beat_for_ever())
        self._pump()

    def stop(self) -> None:
        """Begins to stop in good order."""
        self._core.stop(self._loop.time())
        self._pump_soon()

    @property
    def running(self) -> int:
        """Tasks it believes to have and works on."""
        return len(self._core._running)

    # -- the pump ----------------------------------------------------------------------------------------------------

    def _pump_soon(self) -> None:
        if not self._pump_asked and not self.ended:
            self._pump_asked = True
            self.process.later(0.0, self._pump)

    def _pump(self) -> None:
        self._pump_asked = False
        if self.ended:
            return
        now_s = self._loop.time()
        for action in self._core.actions(now_s):
            self._do(action)
        if self._core.done:
            self._end()
            return
        if self._timer is not None:
            self._timer.cancel()
        due_s = self._core.due_s(now_s)
        self._timer = None if due_s is None else self.process.later(due_s - now_s, self._pump_soon)

    def _end(self) -> None:
        self.ended = True
        self._wake_beats.set()
        for handler in self._handlers.values():
            handler.running.cancel()

    def _do(self, action: c.Action) -> None:
        match action:
            case c.Poll():
                self._spawn(self._poll(action))
            case c.CancelPoll():
                self._polls[action.lane.queue].cancel()
            case c.Complete():
                self._spawn(self._complete(action))
            case c.Sync():
                self._sync_asked = True
                self._wake_beats.set()
            case c.Drain():
                self._spawn(self._drain())
            case c.CancelRunning():
                self._stop_handlers([Stop(held, CancelReason.WORKER_STOPPING) for held in action.held])

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        _ = self.process.spawn(work)

    # -- calls -------------------------------------------------------------------------------------------------------

    async def _poll(self, action: c.Poll) -> None:
        lane, core = action.lane, self._core
        task = asyncio.current_task()
        assert task is not None
        self._polls[lane.queue] = task
        try:
            answer = await self._network.call(SERVICE + "PollTasks", action.request, PollTasksResponse, POLL_TIMEOUT_S)
        except asyncio.CancelledError:
            core.poll_failed(lane, self._loop.time(), lost=False)
        except CallFailed as fault:
            core.poll_failed(lane, self._loop.time(), lost=fault.is_lost)
            self._look_at(fault)
        else:
            core.poll_answered(lane, len(answer.tasks), self._loop.time())
            self._take(lane, answer.tasks)
        self._pump_soon()

    async def _complete(self, action: c.Complete) -> None:
        method = SERVICE + "CompleteTasks"
        try:
            answer = await self._network.call(method, action.request, CompleteTasksResponse, COMPLETE_TIMEOUT_S)
        except CallFailed as fault:
            self._core.completion_failed(action, self._loop.time(), lost=fault.is_lost)
            self._look_at(fault)
        else:
            self._core.completed(action, answer.rejected, self._loop.time())
            self._take(action.lane, answer.tasks)
        self._pump_soon()

    async def _drain(self) -> None:
        request = DrainWorkerRequest(namespace="default", worker=self.info)
        try:
            await self._network.call(SERVICE + "DrainWorker", request, DrainWorkerResponse, DRAIN_TIMEOUT_S)
        except CallFailed:
            self._core.drained(self._loop.time(), ok=False)
        else:
            self._core.drained(self._loop.time(), ok=True)
        self._pump_soon()

    def _look_at(self, fault: CallFailed) -> None:
        """A process whose id another one has taken, or whose requests are wrong, gives up."""
        if fault.code() in HOPELESS and self.fault is None:
            self.fault = fault
            self._end()

    # -- handlers ----------------------------------------------------------------------------------------------------

    def _take(self, lane: c.Lane, tasks: Sequence[Task]) -> None:
        if self.ended:
            return
        for held in self._core.tasks_came(lane, tasks):
            act, told_to_stop = self._act(held.task), asyncio.Event()
            running = self.process.spawn(self._handle(held, act, told_to_stop))
            self._handlers[held.token] = _Handler(act, told_to_stop, running)

    async def _handle(self, held: Held, act: Act, told_to_stop: asyncio.Event) -> None:
        task = held.task
        if self._note is not None:
            self._note(self.process.name, f"runs {task.run_id} {task.step_path} attempt {task.attempt}")
        result = TaskResult(token=held.token)
        if await self._work(held, act, told_to_stop):
            if held.cancel_reason is CancelReason.WORKER_STOPPING:
                result.failure.type = "WorkerStopped"
            else:
                result.canceled.CopyFrom(TaskCanceled())
        elif isinstance(act.result, Payload):
            result.output.CopyFrom(act.result)
        elif isinstance(act.result, Failure):
            result.failure.CopyFrom(act.result)
        else:
            result.returned.CopyFrom(TaskReturned())
        del self._handlers[held.token]
        self._core.finished(result)
        self._pump_soon()

    async def _work(self, held: Held, act: Act, told_to_stop: asyncio.Event) -> bool:
        """Works, and tells whether it was told to stop in the middle of that."""
        end_s = self._loop.time() + act.takes_s
        while (left_s := end_s - self._loop.time()) > TICK_S:
            with suppress(TimeoutError):
                async with asyncio.timeout(left_s if act.beat_s is None else min(left_s, act.beat_s)):
                    await told_to_stop.wait()
            if told_to_stop.is_set():
                return True
            if act.beat_s is not None:
                held.details = Payload(data=b"1")
                self._ledger.beat_of_handler(held)
        return False

    def _stop_handlers(self, stops: list[Stop]) -> None:
        for stop in self._core.stops_asked(stops):
            if stop.held.cancel_reason is None:
                stop.held.cancel_reason = stop.reason
            handler = self._handlers.get(stop.held.token)
            if handler is not None and not handler.act.stubborn:
                handler.told_to_stop.set()

    # -- heartbeats --------------------------------------------------------------------------------------------------

    async def _beat_for_ever(self) -> None:
        last_s = self._loop.time()
        while await self._next_is_due(last_s):
            everything, self._sync_asked = self._sync_asked, False
            last_s = self._loop.time()
            if everything:
                await self._send(self._ledger.everything(), everything=True)
            else:
                for beat in self._ledger.beats():
                    await self._send(beat, everything=False)

    async def _next_is_due(self, last_s: float) -> bool:
        """Waits for the next heartbeat; False once the worker has ended."""
        while not (self.ended or self._sync_asked):
            since_s = self._loop.time() - last_s
            wait_s = self._ledger.wait_s(since_s)
            if self._beats_fail:
                wait_s = min(wait_s, max(RETRY_S - since_s, 0.0))
            if wait_s < TICK_S:
                break
            self._wake_beats.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._wake_beats.wait()
        return not self.ended

    async def _send(self, beat: Beat, *, everything: bool) -> None:
        try:
            answer = await self._network.call(SERVICE + "Heartbeat", beat.request, HeartbeatResponse, TIMEOUT_S)
        except CallFailed as fault:
            self._beats_fail = True
            if everything:
                self._core.sync_failed(self._loop.time())
                self._look_at(fault)
            else:
                self._ledger.failed(beat)
        else:
            self._beats_fail = False
            stops = self._ledger.answered(beat, answer)
            if everything:
                self._core.synced(answer.server_id)
            else:
                self._core.beat_answered(answer.server_id)
            self._stop_handlers(stops)
        self._pump_soon()
