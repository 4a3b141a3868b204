"""What surrounds a step: retries, time limits, people, and what is done about failures."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

from holdfast.builder.expressions import template
from holdfast.errors import DefinitionError
from holdfast.handlers import Handler, as_handler, schema_of

__all__ = [
    "Action",
    "Approvers",
    "Duration",
    "ErrorRule",
    "Escalation",
    "Fail",
    "Fallback",
    "Join",
    "Retry",
    "Review",
    "Timeouts",
    "Value",
]

Duration = timedelta | str
"""A length of time: a timedelta, or text such as `500ms`, `60s`, `10m`, `24h`, `7d`."""

_UNITS = (("d", 86_400_000_000), ("h", 3_600_000_000), ("m", 60_000_000), ("s", 1_000_000), ("ms", 1_000))


@dataclass(frozen=True, slots=True)
class Retry:
    """Retry policy of a task; what is None keeps the default: 5 attempts, 1 s, doubling up to 60 s, jitter 0.2.

    Attributes:
        max_attempts: Attempts in all.
        initial_interval: Wait before the second attempt.
        backoff: Factor from wait to wait, at least 1.
        max_interval: Longest wait.
        jitter: Share of the wait that is random, 0 to 1.
        non_retryable: Failure types that end the attempts at once.
    """

    max_attempts: int | None = None
    initial_interval: Duration | None = None
    backoff: float | None = None
    max_interval: Duration | None = None
    jitter: float | None = None
    non_retryable: Sequence[str] = ()

    def document(self) -> dict[str, Any]:
        """Return it as the document has it."""
        return given(
            max_attempts=self.max_attempts,
            initial_interval=duration(self.initial_interval),
            backoff=self.backoff,
            max_interval=duration(self.max_interval),
            jitter=self.jitter,
            non_retryable=list(self.non_retryable) or None,
        )


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Time limits of a step; what is None keeps the default: 10 minutes for an attempt, else unlimited.

    Attributes:
        schedule_to_start: Longest time in the queue.
        start_to_close: Longest time of one attempt.
        schedule_to_close: Longest time with all attempts.
        heartbeat: Longest silence between heartbeats of the handler.
    """

    schedule_to_start: Duration | None = None
    start_to_close: Duration | None = None
    schedule_to_close: Duration | None = None
    heartbeat: Duration | None = None

    def document(self) -> dict[str, Any]:
        """Return it as the document has it."""
        return given(
            schedule_to_start=duration(self.schedule_to_start),
            start_to_close=duration(self.start_to_close),
            schedule_to_close=duration(self.schedule_to_close),
            heartbeat=duration(self.heartbeat),
        )


@dataclass(frozen=True, slots=True)
class Join:
    """When a step with several edges starts.

    Attributes:
        mode: INCLUSIVE (all resolved, at least one taken), ALL, FIRST, or QUORUM.
        count: For QUORUM: how many edges must be taken.
        cancel_others: For FIRST and QUORUM: cancel the unfinished steps that lead only here.
    """

    mode: Literal["INCLUSIVE", "ALL", "FIRST", "QUORUM"]
    count: int | None = None
    cancel_others: bool = False

    def document(self) -> dict[str, Any]:
        """Return it as the document has it."""
        return {"mode": self.mode, **given(count=self.count, cancel_others=self.cancel_others or None)}


@dataclass(frozen=True, slots=True)
class Approvers:
    """Who may decide; nothing given means anyone who may approve.

    Attributes:
        principals: Names of people.
        roles: Names of roles.
        exclude_starter: Refuse the one who started the run.
    """

    principals: Sequence[str] = ()
    roles: Sequence[str] = ()
    exclude_starter: bool = False

    def document(self) -> dict[str, Any]:
        """Return it as the document has it."""
        return given(
            principals=list(self.principals) or None,
            roles=list(self.roles) or None,
            exclude_starter=self.exclude_starter or None,
        )


@dataclass(frozen=True, slots=True)
class Action:
    """What people are asked to allow.

    Attributes:
        name: Name of the action, for example a tool.
        args: Its arguments, a template; with EDIT among the decisions people may change them.
        args_type: Type or JSON Schema that changed arguments must fit.
        risk: How dangerous it is; None for LOW.
    """

    name: str
    args: Any = None
    args_type: Any = None
    risk: Literal["LOW", "MEDIUM", "HIGH"] | None = None

    def document(self) -> dict[str, Any]:
        """Return it as the document has it."""
        return {
            "name": self.name,
            **given(args=template(self.args), args_schema=schema(self.args_type), risk=self.risk),
        }


@dataclass(frozen=True, slots=True)
class Escalation:
    """Who decides after a gate's deadline.

    Attributes:
        approvers: Who may decide then.
        deadline: The second deadline; None for the first one's length again.
    """

    approvers: Approvers
    deadline: Duration | None = None

    def document(self) -> dict[str, Any]:
        """Return it as the document has it."""
        return {"approvers": self.approvers.document(), **given(deadline=duration(self.deadline))}


@dataclass(frozen=True, slots=True)
class Fallback:
    """Another handler answers in place of the step's own.

    Attributes:
        match: Failure types: `*`, exact, or `Prefix.*`.
        handler: The handler, or its name.
        queue: Its queue; None for the handler's own, else the step's.
        retry: Its own retry policy; None for the defaults.
    """

    match: Sequence[str]
    handler: Handler[..., Any] | Callable[..., Any] | str
    queue: str | None = None
    retry: Retry | None = None

    def document(self) -> dict[str, Any]:
        """Return it as the document has it."""
        handler = None if isinstance(self.handler, str) else as_handler(self.handler)
        queue = self.queue or (handler.queue if handler is not None else None)
        retry = self.retry.document() if self.retry is not None else None
        name = self.handler if isinstance(self.handler, str) else as_handler(self.handler).name
        return {"match": _match(self.match), "fallback": {"handler": name, **given(queue=queue, retry=retry)}}


@dataclass(frozen=True, slots=True)
class Review:
    """A person decides: try again, edit the input, skip with an output, or fail.

    Attributes:
        match: Failure types: `*`, exact, or `Prefix.*`.
        title: Title template; None for one that names step and failure.
        body: Markdown template; None for the failure's message.
        approvers: Who may decide.
        deadline: Longest time it stays open; then the step fails.
    """

    match: Sequence[str]
    title: Any = None
    body: Any = None
    approvers: Approvers | None = None
    deadline: Duration | None = None

    def document(self) -> dict[str, Any]:
        """Return it as the document has it."""
        review = given(
            title=template(self.title),
            body=template(self.body),
            approvers=self.approvers.document() if self.approvers is not None else None,
            deadline=duration(self.deadline),
        )
        return {"match": _match(self.match), "review": review}


@dataclass(frozen=True, slots=True)
class Value:
    """The step succeeds with this output.

    Attributes:
        match: Failure types: `*`, exact, or `Prefix.*`.
        value: The output, a template.
    """

    match: Sequence[str]
    value: Any

    def document(self) -> dict[str, Any]:
        """Return it as the document has it."""
        return {"match": _match(self.match), "value": template(self.value)}


@dataclass(frozen=True, slots=True)
class Fail:
    """The step fails; for what a later rule would catch otherwise.

    Attributes:
        match: Failure types: `*`, exact, or `Prefix.*`.
    """

    match: Sequence[str]

    def document(self) -> dict[str, Any]:
        """Return it as the document has it."""
        return {"match": _match(self.match), "fail": {}}


ErrorRule = Fallback | Review | Value | Fail


def duration(value: Duration | None) -> str | None:
    """Return a length of time as documents write it, in the largest unit that is exact."""
    if value is None or isinstance(value, str):
        return value
    micros = value // timedelta(microseconds=1)
    if micros < 0:
        raise DefinitionError(f"a duration of {value} is negative")
    for unit, length in _UNITS:
        if micros % length == 0 and micros:
            return f"{micros // length}{unit}"
    return f"{micros / 1_000_000:.6f}s"


def schema(type_: Any) -> Any:
    """Return the JSON Schema of a type; a schema as it is; None where everything fits."""
    if type_ is None or isinstance(type_, (dict, bool)):
        return type_
    return schema_of(type_, "validation")


def given(**members: Any) -> dict[str, Any]:
    """Return the members that are not None."""
    return {name: value for name, value in members.items() if value is not None}


def _match(types: Sequence[str]) -> list[str]:
    if isinstance(types, str):
        raise DefinitionError(f"match takes a list of failure types; write [{types!r}]")
    return list(types)
