"""GateService: lists gates and takes decisions."""

import asyncio
from collections.abc import AsyncGenerator, Iterator, Sequence

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
from holdfast_server.runtime.eviction import NEVER_US
from holdfast_server.runtime.feeds import Subscription
from holdfast_server.runtime.open_gates import FIRST, OpenGates, Place
from holdfast_server.runtime.pieces import filled_bytes, in_pieces, payloads_in, plain_bytes
from holdfast_server.runtime.starting import request_hash

__all__ = ["GateService"]

FLUSH_S = 0.1
"""Watchers get changes at most this often: people read them."""
PAGE = 1_000
"""Gates read at once for those who begin to watch."""


class GateService(GateServiceServicer):
    """What people who decide call."""

    def __init__(self, parts: Parts) -> None:
        self._runtime = parts.runtime
        self._reading = parts.reading
        self._changes = parts.changes
        self._validator = parts.validator
        self.seats = parts.seats
        self._open_gates = OpenGates(parts.runtime)

    @mapped
    async def ListGates(self, request: pb.ListGatesRequest, _context: Context) -> pb.ListGatesResponse:
        """Lists gates, oldest deadline first."""
        namespace = self._validator.namespace(request.namespace)
        size = self._validator.page_size(request.page_size)
        position = paging.decode("gates", request.page_token, int, int, str, str)
        after = FIRST
        if position is not None:
            after = (int(position[0]), int(position[1]), str(position[2]), str(position[3]))
        doubts = self._reading.doubts
        if request.run_id:
            run, _why = await self._reading.state(namespace, self._validator.name("run_id", request.run_id))
            gates = [gate for gate in views.gates_of(run) if not request.workflow or gate.workflow == request.workflow]
            placed = sorted(((_place(gate), gate) for gate in gates), key=lambda one: one[0])
            placed = [one for one in placed if one[0] > after][: size + 1]
        else:
            placed = await self._open_gates.page(namespace, request.workflow, after, size + 1)
        await self._shown([gate for _where, gate in placed], doubts)
        page = next(in_pieces([gate for _where, gate in placed[:size]], plain_bytes), [])
        token = paging.encode("gates", *placed[len(page) - 1][0]) if len(placed) > len(page) else ""
        return pb.ListGatesResponse(gates=page, next_page_token=token)

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
                doubts = self._reading.doubts
                gates = await self._changed(namespace, subscription.take())
                await self._shown(gates, doubts)
                for answer in self._answers(gates, subscription):
                    yield answer
                await asyncio.sleep(FLUSH_S)
        finally:
            subscription.close()

    async def _snapshot(
        self, namespace: str, subscription: Subscription
    ) -> AsyncGenerator[pb.WatchGatesResponse, None]:
        subscription.restart()
        cursor = self._runtime.gates_feed.cursor(subscription)
        after = FIRST
        reset = True
        while True:
            doubts = self._reading.doubts
            page = await self._open_gates.page(namespace, "", after, PAGE)
            await self._shown([gate for _where, gate in page], doubts)
            for piece in in_pieces([gate for _where, gate in page], plain_bytes):
                yield pb.WatchGatesResponse(reset=reset, gates=piece)
                reset = False
            if len(page) < PAGE:
                break
            after = page[-1][0]
        # The cursor is behind all of them, so it comes last.
        yield pb.WatchGatesResponse(reset=reset, cursor=cursor, live=True)

    async def _shown(self, gates: Sequence[Gate], doubts: int) -> None:
        residence = self._runtime.residence
        await self._reading.shown((residence.by_id(gate.namespace, gate.run_id) for gate in gates), doubts)

    def _answers(self, gates: Sequence[Gate], subscription: Subscription) -> Iterator[pb.WatchGatesResponse]:
        """Gates in as many messages as they need; the last has the cursor, since it is behind all of them."""
        cursor = self._runtime.gates_feed.cursor(subscription)
        pieces = list(in_pieces(gates, plain_bytes))
        for number, piece in enumerate(pieces, 1):
            yield pb.WatchGatesResponse(gates=piece, cursor=cursor if number == len(pieces) else "", live=True)

    async def _changed(self, namespace: str, keys: list[tuple[int, str]]) -> list[Gate]:
        gates: list[Gate] = []
        for key, path in keys:
            host = self._runtime.residence.by_key(key)
            if host is not None and not host.stale:
                run = host.state
            else:
                row = await self._runtime.store.run_by_key(key)
                if row is None:
                    continue
                _key, run = await self._reading.stored(row.namespace, row.run_id)
            if run.namespace != namespace:
                continue
            try:
                gates.append(views.gate_view(run, path))
            except Refused:
                # A step without a gate ended: gate watchers have nothing to see.
                continue
        return gates


def _place(gate: Gate) -> Place:
    deadline = timestamp_us(gate.deadline_time) if gate.HasField("deadline_time") else NEVER_US
    return deadline, timestamp_us(gate.open_time), gate.run_id, gate.step_path
