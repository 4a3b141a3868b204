"""Places at which a test lets the server die, as by `kill -9`. Nothing of this is in the way unless one is named.

A failpoint wraps the store, the SQLite library or the answers of the server; the code between them knows nothing of it.
"""

import os
import random
import signal
import sqlite3
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, cast

import grpc
import structlog
from grpc import aio

from holdfast_server.store.port import Commit, Store
from holdfast_server.store.sqlite.driver import Driver

__all__ = ["CHANGES", "PLACES", "Failpoint"]

log = structlog.get_logger("holdfast.failpoints")

PLACES = {
    "recovery": "before a read of the recovery",
    "before_commit": "a group is decided and not written",
    "during_commit": "a group is being written",
    "after_commit": "a group is on disk and nobody knows",
    "answer": "a change is on disk, its effects have happened, and its answer is not sent",
    "eviction": "around a group in which runs leave the memory or come back",
    "checkpoint": "the log is being copied into the database",
}
CHANGES = frozenset(
    {
        *("RegisterWorkflow", "StartRun", "StartRuns", "SignalRun", "SignalRuns", "DecideGate", "CompleteTasks"),
        *("PauseRun", "ResumeRun", "CancelRun", "TerminateRun", "RetryRun"),
    }
)
"""The methods at whose end the place `answer` is."""
_COMMIT_S = 0.002
_CHECKPOINT_S = 0.02
"""Within so long after it began, something is killed while it is under way."""


class Failpoint:
    """Kills this process when it comes to a place.

    Args:
        setting: `PLACE` or `PLACE:N`, for the Nth time it comes there.

    Raises:
        ValueError: there is no such place, or N is no number from 1.
    """

    def __init__(self, setting: str) -> None:
        self.place, colon, times = setting.partition(":")
        if self.place not in PLACES:
            message = f"there is no failpoint {self.place!r}; there are: {', '.join(PLACES)}"
            raise ValueError(message)
        if colon and not (times.isdecimal() and int(times)):
            message = f"failpoint {setting!r}: {times!r} is not a number from 1"
            raise ValueError(message)
        self._left = int(times) if colon else 1
        self._lock = threading.Lock()

    def passes(self, place: str, within_s: float = 0.0) -> None:
        """The process is at a place; it dies there if this is the one and the time has come.

        Args:
            place: where it is.
            within_s: die at some moment within so long, while this thread goes on.
        """
        if place != self.place:
            return
        with self._lock:  # connections have threads of their own
            self._left -= 1
            due = self._left == 0
        if not due:
            return
        if within_s:
            threading.Thread(target=_die_after, args=(random.uniform(0.0, within_s),), daemon=True).start()  # noqa: S311 - no secret
        else:
            _die()

    # -- where it is wired in ----------------------------------------------------------------------------------------

    def store(self, store: Store) -> Store:
        """The store with the places around its calls."""
        log.warning("this server will kill itself", failpoint=self.place)
        return cast("Store", _Store(store, self))

    def driver(self, driver: Driver) -> Driver:
        """The SQLite library with the places between its statements."""
        return replace(driver, module=_Module(driver.module, self))

    def interceptor(self) -> "aio.ServerInterceptor":
        """Has the places at the end of calls."""
        return _Answers(self)


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _die_after(delay_s: float) -> None:
    time.sleep(delay_s)
    _die()


class _Store:
    """A store whose calls pass places; those between the count of the start and the first commit are the recovery."""

    def __init__(self, inner: Store, failpoint: Failpoint) -> None:
        self._inner = inner
        self._failpoint = failpoint
        self._recovering = False

    def __getattr__(self, name: str) -> Any:
        if self._recovering:
            self._failpoint.passes("recovery")
        return getattr(self._inner, name)

    async def next_server_epoch(self) -> int:
        epoch = await self._inner.next_server_epoch()
        self._recovering = True
        return epoch

    async def commit(self, commit: Commit) -> None:
        self._recovering = False
        evicting = bool(commit.evictions or commit.revivals)
        self._failpoint.passes("before_commit")
        if evicting:
            self._failpoint.passes("eviction")
        self._failpoint.passes("during_commit", _COMMIT_S)
        await self._inner.commit(commit)
        if evicting:
            self._failpoint.passes("eviction")
        self._failpoint.passes("after_commit")


class _Module:
    """A DB-API module whose connections pass places before their statements."""

    def __init__(self, module: Any, failpoint: Failpoint) -> None:
        self._module = module
        self._failpoint = failpoint

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)

    def connect(self, *arguments: Any, **options: Any) -> sqlite3.Connection:
        connection: sqlite3.Connection = self._module.connect(*arguments, **options)
        connection.set_trace_callback(self._statement)
        return connection

    def _statement(self, sql: str) -> None:
        # NOOP only looks.
        if "wal_checkpoint(" in sql and "NOOP" not in sql:
            self._failpoint.passes("checkpoint", _CHECKPOINT_S)


class _Answers(aio.ServerInterceptor):
    """Passes the place between the end of a change and its answer."""

    def __init__(self, failpoint: Failpoint) -> None:
        self._failpoint = failpoint

    async def intercept_service(
        self,
        continuation: "Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]]",
        handler_call_details: grpc.HandlerCallDetails,
    ) -> "grpc.RpcMethodHandler[Any, Any] | None":
        """Wraps the methods that change something."""
        handler: Any = await continuation(handler_call_details)
        method: str = handler_call_details.method.rpartition("/")[2]
        if method not in CHANGES:
            return cast("grpc.RpcMethodHandler[Any, Any]", handler)
        inner = handler.unary_unary

        async def answered(request: Any, context: Any) -> Any:
            answer = await inner(request, context)
            self._failpoint.passes("answer")
            return answer

        return cast("grpc.RpcMethodHandler[Any, Any]", handler._replace(unary_unary=answered))
