"""What a worker holds: cancellation, lost tasks, heartbeats, and a server that is another one."""

import asyncio
import queue
import threading
import time
from typing import Any

import pytest

from holdfast import TaskContext, Worker, handler
from holdfast.errors import ServerError
from holdfast.v1 import worker_service_pb2 as messages
from holdfast.v1.task_pb2 import Task, WorkerInfo
from holdfast.worker import CancelReason
from holdfast.worker.heartbeats import Heartbeats
from holdfast.worker.ledger import Ledger
from tests.unit.sdk.fake_worker_service import worker_service


@handler
async def nothing() -> None:
    return None


@pytest.mark.asyncio
async def test_a_requested_cancel_reaches_an_async_handler() -> None:
    reasons: list[CancelReason | None] = []

    @handler
    async def wait(ctx: TaskContext) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            reasons.append(ctx.cancel_reason)

    async with worker_service(lease_s=0.3) as (service, client), Worker(client, [wait]):
        token = await service.add("wait")
        await service.until(lambda: token in service.leased)
        service.states[token] = messages.HeldState.HELD_STATE_CANCEL_REQUESTED
        result = await service.result(token)

    assert result.WhichOneof("outcome") == "canceled"
    assert reasons == [CancelReason.CANCEL_REQUESTED]


@pytest.mark.asyncio
async def test_a_result_in_spite_of_a_cancel_counts() -> None:
    @handler
    async def stubborn() -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return "done all the same"
        return "never"

    async with worker_service(lease_s=0.3) as (service, client), Worker(client, [stubborn]):
        token = await service.add("stubborn")
        await service.until(lambda: token in service.leased)
        service.states[token] = messages.HeldState.HELD_STATE_CANCEL_REQUESTED
        assert (await service.result(token)).output.data == b'"done all the same"'


@pytest.mark.asyncio
async def test_a_requested_cancel_reaches_a_handler_in_a_thread() -> None:
    @handler
    def wait(ctx: TaskContext) -> None:
        while not ctx.is_cancelled():
            threading.Event().wait(0.005)
        ctx.raise_if_cancelled()

    async with worker_service(lease_s=0.3) as (service, client), Worker(client, [wait]):
        token = await service.add("wait")
        await service.until(lambda: token in service.leased)
        service.states[token] = messages.HeldState.HELD_STATE_CANCEL_REQUESTED
        assert (await service.result(token)).WhichOneof("outcome") == "canceled"


@pytest.mark.asyncio
async def test_a_lost_task_sends_no_result_and_its_slot_is_not_offered_while_its_handler_runs() -> None:
    told, end = asyncio.Event(), asyncio.Event()

    @handler
    async def wait() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            told.set()
            await end.wait()

    async with worker_service(lease_s=0.3) as (service, client), Worker(client, [wait, nothing], slots=2):
        token = await service.add("wait")
        await service.until(lambda: token in service.leased)
        service.states[token] = messages.HeldState.HELD_STATE_LOST
        service.leased.discard(token)
        await told.wait()
        await service.result(await service.add("nothing"))
        offered = service.completions[-1].slots_total
        end.set()
        await service.result(await service.add("nothing"))

    assert offered == 1
    assert token not in service.results


class Sender:
    """Stands for the connection of the heartbeats."""

    def __init__(self, *faults: ServerError) -> None:
        self.faults = list(faults)
        self.sent: queue.Queue[messages.HeartbeatRequest] = queue.Queue()
        self.closed = False

    def __call__(self, request: messages.HeartbeatRequest, timeout_s: float) -> messages.HeartbeatResponse:
        self.sent.put(request)
        if self.faults:
            raise self.faults.pop()
        response = messages.HeartbeatResponse(states=[messages.HeldState.HELD_STATE_HELD] * len(request.held))
        response.lease_timeout.FromMilliseconds(300)
        return response

    def close(self) -> None:
        self.closed = True


def test_leases_are_kept_without_any_event_loop() -> None:
    ledger, sender = Ledger(WorkerInfo(id="w1"), "default"), Sender(ServerError("away", code="UNAVAILABLE"))
    answered: queue.Queue[bool] = queue.Queue()
    failed: queue.Queue[ServerError] = queue.Queue()
    heartbeats = Heartbeats(
        ledger,
        sender,
        clock=time.monotonic,
        on_beat=lambda server_id, stops, *, everything: answered.put(everything),
        on_sync_failed=failed.put,
    )
    ledger.on_sooner = heartbeats.hurry
    held = ledger.add(Task(token=b"a"))
    heartbeats.start()
    heartbeats.sync()
    assert failed.get(timeout=10).code == "UNAVAILABLE"
    heartbeats.sync()
    assert answered.get(timeout=10) is True
    ledger.beat_of_handler(held)
    beats = [sender.sent.get(timeout=10) for _ in range(5)]
    heartbeats.stop()

    assert [beat.all_held for beat in beats] == [True, True, False, False, False]
    assert [[entry.token for entry in beat.held] for beat in beats] == [[b"a"]] * 5
    assert any(entry.alive for beat in beats for entry in beat.held)
    assert sender.closed


@pytest.mark.asyncio
async def test_what_a_handler_says_arrives_and_the_next_attempt_gets_it() -> None:
    go = asyncio.Event()

    @handler
    async def progress(ctx: TaskContext) -> Any:
        ctx.heartbeat({"done": 5})
        await go.wait()
        return ctx.last_heartbeat()

    async with worker_service() as (service, client), Worker(client, [progress]):
        token = await service.add("progress")
        service.tasks[-1].heartbeat_details.data = b'{"done":3}'
        await service.until(lambda: any(entry.alive for beat in service.beats for entry in beat.held))
        go.set()
        result = await service.result(token)
    said = next(entry for beat in service.beats for entry in beat.held if entry.alive)

    assert said.details.data == b'{"done":5}'
    assert result.output.data == b'{"done":3}'


@pytest.mark.asyncio
async def test_another_server_is_told_everything_that_is_held() -> None:
    go = asyncio.Event()

    @handler
    async def wait() -> None:
        await go.wait()

    async with worker_service(lease_s=0.3) as (service, client), Worker(client, [wait]):
        token = await service.add("wait")
        await service.until(lambda: token in service.leased)
        service.server_id = "server-2"
        await service.until(lambda: sum(beat.all_held for beat in service.beats) == 2)
        polls = len(service.polls)
        await service.until(lambda: len(service.polls) > polls)
        go.set()
        await service.result(token)

    assert [entry.token for entry in [b for b in service.beats if b.all_held][1].held] == [token]
