"""What the workloads share: the payload, a run that gives back what it got, and histories read back from the server."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from bench.percentiles import percentiles
from holdfast import Client, RunHandle
from holdfast.v1.history_pb2 import HistoryEvent
from holdfast.v1.run_service_pb2 import PayloadView

T = TypeVar("T")
PAYLOAD = "x" * 98  # as JSON, with its quotation marks, 100 bytes
READERS = 32
# A run that takes this long means that something is broken: better an error than a benchmark that never ends.
RESULT_TIMEOUT_S = 60.0


class WrongRunError(Exception):
    """A run did not do what it should: the measurement is void."""


async def run_echo(client: Client, workflow: str) -> RunHandle:
    """Start a run of a workflow that gives back its input, wait for its result, and return its handle.

    Raises:
        RunNotSucceededError: It ended other than well.
        ResultTimeoutError: It did not end within a minute.
        WrongRunError: Its output is not its input.
    """
    handle = await client.start(workflow, PAYLOAD)
    await expect(handle, PAYLOAD)
    return handle


async def expect(handle: RunHandle, expected: object) -> None:
    """Wait for the result of a run.

    Raises:
        RunNotSucceededError: It ended other than well.
        ResultTimeoutError: It did not end within a minute.
        WrongRunError: The result is another one.
    """
    output = await handle.result(timeout_s=RESULT_TIMEOUT_S)
    if output != expected:
        raise WrongRunError(f"run {handle.run_id}: its output is {output!r}, not {expected!r}")


@dataclass(frozen=True, slots=True)
class History:
    """What the server's own history says of a run that ended well; times in seconds since the epoch.

    Attributes:
        started: When it started.
        steps: When its steps succeeded, in order.
    """

    started: float
    steps: list[float]


async def histories(handles: Sequence[RunHandle], steps: int) -> list[History]:
    """Read the histories of runs that ended.

    Args:
        handles: The runs.
        steps: How many steps of each must have succeeded.

    Raises:
        WrongRunError: A run has another number of succeeded steps, or did not end well by its history.
    """
    return [_history(handle, events, steps) for handle, events in zip(handles, await _read(handles), strict=True)]


async def check_waiting(handles: Sequence[RunHandle], opened: str) -> None:
    """Read the histories of runs that wait since their start.

    Args:
        handles: The runs.
        opened: The event that must follow RunStarted, and nothing else.

    Raises:
        WrongRunError: A history says otherwise.
    """
    for handle, events in zip(handles, await _read(handles), strict=True):
        bodies = [event.WhichOneof("body") for event in events]
        if bodies != ["run_started", opened]:
            raise WrongRunError(f"run {handle.run_id} does not wait as it should; its events: {bodies}")


async def _read(handles: Sequence[RunHandle]) -> list[list[HistoryEvent]]:
    found: list[list[HistoryEvent]] = [[] for _ in handles]
    waiting = iter(enumerate(handles))

    async def read() -> None:
        for position, handle in waiting:  # shared by all readers
            found[position] = [event async for event in handle.history(payload_view=PayloadView.PAYLOAD_VIEW_REFS)]

    await asyncio.gather(*(read() for _ in range(READERS)))
    return found


def _history(handle: RunHandle, events: Sequence[HistoryEvent], steps: int) -> History:
    bodies = Counter(event.WhichOneof("body") for event in events)
    if bodies["step_succeeded"] != steps or bodies["run_succeeded"] != 1:
        raise WrongRunError(f"run {handle.run_id} is not one of {steps} succeeded steps; its events: {dict(bodies)}")
    return History(
        started=_seconds(events[0]),
        steps=[_seconds(event) for event in events if event.WhichOneof("body") == "step_succeeded"],
    )


def _seconds(event: HistoryEvent) -> float:
    return event.time.seconds + event.time.nanos * 1e-9


def evenly(entries: Sequence[T], count: int) -> list[T]:
    """Return at most `count` of the entries, spread evenly over all."""
    if len(entries) <= count:
        return list(entries)
    return [entries[position * len(entries) // count] for position in range(count)]


@dataclass(frozen=True, slots=True)
class Spread:
    """Percentiles of times, in milliseconds."""

    p50_ms: float
    p95_ms: float
    p99_ms: float


def spread(times_s: Sequence[float]) -> Spread:
    """Return the percentiles of times in seconds."""
    taken = percentiles(times_s)
    return Spread(taken[50] * 1e3, taken[95] * 1e3, taken[99] * 1e3)
