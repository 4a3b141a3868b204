"""GateService: lists gates and takes decisions."""

import asyncio
from collections.abc import AsyncIterator

from holdfast.v1 import gate_service_pb2 as pb
from holdfast.v1.definition_pb2 import Decision
from holdfast.v1.errors_pb2 import ErrorReason
from holdfast.v1.gate_pb2 import Gate, GateState
from holdfast.v1.gate_service_pb2_grpc import GateServiceServicer
from holdfast_server.engine import commands as c, views
from holdfast_server.engine.refusal import Refused
from holdfast_server.engine.times import timestamp_us
from holdfast_server.rpc import paging
from holdfast_server.rpc.errors import Context, abort, mapped, refusal_of
from holdfast_server.rpc.run_service.base import Parts
from holdfast_server.rpc.validation import actor_of, invalid
from holdfast_server.runtime.starting import request_hash
from holdfast_server.store.port import StoreError

__all__ = ["GateService"]

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
        page = placed[:size]
        token = ""
        if len(placed) > size:
            (deadline, opened), run_id, path, _index = page[-1]
            token = paging.encode("gates", deadline, opened, run_id, path)
        return pb.ListGatesResponse(gates=[gates[one[3]] for one in page], next_page_token=token)

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
        await self._reading.fill([gate])
        return pb.GetGateResponse(gate=gate)

    @mapped
    async def DecideGate(self, request: pb.DecideGateRequest, context: Context) -> pb.DecideGateResponse:
        """Records one person's decision."""
        namespace = self._validator.namespace(request.namespace)
        run_id = self._validator.name("run_id", request.run_id)
        path = self._validator.path("step_path", request.step_path)
        self._validator.note("comment", request.comment)
        if request.decision not in Decision.values() or not request.decision:
            raise invalid("decision", "is missing or none this server knows")
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
        await self._reading.fill([gate])
        return pb.DecideGateResponse(gate=gate)

    async def WatchGates(self, request: pb.WatchGatesRequest, context: Context) -> AsyncIterator[pb.WatchGatesResponse]:
        """Streams the open gates and then every change of any gate."""
        try:
            namespace = self._validator.namespace(request.namespace)
        except Refused as refused:
            await abort(context, refused)
        feed = self._runtime.gates_feed
        subscription, known = feed.subscribe(request.cursor)
        try:
            if known:
                yield pb.WatchGatesResponse(cursor=feed.cursor(subscription), live=True)
            else:
                subscription.restart()
                gates = self._open_gates(namespace)
                yield pb.WatchGatesResponse(reset=True, gates=gates, cursor=feed.cursor(subscription), live=True)
            while True:
                await subscription.wake.wait()
                if subscription.lost:
                    subscription.restart()
                    gates = self._open_gates(namespace)
                    yield pb.WatchGatesResponse(reset=True, gates=gates, cursor=feed.cursor(subscription), live=True)
                    continue
                changed = await self._changed(namespace, subscription.take())
                if changed:
                    yield pb.WatchGatesResponse(gates=changed, cursor=feed.cursor(subscription), live=True)
                await asyncio.sleep(0.1)
        except (Refused, StoreError) as error:
            await abort(context, refusal_of(error))
        finally:
            subscription.close()

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
