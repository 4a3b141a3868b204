"""The screens' server over the client of the SDK."""

import getpass
import logging
import os
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING

from holdfast.v1.definition_pb2 import Decision
from holdfast.v1.gate_pb2 import Gate
from holdfast.v1.gate_service_pb2 import WatchGatesResponse
from holdfast.v1.operations_service_pb2 import GetServerInfoResponse
from holdfast.v1.run_pb2 import Run
from holdfast.v1.run_service_pb2 import PayloadView, WatchRunsResponse
from holdfast_tui.client.port import OnConnection

if TYPE_CHECKING:
    from holdfast.client import Client

__all__ = ["GrpcClient"]

CLOSED_RUNS_SHOWN = 500
"""Closed runs of a snapshot, latest first."""


class GrpcClient:
    """A server that is reached by gRPC. Nothing is sent until the first call.

    Attributes:
        target: Its address.
        namespace: The namespace that is shown.
        actor: Who decides.
    """

    def __init__(self, target: str, *, namespace: str = "default", actor: str | None = None) -> None:
        """Build it.

        Args:
            target: Address of the server, `host:port`.
            namespace: The namespace that is shown.
            actor: Who decides; None for the user of the operating system.
        """
        self.target = target
        self.namespace = namespace
        self.actor = _user() if actor is None else actor
        self._hook: OnConnection | None = None
        self._client: Client | None = None

    @property
    def client(self) -> "Client":
        """The client, made inside the running loop at first use."""
        if self._client is None:
            os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # the library would write its lines across the screen
            logging.getLogger("holdfast").addHandler(logging.NullHandler())
            from holdfast.client import Client  # noqa: PLC0415 - after the variable, which is read by the import

            self._client = Client(
                self.target, namespace=self.namespace, actor=self.actor, on_connection=self._note_connection
            )
        return self._client

    def _note_connection(self, is_there: bool, why: str) -> None:  # noqa: FBT001 - the shape of the hook
        if self._hook is not None:
            self._hook(is_there, why)

    def listen(self, hook: OnConnection) -> None:
        """Call the hook whenever the connection is lost or found."""
        self._hook = hook

    async def watch_runs(self, cursor: str) -> AsyncGenerator[WatchRunsResponse, None]:
        """Yield a snapshot of the runs and then every change, for ever."""
        stream = self.client.runs.watch(cursor=cursor, closed_limit=CLOSED_RUNS_SHOWN)
        async with aclosing(stream) as responses:  # type: ignore[type-var]
            async for response in responses:
                yield response

    async def watch_gates(self, cursor: str) -> AsyncGenerator[WatchGatesResponse, None]:
        """Yield the open gates and then every change of any gate, for ever."""
        stream = self.client.gates.watch(cursor=cursor)
        async with aclosing(stream) as responses:  # type: ignore[type-var]
            async for response in responses:
                yield response

    async def run(self, run_id: str) -> Run:
        """Return a run with its steps; payloads above 8 KiB are references."""
        return await self.client.handle(run_id).get(payload_view=PayloadView.PAYLOAD_VIEW_REFS)

    async def gate(self, run_id: str, step_path: str) -> Gate:
        """Return a gate with everything it shows."""
        return await self.client.gates.get(run_id, step_path)

    async def decide(self, gate: Gate, decision: Decision.ValueType, comment: str, request_id: str) -> Gate:
        """Record a decision on exactly the revision and hash of a gate, and return the gate afterwards."""
        return await self.client.gates.decide(gate, decision, comment=comment, request_id=request_id)

    async def server_info(self) -> GetServerInfoResponse:
        """Return what server this is and how it is."""
        return await self.client.operations.server_info()

    async def close(self) -> None:
        """Close the connection."""
        if self._client is not None:
            await self._client.close()


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container may run under a number without a name
        return ""
