"""Follows runs: waits for an event, lists what happened."""

from contextlib import aclosing

from holdfast.client import RunHandle
from holdfast.v1.history_pb2 import HistoryEvent

__all__ = ["bodies", "until"]


async def until(handle: RunHandle, body: str) -> HistoryEvent:
    """The first event of that kind, once it is there."""
    async with aclosing(handle.watch()) as events:  # type: ignore[type-var]
        async for event in events:
            if event.HasField(body):  # type: ignore[arg-type]
                return event
    raise AssertionError(f"the run ended without {body}")


async def bodies(handle: RunHandle) -> list[str]:
    """The kinds of all events so far."""
    return [str(event.WhichOneof("body")) async for event in handle.history()]
