"""The errors users catch: what a server refuses, and how a run can end other than well."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from holdfast.v1.failure_pb2 import Failure

__all__ = [
    "ClientClosedError",
    "ConverterError",
    "DecidedAlreadyError",
    "DecisionRefusedError",
    "DefinitionError",
    "GateChangedError",
    "GateNotFoundError",
    "GateResolvedError",
    "HandlerError",
    "HoldfastError",
    "IllegalStateError",
    "InvalidDefinitionError",
    "InvalidRequestError",
    "KeyInUseError",
    "LimitExceededError",
    "ModuleError",
    "NamespaceNotFoundError",
    "NotPermittedError",
    "QueryFailedError",
    "QueryNotFoundError",
    "RequestIdReusedError",
    "ResultTimeoutError",
    "RunCanceledError",
    "RunClosedError",
    "RunExistsError",
    "RunFailedError",
    "RunNotFoundError",
    "RunNotSucceededError",
    "RunTerminatedError",
    "RunTimedOutError",
    "SchemaViolationError",
    "ServerError",
    "StepNotFoundError",
    "UnavailableError",
    "Violation",
    "WorkerError",
    "WorkflowNotFoundError",
]


class HoldfastError(Exception):
    """Root of everything this package raises on purpose."""


class ConverterError(HoldfastError):
    """A value could not be turned into a payload, or a payload not into the asked-for type."""


class DefinitionError(HoldfastError):
    """A definition built in code is not one: a name is taken, a reference leads nowhere, a type does not fit."""


class HandlerError(HoldfastError):
    """A function cannot be a handler: its signature, its types or its name do not fit."""


class ClientClosedError(HoldfastError):
    """The client was closed while, or before, the call was made."""


class WorkerError(HoldfastError):
    """The worker cannot work as it is set up; retrying would not help."""


class ModuleError(WorkerError):
    """A module of handlers raised while it was imported; the cause is what it raised."""


class ResultTimeoutError(HoldfastError, TimeoutError):
    """A run was still open when the time to wait for it was over. The run goes on.

    Attributes:
        run_id: The run.
        timeout_s: How long was waited, in seconds.
    """

    def __init__(self, run_id: str, timeout_s: float) -> None:
        super().__init__(f"run {run_id} is still open after {timeout_s:g} s; it goes on, wait again")
        self.run_id = run_id
        self.timeout_s = timeout_s


@dataclass(frozen=True, slots=True)
class Violation:
    """One fault of one field.

    Attributes:
        field: Path of the field in the request or document.
        description: What is wrong and what would be right.
    """

    field: str
    description: str


class ServerError(HoldfastError):
    """The server refused a request.

    Attributes:
        reason: Published reason, for example `RUN_NOT_FOUND`; empty if the transport failed before a server answered.
        code: Name of the gRPC status code, for example `NOT_FOUND`.
        message: One sentence for people.
        metadata: Facts for programs, for example `limit`, `value` and `actual`.
        violations: Faults by field.
        retry_delay_s: How long the server asks to wait before another try, in seconds; None if it does not say.
    """

    reasons: ClassVar[tuple[str, ...]] = ()

    def __init__(
        self,
        message: str,
        *,
        reason: str = "",
        code: str = "UNKNOWN",
        metadata: Mapping[str, str] | None = None,
        violations: tuple[Violation, ...] = (),
        retry_delay_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason
        self.code = code
        self.metadata = dict(metadata or {})
        self.violations = violations
        self.retry_delay_s = retry_delay_s

    def __str__(self) -> str:
        lines = [f"{self.reason or self.code}: {self.message}"]
        lines += [f"  {v.field}: {v.description}" for v in self.violations]
        return "\n".join(lines)


class UnavailableError(ServerError):
    """No server could be reached, or it cannot do it at present, for as long as the client kept trying."""

    reasons = ("STORE_UNAVAILABLE", "DRAINING")


class WorkflowNotFoundError(ServerError):
    """No workflow or version of that name."""

    reasons = ("WORKFLOW_NOT_FOUND",)


class InvalidDefinitionError(ServerError):
    """The definition has faults; `violations` lists each with its path in the document."""

    reasons = ("INVALID_DEFINITION",)


class InvalidRequestError(ServerError):
    """A field of the request is missing, malformed or out of range; `violations` names it."""

    reasons = ("INVALID_REQUEST", "PAGE_TOKEN_INVALID")


class RunNotFoundError(ServerError):
    """No run of that id."""

    reasons = ("RUN_NOT_FOUND",)


class StepNotFoundError(ServerError):
    """The run has no step of that path."""

    reasons = ("STEP_NOT_FOUND",)


class RunExistsError(ServerError):
    """The run id is taken."""

    reasons = ("RUN_EXISTS",)


class RunClosedError(ServerError):
    """The run is closed, so it takes no signal, decision or change."""

    reasons = ("RUN_CLOSED",)


class KeyInUseError(ServerError):
    """The key belongs to an open run of the workflow."""

    reasons = ("KEY_IN_USE",)

    @property
    def run_id(self) -> str:
        """The open run that has the key; empty if the server does not say."""
        return self.metadata.get("run_id", "")


class RequestIdReusedError(ServerError):
    """The request id was used before, for another request."""

    reasons = ("REQUEST_ID_REUSED",)


class SchemaViolationError(ServerError):
    """An input, output, signal or decision does not fit its schema; `violations` lists every fault."""

    reasons = ("INPUT_SCHEMA", "SIGNAL_SCHEMA", "SIGNAL_UNDECLARED", "DECISION_SCHEMA", "OUTPUT_SCHEMA")


class QueryNotFoundError(ServerError):
    """The workflow has no query of that name."""

    reasons = ("QUERY_NOT_FOUND",)


class QueryFailedError(ServerError):
    """The query could not be evaluated over this run."""

    reasons = ("QUERY_FAILED",)


class GateNotFoundError(ServerError):
    """The run has no gate at that step."""

    reasons = ("GATE_NOT_FOUND",)


class GateResolvedError(ServerError):
    """The gate was resolved before; the attributes tell by whom."""

    reasons = ("GATE_RESOLVED",)

    @property
    def decided_by(self) -> str:
        """Who resolved it; empty if its deadline did."""
        return self.metadata.get("decided_by", "")

    @property
    def decided_at(self) -> str:
        """When it was resolved, RFC 3339."""
        return self.metadata.get("decided_at", "")

    @property
    def resolution(self) -> str:
        """The outcome, for example `APPROVED`."""
        return self.metadata.get("resolution", "")


class GateChangedError(ServerError):
    """What the gate shows changed after it was read; read it again before deciding."""

    reasons = ("GATE_REVISION", "GATE_HASH")


class DecisionRefusedError(ServerError):
    """The gate does not take that decision, or not from this person."""

    reasons = ("DECISION_NOT_ALLOWED", "NOT_AN_APPROVER")


class DecidedAlreadyError(ServerError):
    """This person decided on this revision of the gate before."""

    reasons = ("DECIDED_ALREADY",)


class LimitExceededError(ServerError):
    """A limit is exceeded; the attributes name it."""

    reasons = ("LIMIT_EXCEEDED", "PAYLOAD_TOO_LARGE")

    @property
    def limit(self) -> str:
        """Name of the limit; its unit is what the name ends with."""
        return self.metadata.get("limit", "")

    @property
    def value(self) -> int | None:
        """What is allowed; None if the server does not say."""
        return _integer(self.metadata.get("value"))

    @property
    def actual(self) -> int | None:
        """What was asked for; None if the server does not say."""
        return _integer(self.metadata.get("actual"))


class IllegalStateError(ServerError):
    """The state of the run, or of the step, does not allow the operation; the message tells which state that is."""

    reasons = ("ILLEGAL_STATE", "RUN_QUARANTINED")


class NamespaceNotFoundError(ServerError):
    """No namespace of that name."""

    reasons = ("NAMESPACE_NOT_FOUND",)


class NotPermittedError(ServerError):
    """There are no credentials, or the principal may not do that."""

    reasons = ("UNAUTHENTICATED", "NOT_PERMITTED")


class RunNotSucceededError(HoldfastError):
    """A run whose result was asked for ended other than well.

    Attributes:
        run_id: The run.
        failure: Why, with type, message, details and the step's path; None if there is no failure to tell.
        run_epoch: Epoch of the run that ended; RetryRun begins the next.
    """

    ending: ClassVar[str] = "did not succeed"

    def __init__(self, run_id: str, failure: Failure | None = None, *, run_epoch: int = 1) -> None:
        self.run_id = run_id
        self.failure = failure
        self.run_epoch = run_epoch
        text = f"run {run_id} {self.ending}"
        if failure is not None:
            text += f" at step {failure.step_path}" if failure.step_path else ""
            text += f": {failure.type}: {failure.message}"
        super().__init__(text)

    @property
    def failure_type(self) -> str:
        """Type of the failure, for example `Timeout.StartToClose`; empty if there is none."""
        return self.failure.type if self.failure is not None else ""


class RunFailedError(RunNotSucceededError):
    """The run failed."""

    ending = "failed"


class RunCanceledError(RunNotSucceededError):
    """The run was cancelled."""

    ending = "was cancelled"


class RunTerminatedError(RunNotSucceededError):
    """The run was terminated."""

    ending = "was terminated"


class RunTimedOutError(RunNotSucceededError):
    """The run took longer than allowed."""

    ending = "timed out"


def _integer(text: str | None) -> int | None:
    try:
        return int(text or "")
    except ValueError:
        return None
