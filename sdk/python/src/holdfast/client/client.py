"""The client: the one object a program needs to start runs, wait for them, act on them and decide at gates."""

import random as random_module
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar, Unpack, overload

import grpc

from holdfast.backoff import BackoffPolicy
from holdfast.client.batching import Coalescer
from holdfast.client.connection import Connection, OnConnection
from holdfast.client.gates import Gates
from holdfast.client.handle import RunHandle
from holdfast.client.operations import Operations
from holdfast.client.requests import OnConflictName, StartOptions, start_request, utc_now
from holdfast.client.runs import Runs
from holdfast.client.status import error_of_item
from holdfast.client.waiting import Waiter
from holdfast.client.workflows import Definition, Workflows
from holdfast.converter import Converter
from holdfast.errors import ServerError
from holdfast.v1.run_service_pb2 import (
    SignalRunRequest,
    SignalRunResponse,
    SignalRunsRequest,
    StartRunRequest,
    StartRunResponse,
    StartRunsRequest,
)
from holdfast.v1.workflow_service_pb2 import Diagnostic, RegisterWorkflowResponse

__all__ = ["DEFAULT_TARGET", "Client", "Named"]

DEFAULT_TARGET = "localhost:7411"
T = TypeVar("T")


class Named(Protocol):
    """What has the name of a workflow, for example `holdfast.builder.Workflow`."""

    @property
    def name(self) -> str:
        """Name of the workflow."""


class Client:
    """A connection to a Holdfast server.

    It belongs to the event loop it is first used in; one client serves any number of concurrent callers. Starts and
    signals that are made at the same time travel together, every result is waited for on one stream, a server that is
    away for a moment is sat out, and every change carries a request id so that a repetition never does it twice.

    Attributes:
        runs: Lists, counts and live views of runs.
        gates: What waits for people, and their decisions.
        workflows: Definitions and their versions.
        operations: Queues, workers, the server.
        connection: The channel; for code that needs an RPC the client does not wrap.
        converter: Turns values into payloads and back.
    """

    def __init__(  # noqa: PLR0913 - all but the target have a default nobody needs to know
        self,
        target: str = DEFAULT_TARGET,
        *,
        namespace: str = "default",
        actor: str | None = None,
        converter: Converter | None = None,
        credentials: grpc.ChannelCredentials | None = None,
        timeout_s: float = 30.0,
        on_connection: OnConnection | None = None,
        backoff: BackoffPolicy | None = None,
        clock: Callable[[], datetime] = utc_now,
        random: Callable[[], float] = random_module.random,
    ) -> None:
        """Build a client; nothing is sent until the first call.

        Args:
            target: Address of the server, `host:port`.
            namespace: Namespace of everything this client does.
            actor: Who acts, as histories shall record it where nobody is authenticated; None for the user of the
                operating system.
            converter: Turns values into payloads and back; None for JSON.
            credentials: TLS credentials; None for a plain connection.
            timeout_s: Longest time a call is tried while no server answers, in seconds.
            on_connection: Called with (True, "") when a server answers and with (False, why) when none does.
            backoff: Waits between tries; None for 50 ms growing to 2 s.
            clock: The time, with time zone, that `start_after` counts from if it is a length of time.
            random: Source of the jitter, a number from 0 to 1.
        """
        self.converter = converter or Converter()
        self._clock = clock
        self.connection = Connection(
            target,
            namespace=namespace,
            actor=actor,
            timeout_s=timeout_s,
            credentials=credentials,
            on_connection=on_connection,
            backoff=backoff,
            random=random,
        )
        self.runs = Runs(self.connection)
        self.gates = Gates(self.connection, self.converter)
        self.workflows = Workflows(self.connection)
        self.operations = Operations(self.connection)
        self.waiter = Waiter(self.connection)
        self.starts: Coalescer[StartRunRequest, StartRunResponse] = Coalescer(self._send_starts)
        self.signals: Coalescer[SignalRunRequest, SignalRunResponse] = Coalescer(self._send_signals)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connection; calls that are still open end with ClientClosedError."""
        await self.waiter.close()
        await self.starts.close()
        await self.signals.close()
        await self.connection.close()

    async def register(self, definition: Definition) -> RegisterWorkflowResponse:
        """Register a workflow; the same as `workflows.register`."""
        return await self.workflows.register(definition)

    async def validate(self, definition: Definition) -> list[Diagnostic]:
        """Return all faults of a definition; the same as `workflows.validate`."""
        return await self.workflows.validate(definition)

    def handle(self, run_id: str) -> RunHandle:
        """Return a handle of a run that was started before. Asks the server nothing."""
        return RunHandle(self, run_id)

    async def start(  # noqa: PLR0913 - one for each choice of the contract
        self,
        workflow: str | Named,
        input: object = None,
        *,
        run_id: str = "",
        key: str = "",
        on_conflict: OnConflictName = "FAIL",
        version: int = 0,
        attributes: Mapping[str, object] | None = None,
        start_after: datetime | timedelta | None = None,
        timeout: timedelta | None = None,  # noqa: ASYNC109 - of the run, not of this call
        signals: Sequence[tuple[str, object]] = (),
        request_id: str | None = None,
    ) -> RunHandle:
        """Start a run; once this returns, the run is on disk.

        Args:
            workflow: Name of the workflow, or a builder.
            input: Its input: a pydantic model, a dataclass, plain JSON values, or bytes.
            run_id: Id of the run, never reused; empty lets the server make one.
            key: Business id, unique among open runs of the workflow; empty for none.
            on_conflict: What to do when an open run has the key.
            version: Version of the workflow; 0 for the latest.
            attributes: Attributes for search.
            start_after: No step starts before this time (with time zone), or this long from now.
            timeout: Longest time from start to end; None for the definition's.
            signals: Names and payloads of signals that are in the run from its beginning.
            request_id: To start once even if you call again; made for you without.

        Raises:
            WorkflowNotFoundError: There is no such workflow or version.
            SchemaViolationError: The input or a signal does not fit its schema.
            RunExistsError: The run id is taken.
            KeyInUseError: An open run has the key.
            UnavailableError: No server could be reached in time. It may have been started all the same; calling again
                with the same `request_id` or `run_id` tells.
            ConverterError: The input has no JSON form.
        """
        request = start_request(
            self.converter,
            self.connection.namespace,
            workflow if isinstance(workflow, str) else workflow.name,
            input,
            clock=self._clock,
            run_id=run_id,
            key=key,
            on_conflict=on_conflict,
            version=version,
            attributes=attributes,
            start_after=start_after,
            timeout=timeout,
            signals=signals,
            request_id=request_id,
        )
        accepted = await self.starts.submit(request)
        return RunHandle(self, accepted.run_id, accepted.started, accepted.version)

    @overload
    async def run(
        self, workflow: str | Named, input: object = None, *, result_type: type[T], **options: Unpack[StartOptions]
    ) -> T: ...
    @overload
    async def run(
        self, workflow: str | Named, input: object = None, *, result_type: Any = Any, **options: Unpack[StartOptions]
    ) -> Any: ...
    async def run(
        self, workflow: str | Named, input: object = None, *, result_type: Any = Any, **options: Unpack[StartOptions]
    ) -> Any:
        """Start a run and return its result: `start` and `RunHandle.result` in one.

        Args:
            workflow: Name of the workflow, or a builder.
            input: Its input.
            result_type: What to read the output as; plain JSON values without.
            options: Everything else `start` takes.

        Raises:
            ServerError: What `start` raises.
            RunNotSucceededError: The run ended other than well, as `RunHandle.result` tells.
        """
        handle = await self.start(workflow, input, **options)
        return await handle.result(result_type)

    async def _send_starts(self, requests: list[StartRunRequest]) -> list[StartRunResponse | Exception]:
        connection = self.connection
        response = await connection.call(connection.runs.StartRuns, StartRunsRequest(starts=requests))
        return [_one(item.accepted, item) for item in response.results]

    async def _send_signals(self, requests: list[SignalRunRequest]) -> list[SignalRunResponse | Exception]:
        connection = self.connection
        response = await connection.call(connection.runs.SignalRuns, SignalRunsRequest(signals=requests))
        return [_one(item.accepted, item) for item in response.results]


def _one(accepted: T, item: Any) -> T | ServerError:
    return error_of_item(item.error) if item.HasField("error") else accepted
