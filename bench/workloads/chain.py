"""What the workloads share: one run of the chain, and its steps as the server's own history dates them."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from holdfast import Client, RunHandle
from holdfast.v1.run_service_pb2 import PayloadView

T = TypeVar("T")
WORKFLOW = "bench-chain"
DEFINITION = Path(__file__).parents[1] / "chain.yaml"
STEPS = 5
PAYLOAD = "x" * 98  # as JSON, with its quotation marks, 100 bytes
READERS = 32
# A run that takes this long means that something is broken: better an error than a benchmark that never ends.
RESULT_TIMEOUT_S = 60.0


class WrongRunError(Exception):
    """A run did not do what a chain does: the measurement is void."""


async def run_chain(client: Client) -> RunHandle:
    """Start a run, wait for its result, and return its handle.

    Raises:
        RunNotSucceededError: It ended other than well.
        ResultTimeoutError: It did not end within a minute.
        WrongRunError: Its output is not its input.
    """
    handle = await client.start(WORKFLOW, PAYLOAD)
    output = await handle.result(timeout_s=RESULT_TIMEOUT_S)
    if output != PAYLOAD:
        raise WrongRunError(f"run {handle.run_id}: its output is not its input: {output!r}")
    return handle


async def step_times(handles: Sequence[RunHandle]) -> list[list[float]]:
    """Return for each of these closed runs when its steps succeeded by its history, in seconds since the epoch.

    Raises:
        WrongRunError: A run has other than five succeeded steps, or did not end well by its history.
    """
    times: list[list[float]] = [[] for _ in handles]
    waiting = iter(enumerate(handles))

    async def read() -> None:
        for position, handle in waiting:  # shared by all readers
            times[position] = await _step_times(handle)

    await asyncio.gather(*(read() for _ in range(READERS)))
    return times


async def _step_times(handle: RunHandle) -> list[float]:
    events = [event async for event in handle.history(payload_view=PayloadView.PAYLOAD_VIEW_REFS)]
    bodies = [event.WhichOneof("body") for event in events]
    if bodies.count("step_succeeded") != STEPS or bodies.count("run_succeeded") != 1:
        raise WrongRunError(f"run {handle.run_id} is no chain of {STEPS} succeeded steps; its events: {bodies}")
    return [
        event.time.seconds + event.time.nanos * 1e-9
        for event, body in zip(events, bodies, strict=True)
        if body == "step_succeeded"
    ]


def evenly(entries: Sequence[T], count: int) -> list[T]:
    """Return at most `count` of the entries, spread evenly over all."""
    if len(entries) <= count:
        return list(entries)
    return [entries[position * len(entries) // count] for position in range(count)]
