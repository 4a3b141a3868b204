"""What the workloads share: one run of the chain, and the count of its steps in the server's own history."""

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
CHECKERS = 32
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


async def count_steps(handles: Sequence[RunHandle]) -> int:
    """Return how many steps the histories of these runs hold as succeeded.

    Raises:
        WrongRunError: A run has other than five, or did not end well by its history.
    """
    waiting = iter(handles)

    async def check() -> int:
        total = 0
        for handle in waiting:  # shared by all checkers
            bodies = [
                event.WhichOneof("body") async for event in handle.history(payload_view=PayloadView.PAYLOAD_VIEW_REFS)
            ]
            steps = bodies.count("step_succeeded")
            if steps != STEPS or bodies.count("run_succeeded") != 1:
                raise WrongRunError(f"run {handle.run_id}: {steps} steps succeeded; its events: {bodies}")
            total += steps
        return total

    return sum(await asyncio.gather(*(check() for _ in range(CHECKERS))))


def evenly(entries: Sequence[T], count: int) -> list[T]:
    """Return at most `count` of the entries, spread evenly over all."""
    if len(entries) <= count:
        return list(entries)
    return [entries[position * len(entries) // count] for position in range(count)]
