"""What a handler knows about the task it works on, and how it speaks to the server meanwhile."""

import asyncio
import logging
from collections.abc import Callable, MutableMapping
from datetime import UTC, datetime, timedelta
from enum import Enum
from functools import cached_property
from typing import Any

from google.protobuf.duration_pb2 import Duration

from holdfast.converter import Converter
from holdfast.v1.payload_pb2 import Payload
from holdfast.v1.task_pb2 import Task

__all__ = ["CancelReason", "Held", "TaskContext"]


class CancelReason(Enum):
    """Why a handler shall stop."""

    CANCEL_REQUESTED = "cancel_requested"
    """The step is cancelled."""
    LOST = "lost"
    """The attempt is no longer this worker's; its result would be refused."""
    WORKER_STOPPING = "worker_stopping"
    """The worker goes down and its grace is over."""


class Held:
    """One task a worker has, as its event loop, its handler's thread and its heartbeats all see it.

    Every field is written by plain assignment, so no reader sees half of anything.
    """

    __slots__ = ("alive", "cancel_reason", "details", "heartbeat_timeout_s", "task", "token")

    def __init__(self, task: Task) -> None:
        self.task = task
        self.token = task.token
        self.heartbeat_timeout_s = _seconds(task.heartbeat_timeout) if task.HasField("heartbeat_timeout") else None
        self.alive = False
        self.details: Payload | None = None
        self.cancel_reason: CancelReason | None = None

    def __str__(self) -> str:
        task = self.task
        return f"run {task.run_id} step {task.step_path} attempt {task.attempt}"


class TaskContext:
    """The task a handler works on. Every method may be called from any thread."""

    def __init__(
        self,
        held: Held,
        converter: Converter,
        worker_id: str = "",
        on_beat: Callable[[Held], None] | None = None,
    ) -> None:
        self._task = held.task
        self._held = held
        self._converter = converter
        self._on_beat = on_beat
        self.worker_id = worker_id

    @property
    def namespace(self) -> str:
        """Namespace of the run."""
        return self._task.namespace

    @property
    def run_id(self) -> str:
        """The run."""
        return self._task.run_id

    @property
    def workflow(self) -> str:
        """Workflow of the run."""
        return self._task.workflow

    @property
    def version(self) -> int:
        """Version of the workflow."""
        return self._task.version

    @property
    def step_path(self) -> str:
        """Path of the step, for example `plan`."""
        return self._task.step_path

    @property
    def attempt(self) -> int:
        """Number of the attempt, from 1."""
        return self._task.attempt

    @property
    def handler(self) -> str:
        """Name the handler was called by."""
        return self._task.handler

    @property
    def queue(self) -> str:
        """Queue the task came from."""
        return self._task.queue

    @property
    def idempotency_key(self) -> str:
        """The same for all attempts of this step with the same input; hand it to what must not be done twice."""
        return self._task.idempotency_key

    @property
    def traceparent(self) -> str:
        """W3C trace context the handler's spans belong to; empty if there is none."""
        return self._task.traceparent

    @property
    def deadline(self) -> datetime | None:
        """When the attempt is over, in UTC; None for never."""
        return self._task.deadline_time.ToDatetime(UTC) if self._task.HasField("deadline_time") else None

    @property
    def heartbeat_timeout(self) -> timedelta | None:
        """Longest silence between calls of `heartbeat`; None if heartbeats are not demanded."""
        return self._task.heartbeat_timeout.ToTimedelta() if self._task.HasField("heartbeat_timeout") else None

    @cached_property
    def logger(self) -> "logging.LoggerAdapter[logging.Logger]":
        """A logger whose records say which run, step and attempt they belong to."""
        return _TaskLogger(logging.getLogger("holdfast.task"), self._ids())

    def heartbeat(self, details: object = None) -> None:
        """Say that the handler is alive, and how far it is.

        The worker keeps its lease by itself; this is for `timeouts.heartbeat`, for people who watch, and for the next
        attempt, which gets the last details. It only takes note; the worker sends it within a second.

        Args:
            details: How far it is, so that the next attempt can go on from there; None leaves the last ones.

        Raises:
            ConverterError: The details have no JSON form.
        """
        if details is not None:
            self._held.details = self._converter.encode(details)
        self._held.alive = True
        if self._on_beat is not None:
            self._on_beat(self._held)

    def last_heartbeat(self, type: Any = Any) -> Any:
        """Return the details of the last heartbeat of an earlier attempt; None if there are none.

        Args:
            type: What to read them as; plain JSON values without.

        Raises:
            ConverterError: They do not fit the type.
        """
        task = self._task
        return self._converter.decode(task.heartbeat_details, type) if task.HasField("heartbeat_details") else None

    @property
    def cancel_reason(self) -> CancelReason | None:
        """Why the handler shall stop; None as long as it shall not."""
        return self._held.cancel_reason

    def is_cancelled(self) -> bool:
        """Return whether the handler shall stop. An async handler is told by `asyncio.CancelledError` too."""
        return self._held.cancel_reason is not None

    def raise_if_cancelled(self) -> None:
        """End a handler in a thread that shall stop.

        Raises:
            asyncio.CancelledError: It shall stop.
        """
        if self._held.cancel_reason is not None:
            raise asyncio.CancelledError(self._held.cancel_reason.value)

    def _ids(self) -> dict[str, object]:
        return {
            "run_id": self.run_id,
            "workflow": self.workflow,
            "step_path": self.step_path,
            "attempt": self.attempt,
            "worker_id": self.worker_id,
        }


def _seconds(duration: Duration) -> float:
    return duration.ToTimedelta().total_seconds()


class _TaskLogger(logging.LoggerAdapter[logging.Logger]):
    """Puts the ids in front of the text for people, and into the record's fields for programs."""

    def process(self, msg: object, kwargs: MutableMapping[str, Any]) -> tuple[object, MutableMapping[str, Any]]:
        ids = dict(self.extra or {})
        kwargs["extra"] = {**ids, **(kwargs.get("extra") or {})}
        return f"[{ids['run_id']} {ids['step_path']} #{ids['attempt']}] {msg}", kwargs
