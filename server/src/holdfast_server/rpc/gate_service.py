"""GateService: lists gates and takes decisions."""

import asyncio
from collections.abc import AsyncGenerator, Sequence

from google.protobuf.message import Message

from holdfast.v1 import gate_service_pb2 as pb
from holdfast.v1.definition_pb2 import Decision
from holdfast.v1.errors_pb2 import ErrorReason
from holdfast.v1.gate_pb2 import Gate, GateState
from holdfast.v1.gate_service_pb2_grpc import GateServiceServicer
from holdfast_server.engine import commands as c, views
from holdfast_server.engine.refusal import Refused
from holdfast_server.engine.times import timestamp_us
from holdfast_server.rpc import paging
from holdfast_server.rpc.errors import Context, mapped, streamed
from holdfast_server.rpc.run_service.base import Parts
from holdfast_server.rpc.validation import actor_of
from holdfast_server.runtime.feeds import Subscription
from holdfast_server.runtime.pieces import filled_bytes, in_pieces, payloads_in, plain_bytes
from holdfast_server.runtime.starting import request_hash

__all__ = ["GateService"]

FLUSH_S = 0.1
"""Watchers get changes at most this often: people read them."""
NEVER_US = 2**62
"""Gates without a deadline come last."""


class GateService(GateServiceServicer):
    """What people who decide call."""

    def __init__(self, parts: Parts) -> None:
        self._runtime = parts.runtime
        self._reading = parts.reading
        self._changes = parts.changes
        self._validator = parts.validator

    @mapped
    async def ListGates(self, request: pb.ListGatesRequest, _context: Context) -> pb.ListGatesResponse:
        """Lists gates, oldest deadline first."""
        namespace = self._validator.namespace(request.namespace)
        size = self._validator.page_size(request.page_size)
        position = paging.decode("gates", request.page_token, int, int, str, str)
        if request.run_id:
            run, _why = await self._reading.state(namespace, self._validator.name("run_id", request.run_id))
            gates = list(views.gates_of(run))
        else:
            gates = self._open_gates(namespace)
        if request.workflow:
            gates = [gate for gate in gates if gate.workflow == request.workflow]
        placed = sorted((_place(gate), gate.run_id, gate.step_path, index) for index, gate in enumerate(gates))
        if position is not None:
            after = ((int(position[0]), int(position[1])), str(position[2]), str(position[3]))
            placed = [one for one in placed if one[:3] > after]
        await self._runtime.journal.durable()
        page = next(in_pieces([gates[one[3]] for one in placed[:size]], plain_bytes), [])
        token = ""
        if len(placed) > len(page):
            (deadline, opened), run_id, path, _index = placed[len(page) - 1]
            token = paging.encode("gates", deadline, opened, run_id, path)
        return pb.ListGatesResponse(gates=page, next_page_token=token)

    def _open_gates(self, namespace: str) -> list[Gate]:
        return [
            gate
            for host in self._runtime.residence
            if host.state.namespace == namespace and host.state.open and not host.stale
            for gate in views.gates_of(host.state)
            if gate.state == GateState.GATE_STATE_OPEN
        ]

    @mapped
    async def GetGate(self, request: pb.GetGateRequest, _context: Context) -> pb.GetGateResponse:
        """Shows one gate with all its payloads."""
        namespace = self._validator.namespace(request.namespace)
        run, _why = await self._reading.state(namespace, self._validator.name("run_id", request.run_id))
        if request.step_path:
            gate = views.gate_view(run, self._validator.path("step_path", request.step_path))
        else:
            gates = [gate for gate in views.gates_of(run) if gate.state == GateState.GATE_STATE_OPEN]
            if len(gates) != 1:
                paths = ", ".join(gate.step_path for gate in gates)
                told = f"it has {len(gates)}: {paths}; name the step" if gates else "it has none"
                message = f"run {run.run_id!r} does not have one open gate: {told}"
                raise Refused(ErrorReason.ERROR_REASON_GATE_NOT_FOUND, message, {"run_id": run.run_id, "open": paths})
            gate = gates[0]
        await self._fill(gate)
        return pb.GetGateResponse(gate=gate)

    @mapped
    async def DecideGate(self, request: pb.DecideGateRequest, context: Context) -> pb.DecideGateResponse:
        """Records one person's decision."""
        namespace = self._validator.namespace(request.namespace)
        run_id = self._validator.name("run_id", request.run_id)
        path = self._validator.path("step_path", request.step_path)
        self._validator.note("comment", request.comment)
        self._validator.member("decision", request.decision, Decision, required=True)
        payload = self._validator.payload("payload", request.payload) if request.HasField("payload") else None
        request_id = self._validator.request_id(request.request_id)
        command = c.DecideGate(
            path,
            request.revision,
            request.content_hash,
            request.decision,
            payload,
            request.comment,
            request.delegate_to if request.HasField("delegate_to") else None,
        )
        digest = request_hash(b"DecideGate" + request.SerializeToString(deterministic=True)) if request_id else b""
        changed = await self._changes.apply(namespace, run_id, command, actor_of(context), request_id, digest)
        gate = views.gate_view(changed.state, path)
        await self._runtime.journal.durable()
        self._changes.check_kept(changed)
        await self._fill(gate)
        return pb.DecideGateResponse(gate=gate)

    async def _fill(self, gate: Gate) -> None:
        """What is shown comes with its data, and so do decisions, latest first, as far as the message holds them."""
        left = self._validator.limits.message_bytes - filled_bytes(gate.content) - plain_bytes(gate)
        fitting: list[Message] = [gate.content]
        for decision in reversed(gate.decided):
            left -= sum(payload.ref.size_bytes for payload in payloads_in(decision))
            if left < 0:
                break
            fitting.append(decision)
        await self._reading.fill(fitting)

    @streamed
    async def WatchGates(
        self, request: pb.WatchGatesRequest, _context: Context
    ) -> AsyncGenerator[pb.WatchGatesResponse, None]:
        """Streams the open gates and then every change of any gate."""
        namespace = self._validator.namespace(request.namespace)
        feed = self._runtime.gates_feed
        subscription, known = feed.subscribe(request.cursor)
        try:
            if known:
                yield pb.WatchGatesResponse(cursor=feed.cursor(subscription), live=True)
            else:
                async for answer in self._snapshot(namespace, subscription):
                    yield answer
            while True:
                await self._runtime.health.sleep(subscription.wake)
                if subscription.lost:
                    async for answer in self._snapshot(namespace, subscription):
                        yield answer
                    continue
                gates = await self._changed(namespace, subscription.take())
                async for answer in self._answers(gates, subscription, reset=False):
                    yield answer
                await asyncio.sleep(FLUSH_S)
        finally:
            subscription.close()

    async def _snapshot(
        self, namespace: str, subscription: Subscription
    ) -> AsyncGenerator[pb.WatchGatesResponse, None]:
        subscription.restart()
        gates = self._open_gates(namespace)
        if not gates:
            cursor = self._runtime.gates_feed.cursor(subscription)
            yield pb.WatchGatesResponse(reset=True, cursor=cursor, live=True)
        async for answer in self._answers(gates, subscription, reset=True):
            yield answer

    async def _answers(
        self, gates: Sequence[Gate], subscription: Subscription, *, reset: bool
    ) -> AsyncGenerator[pb.WatchGatesResponse, None]:
        """Gates in as many messages as they need; the last has the cursor, since it is behind all of them."""
        await self._runtime.journal.durable()
        cursor = self._runtime.gates_feed.cursor(subscription)
        pieces = list(in_pieces(gates, plain_bytes))
        for number, piece in enumerate(pieces, 1):
            last = number == len(pieces)
            yield pb.WatchGatesResponse(
                reset=reset and number == 1, gates=piece, cursor=cursor if last else "", live=last or not reset
            )

    async def _changed(self, namespace: str, keys: list[tuple[int, str]]) -> list[Gate]:
        gates: list[Gate] = []
        for key, path in keys:
            host = self._runtime.residence.by_key(key)
            if host is not None:
                run = host.state
            else:
                row = await self._runtime.store.run_by_key(key)
                if row is None:
                    continue
                run = await self._reading.closed(row.namespace, row.run_id)
            if run.namespace != namespace:
                continue
            try:
                gates.append(views.gate_view(run, path))
            except Refused:
                # A step without a gate ended: gate watchers have nothing to see.
                continue
        return gates


def _place(gate: Gate) -> tuple[int, int]:
    deadline = timestamp_us(gate.deadline_time) if gate.HasField("deadline_time") else NEVER_US
    return deadline, timestamp_us(gate.open_time)
