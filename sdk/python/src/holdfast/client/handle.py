"""One run in the hands of a caller: its result, its history, and everything that can be done to it."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar, overload

from holdfast.client.requests import new_request_id
from holdfast.errors import (
    HoldfastError,
    ResultTimeoutError,
    RunCanceledError,
    RunFailedError,
    RunNotSucceededError,
    RunTerminatedError,
    RunTimedOutError,
)
from holdfast.v1.history_pb2 import HistoryEvent
from holdfast.v1.run_pb2 import Activation, Run, RunOutcome, RunState, RunSummary
from holdfast.v1.run_service_pb2 import (
    CancelRunRequest,
    DeleteRunRequest,
    GetHistoryRequest,
    GetRunRequest,
    PauseRunRequest,
    PayloadView,
    QueryRunRequest,
    ResumeRunRequest,
    RetryRunRequest,
    SignalRunRequest,
    TerminateRunRequest,
    WatchRunRequest,
    WatchRunResponse,
)
from holdfast.v1.signal_pb2 import Signal
from holdfast.v1.step_action_pb2 import FailStep, RetryStep, SkipStep, StepActionRequest

if TYPE_CHECKING:
    from grpc import aio

    from holdfast.client.client import Client

__all__ = ["RunHandle"]

T = TypeVar("T")
_ENDINGS: dict[int, type[RunNotSucceededError]] = {
    RunState.RUN_STATE_FAILED: RunFailedError,
    RunState.RUN_STATE_CANCELED: RunCanceledError,
    RunState.RUN_STATE_TERMINATED: RunTerminatedError,
    RunState.RUN_STATE_TIMED_OUT: RunTimedOutError,
}


class RunHandle:
    """A run, by its id. Making a handle asks the server nothing; `Client.start` and `Client.handle` make them.

    Every method raises `RunNotFoundError` if there is no such run and `UnavailableError` if no server can be reached
    within the client's timeout.

    Attributes:
        run_id: The run.
        started: True if `start` began it, False if it was there before (a repetition, or USE_EXISTING); None for a
            handle that was not made by `start`.
        version: Version of the workflow it is pinned to; None for a handle that was not made by `start`.
    """

    __slots__ = ("_client", "run_id", "started", "version")

    def __init__(self, client: "Client", run_id: str, started: bool | None = None, version: int | None = None) -> None:  # noqa: FBT001 - made by the client only
        self._client = client
        self.run_id = run_id
        self.started = started
        self.version = version

    def __repr__(self) -> str:
        return f"RunHandle({self.run_id!r})"

    @overload
    async def result(self, type: type[T], *, timeout_s: float | None = None) -> T: ...
    @overload
    async def result(self, type: Any = Any, *, timeout_s: float | None = None) -> Any: ...
    async def result(self, type: Any = Any, *, timeout_s: float | None = None) -> Any:
        """Wait until the run is closed and return its output; a lost server is sat out.

        Args:
            type: What to read the output as; plain JSON values without.
            timeout_s: Longest wait in seconds; None waits for ever.

        Raises:
            RunFailedError: It failed.
            RunCanceledError: It was cancelled.
            RunTerminatedError: It was terminated.
            RunTimedOutError: It took longer than allowed.
            ResultTimeoutError: It is still open after `timeout_s`.
            ConverterError: The output does not fit `type`.
        """
        outcome = await self.outcome(timeout_s=timeout_s)
        if outcome.state == RunState.RUN_STATE_SUCCEEDED:
            return self._client.converter.decode(outcome.output if outcome.HasField("output") else None, type)
        ending = _ENDINGS.get(outcome.state)
        if ending is None:
            raise HoldfastError(f"run {self.run_id} ended in state {outcome.state}, which this client does not know")
        failure = outcome.failure if outcome.HasField("failure") else None
        raise ending(self.run_id, failure, run_epoch=outcome.run_epoch)

    async def outcome(self, *, timeout_s: float | None = None) -> RunOutcome:
        """Wait until the run is closed and return how it ended, whatever that is.

        Raises:
            ResultTimeoutError: It is still open after `timeout_s` seconds.
        """
        if timeout_s is None:
            return await self._client.waiter.outcome(self.run_id)
        try:
            async with asyncio.timeout(timeout_s):
                return await self._client.waiter.outcome(self.run_id)
        except TimeoutError:
            raise ResultTimeoutError(self.run_id, timeout_s) from None

    async def get(self, *, payload_view: PayloadView.ValueType = PayloadView.PAYLOAD_VIEW_FULL) -> Run:
        """Return everything about the run but its history."""
        connection = self._client.connection
        request = GetRunRequest(namespace=connection.namespace, run_id=self.run_id, payload_view=payload_view)
        return (await connection.call(connection.runs.GetRun, request)).run

    async def history(
        self, *, page_size: int = 1000, payload_view: PayloadView.ValueType = PayloadView.PAYLOAD_VIEW_FULL
    ) -> AsyncIterator[HistoryEvent]:
        """Yield the events so far, page by page."""
        connection = self._client.connection
        request = GetHistoryRequest(
            namespace=connection.namespace, run_id=self.run_id, page_size=page_size, payload_view=payload_view
        )
        while True:
            response = await connection.call(connection.runs.GetHistory, request)
            for event in response.events:
                yield event
            if not response.next_page_token:
                return
            request.page_token = response.next_page_token

    async def watch(
        self, after_seq: int = 0, *, payload_view: PayloadView.ValueType = PayloadView.PAYLOAD_VIEW_FULL
    ) -> AsyncIterator[HistoryEvent]:
        """Yield events as they happen, each exactly once and in order, until the run is closed.

        Goes on by itself after the loss of the server. Wrap it in `contextlib.aclosing` if you may leave early.

        Args:
            after_seq: Only events after this one; 0 for all.
            payload_view: How large payloads are given.
        """
        connection = self._client.connection
        request = WatchRunRequest(
            namespace=connection.namespace, run_id=self.run_id, after_seq=after_seq, payload_view=payload_view
        )

        def begin() -> "aio.UnaryStreamCall[WatchRunRequest, WatchRunResponse]":
            return connection.runs.WatchRun(request, metadata=connection.metadata)

        async for response in connection.stream(begin, endless=False):
            for event in response.events:
                request.after_seq = event.seq
                yield event

    async def signal(self, name: str, payload: object = None, *, request_id: str | None = None) -> int:
        """Send a signal into the run and return the sequence number of its event. It is durable then.

        Args:
            name: Name of the signal.
            payload: What it carries.
            request_id: To send it once even if you call again; made for you without.

        Raises:
            RunClosedError: The run is closed.
            SchemaViolationError: The workflow declares no such signal, or the payload does not fit its schema.
        """
        client = self._client
        request = SignalRunRequest(
            namespace=client.connection.namespace,
            run_id=self.run_id,
            signal=Signal(name=name, payload=client.converter.encode_optional(payload)),
            request_id=new_request_id() if request_id is None else request_id,
        )
        return (await client.signals.submit(request)).seq

    async def query(self, name: str, type: Any = Any) -> Any:
        """Return the answer of a query of the definition; works for closed runs and without workers.

        Raises:
            QueryNotFoundError: The definition has no such query.
            QueryFailedError: It cannot be evaluated over this run at present.
        """
        return await self._query(QueryRunRequest(name=name), type)

    async def query_expression(self, expression: str, type: Any = Any) -> Any:
        """Return the value of a CEL expression over the run, for example `steps.plan.output`.

        Raises:
            QueryFailedError: It does not compile, or cannot be evaluated over this run at present.
        """
        return await self._query(QueryRunRequest(expression=expression), type)

    async def _query(self, request: QueryRunRequest, type_: Any) -> Any:
        connection = self._client.connection
        request.namespace, request.run_id = connection.namespace, self.run_id
        response = await connection.call(connection.runs.QueryRun, request)
        return self._client.converter.decode(response.result if response.HasField("result") else None, type_)

    async def retry_step(self, step_path: str, note: str = "", *, request_id: str | None = None) -> Activation:
        """Begin the next attempt of a step now, and return the step as it is then.

        For a step that waits for its next attempt, runs, or is reviewed. A running attempt is given up: its worker is
        told to stop, and what it still says is not taken.

        Args:
            step_path: The step.
            note: Why; kept in the history.
            request_id: To do it once even if you call again; made for you without.

        Raises:
            RunClosedError: The run is closed.
            StepNotFoundError: It has no such step.
            IllegalStateError: The step is finished, or has no attempt to begin again.
        """
        return await self._act(StepActionRequest(retry=RetryStep()), step_path, note, request_id)

    async def skip_step(
        self, step_path: str, output: object = None, note: str = "", *, request_id: str | None = None
    ) -> Activation:
        """Let a step that is not finished succeed with an output, and return it as it is then.

        Args:
            step_path: The step.
            output: Its output; of a gate step, the `payload` of its output, whose `resolution` is `SKIPPED`.
            note: Why; kept in the history.
            request_id: To do it once even if you call again; made for you without.

        Raises:
            RunClosedError: The run is closed.
            StepNotFoundError: It has no such step.
            IllegalStateError: The step is finished.
            SchemaViolationError: The output does not fit the step's output schema.
        """
        skip = SkipStep(output=self._client.converter.encode_optional(output))
        return await self._act(StepActionRequest(skip=skip), step_path, note, request_id)

    async def fail_step(
        self, step_path: str, message: str = "", type: str = "", note: str = "", *, request_id: str | None = None
    ) -> Activation:
        """Let a step that is not finished fail for good, and return it as it is then.

        Neither its retry policy nor its `on_error` is looked at; its edges are.

        Args:
            step_path: The step.
            message: One sentence for people.
            type: Type of the failure, none of the server's own; `FailedByOperator` without.
            note: Why; kept in the history.
            request_id: To do it once even if you call again; made for you without.

        Raises:
            RunClosedError: The run is closed.
            StepNotFoundError: It has no such step.
            IllegalStateError: The step is finished.
            InvalidRequestError: The type is one of the server's own.
        """
        request = StepActionRequest(fail=FailStep(type=type, message=message))
        return await self._act(request, step_path, note, request_id)

    async def _act(self, action: StepActionRequest, step_path: str, note: str, request_id: str | None) -> Activation:
        connection = self._client.connection
        action.MergeFrom(StepActionRequest(step_path=step_path, note=note, **self._marks(request_id)))
        return (await connection.call(connection.runs.StepAction, action)).activation

    async def pause(self, note: str = "", *, request_id: str | None = None) -> RunSummary:
        """Let nothing new start. Raises `RunClosedError` if the run is closed."""
        connection = self._client.connection
        request = PauseRunRequest(note=note, **self._marks(request_id))
        return (await connection.call(connection.runs.PauseRun, request)).run

    async def resume(self, note: str = "", *, request_id: str | None = None) -> RunSummary:
        """End a pause. Raises `RunClosedError` if the run is closed."""
        connection = self._client.connection
        request = ResumeRunRequest(note=note, **self._marks(request_id))
        return (await connection.call(connection.runs.ResumeRun, request)).run

    async def cancel(self, reason: str = "", *, request_id: str | None = None) -> RunSummary:
        """Ask the run to stop; cleanup steps still run. Raises `RunClosedError` if the run is closed."""
        connection = self._client.connection
        request = CancelRunRequest(reason=reason, **self._marks(request_id))
        return (await connection.call(connection.runs.CancelRun, request)).run

    async def terminate(self, reason: str = "", *, request_id: str | None = None) -> RunSummary:
        """End the run at once, without cleanup. Raises `RunClosedError` if the run is closed."""
        connection = self._client.connection
        request = TerminateRunRequest(reason=reason, **self._marks(request_id))
        return (await connection.call(connection.runs.TerminateRun, request)).run

    async def retry(self, note: str = "", *, request_id: str | None = None) -> RunSummary:
        """Let a run that failed, timed out or was cancelled go on from what failed; what succeeded stays.

        Raises:
            ServerError: Its state does not allow it (reason `ILLEGAL_STATE`).
        """
        connection = self._client.connection
        request = RetryRunRequest(note=note, **self._marks(request_id))
        return (await connection.call(connection.runs.RetryRun, request)).run

    async def delete(self, *, request_id: str | None = None) -> datetime:
        """Delete the closed run with its history, and return when that was. Its id stays taken.

        Args:
            request_id: To get the first answer if you call again; made for you without.

        Raises:
            IllegalStateError: It is open.
            RunNotFoundError: There is no such run, or it was deleted before.
        """
        connection = self._client.connection
        request = DeleteRunRequest(**self._marks(request_id))
        response = await connection.call(connection.runs.DeleteRun, request)
        return response.delete_time.ToDatetime(tzinfo=UTC)

    def _marks(self, request_id: str | None) -> dict[str, Any]:
        return {
            "namespace": self._client.connection.namespace,
            "run_id": self.run_id,
            "request_id": new_request_id() if request_id is None else request_id,
        }
