"""What the screens need from a server; tests put something in memory there."""

from collections.abc import AsyncGenerator, Callable
from typing import Protocol

from holdfast.v1.definition_pb2 import Decision
from holdfast.v1.gate_pb2 import Gate
from holdfast.v1.gate_service_pb2 import WatchGatesResponse
from holdfast.v1.operations_service_pb2 import GetServerInfoResponse
from holdfast.v1.run_pb2 import Run
from holdfast.v1.run_service_pb2 import WatchRunsResponse

__all__ = ["OnConnection", "TuiClient"]

OnConnection = Callable[[bool, str], None]
"""Called with True when a server answers (again), with False and a sentence when none does."""


class TuiClient(Protocol):
    """A server as the screens see it. Every call raises `holdfast.errors.HoldfastError` where it cannot be done.

    Attributes:
        target: Its address.
        namespace: The namespace that is shown.
        actor: Who decides.
    """

    target: str
    namespace: str
    actor: str

    def listen(self, hook: OnConnection) -> None:
        """Call the hook whenever the connection is lost or found."""

    def watch_runs(self, cursor: str) -> AsyncGenerator[WatchRunsResponse, None]:
        """Yield a snapshot of the runs and then every change, for ever; from a known cursor only changes."""

    def watch_gates(self, cursor: str) -> AsyncGenerator[WatchGatesResponse, None]:
        """Yield the open gates and then every change of any gate, for ever; from a known cursor only changes."""

    async def run(self, run_id: str) -> Run:
        """Return a run with its steps; payloads above 8 KiB are references."""

    async def gate(self, run_id: str, step_path: str) -> Gate:
        """Return a gate with everything it shows."""

    async def decide(self, gate: Gate, decision: Decision.ValueType, comment: str, request_id: str) -> Gate:
        """Record a decision on exactly the revision and hash of a gate, and return the gate afterwards."""

    async def server_info(self) -> GetServerInfoResponse:
        """Return what server this is and how it is."""

    async def close(self) -> None:
        """Close the connection."""
