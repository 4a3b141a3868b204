"""What the tests of the local server share: a time to begin with, and histories as lines."""

from datetime import UTC, datetime, timedelta

from holdfast.client import RunHandle
from holdfast.v1.history_pb2 import HistoryEvent
from holdfast_server.testing import LocalServer

__all__ = ["START", "lines", "passed", "times_of"]

START = datetime(2026, 1, 1, tzinfo=UTC)


def passed(server: LocalServer) -> timedelta:
    """How much time has passed on a server that was started at `START`."""
    return server.now() - START


async def lines(handle: RunHandle) -> list[str]:
    """The history of a run: when, what, which step."""
    return [_line(event) async for event in handle.history()]


async def times_of(handle: RunHandle, body: str) -> list[timedelta]:
    """When events of a kind happened, as what had passed since `START`."""
    return [_since(event) async for event in handle.history() if event.WhichOneof("body") == body]


def _line(event: HistoryEvent) -> str:
    name = event.WhichOneof("body") or ""
    path = getattr(getattr(event, name), "path", "")
    return f"{_since(event)} {name} {path}".rstrip()


def _since(event: HistoryEvent) -> timedelta:
    return event.time.ToDatetime(UTC) - START
