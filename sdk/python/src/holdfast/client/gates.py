"""Gates: what waits for people, and their decisions on exactly what they were shown."""

from collections.abc import AsyncIterator

from grpc import aio

from holdfast.client.connection import Connection
from holdfast.client.requests import enum_member, new_request_id
from holdfast.converter import Converter
from holdfast.v1.definition_pb2 import Approvers, Decision
from holdfast.v1.gate_pb2 import Gate
from holdfast.v1.gate_service_pb2 import (
    DecideGateRequest,
    GetGateRequest,
    ListGatesRequest,
    ListGatesResponse,
    WatchGatesRequest,
    WatchGatesResponse,
)

__all__ = ["Gates"]


class Gates:
    """Gates of the client's namespace.

    Decisions take the `Gate` that was shown, so that revision and hash are those of what the person saw. All of them
    raise `GateResolvedError` (with who and when) if it is resolved, `GateChangedError` if it shows something else by
    now, `DecisionRefusedError` if it does not take that decision from this person, `DecidedAlreadyError` if this person
    decided before, and `SchemaViolationError` if the payload does not fit; the gate stays open then. All return the
    gate as it is afterwards: it may still be open, for example when more approvals are needed.
    """

    def __init__(self, connection: Connection, converter: Converter) -> None:
        self._connection = connection
        self._converter = converter

    async def list(
        self, *, run_id: str = "", workflow: str = "", limit: int | None = None, page_size: int = 100
    ) -> AsyncIterator[Gate]:
        """Yield gates, oldest deadline first, asking for pages as they are needed.

        Args:
            run_id: Only gates of this run, resolved ones too; empty for the open gates of all open runs.
            workflow: Only gates of this workflow; empty for all.
            limit: Most gates; None for all.
            page_size: Gates per call, 1 to 1,000.
        """
        token, count = "", 0
        while limit is None or count < limit:
            size = page_size if limit is None else min(page_size, limit - count)
            page = await self.page(run_id=run_id, workflow=workflow, page_size=size, page_token=token)
            for gate in page.gates:
                yield gate
            count += len(page.gates)
            token = page.next_page_token
            if not token:
                return

    async def page(
        self, *, run_id: str = "", workflow: str = "", page_size: int = 100, page_token: str = ""
    ) -> ListGatesResponse:
        """Return one page and the token of the next; payloads above 8 KiB are references there."""
        connection = self._connection
        request = ListGatesRequest(
            namespace=connection.namespace, run_id=run_id, workflow=workflow, page_size=page_size, page_token=page_token
        )
        return await connection.call(connection.gates.ListGates, request)

    async def get(self, run_id: str, step_path: str = "") -> Gate:
        """Return one gate with everything it shows.

        Args:
            run_id: The run.
            step_path: Path of the step; empty for the only open gate of the run.

        Raises:
            RunNotFoundError: There is no such run.
            GateNotFoundError: The run has no gate there, or several are open and no path is given.
        """
        connection = self._connection
        request = GetGateRequest(namespace=connection.namespace, run_id=run_id, step_path=step_path)
        return (await connection.call(connection.gates.GetGate, request)).gate

    async def watch(self, *, cursor: str = "") -> AsyncIterator[WatchGatesResponse]:
        """Yield the open gates and then every change of any gate, for ever; goes on after the loss of the server.

        A message with `reset` voids everything before it; `live` says that the snapshot is complete; `cursor` resumes
        from there. Wrap it in `contextlib.aclosing` if you may leave early.
        """
        connection = self._connection
        request = WatchGatesRequest(namespace=connection.namespace, cursor=cursor)

        def begin() -> "aio.UnaryStreamCall[WatchGatesRequest, WatchGatesResponse]":
            return connection.gates.WatchGates(request, metadata=connection.metadata)

        async for response in connection.stream(begin, endless=True):
            if response.cursor:
                request.cursor = response.cursor
            yield response

    async def approve(self, gate: Gate, payload: object = None, *, comment: str = "") -> Gate:
        """Allow it; `payload` is data that fits the gate's response schema."""
        return await self.decide(gate, Decision.DECISION_APPROVE, payload, comment=comment)

    async def reject(self, gate: Gate, *, comment: str = "") -> Gate:
        """Refuse it."""
        return await self.decide(gate, Decision.DECISION_REJECT, comment=comment)

    async def edit(self, gate: Gate, subject: object, *, comment: str = "") -> Gate:
        """Change what is proposed; the gate stays open with a new revision, which the returned gate shows."""
        return await self.decide(gate, Decision.DECISION_EDIT, subject, comment=comment)

    async def respond(self, gate: Gate, payload: object, *, comment: str = "") -> Gate:
        """Answer with data that fits the gate's response schema, instead of allowing or refusing."""
        return await self.decide(gate, Decision.DECISION_RESPOND, payload, comment=comment)

    async def decide(
        self,
        gate: Gate,
        decision: Decision.ValueType | str,
        payload: object = None,
        *,
        comment: str = "",
        delegate_to: Approvers | None = None,
        request_id: str | None = None,
    ) -> Gate:
        """Record any decision.

        Args:
            gate: The gate that was shown.
            decision: The decision, as enum value or name such as `RETRY`.
            payload: APPROVE and RESPOND: data that fits the response schema. EDIT: the new subject. SKIP: the output.
            comment: Why.
            delegate_to: DELEGATE: who shall decide.
            request_id: To decide once even if you call again; made for you without.
        """
        connection = self._connection
        request = DecideGateRequest(
            namespace=gate.namespace or connection.namespace,
            run_id=gate.run_id,
            step_path=gate.step_path,
            revision=gate.revision,
            content_hash=gate.content_hash,
            decision=enum_member(Decision, "DECISION_", decision),
            payload=self._converter.encode_optional(payload),
            comment=comment,
            delegate_to=delegate_to,
            request_id=new_request_id() if request_id is None else request_id,
        )
        return (await connection.call(connection.gates.DecideGate, request)).gate
