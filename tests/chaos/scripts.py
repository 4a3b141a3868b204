"""What clients do with runs: one script for each way of treating a run, and how often it is chosen."""

import asyncio
from collections.abc import Awaitable, Callable

from holdfast.v1.run_pb2 import RunState
from tests.chaos.handlers import swollen
from tests.chaos.stage import Stage

__all__ = ["BULK", "CHOICES", "LONG", "SCRIPTS", "USUAL"]

KIB = 1024
BULK_BYTES = 1024 * KIB
PAUSE_MAX_S = 0.3


async def chain(stage: Stage) -> None:
    await stage.start("chain", stage.number)
    await stage.succeeds(stage.number)


async def watched(stage: Stage) -> None:
    await stage.start("chain", stage.number)
    await stage.until(lambda event: event.HasField("run_succeeded"))
    await stage.succeeds(stage.number)


async def diamond(stage: Stage) -> None:
    await stage.start("diamond", stage.number)
    await stage.succeeds([stage.number + 1, stage.number + 2])


async def race(stage: Stage) -> None:
    await stage.start("race", None)
    await stage.succeeds("quick", "slow")


async def flaky(stage: Stage) -> None:
    await stage.start("flaky", stage.number)
    await stage.succeeds(stage.number)


async def hang(stage: Stage) -> None:
    await stage.start("hang", stage.number)
    await stage.succeeds(stage.number)


async def gate(stage: Stage) -> None:
    await stage.start("gate", stage.number)
    if stage.chance.random() < 0.5:
        await stage.decide("approve", "APPROVE")
        await stage.succeeds({"said": "APPROVED", "published": stage.number})
    else:
        await stage.decide("approve", "REJECT")
        await stage.succeeds({"said": "REJECTED", "published": None})


async def signals(stage: Stage) -> None:
    along, late_first = stage.chance.random() < 0.5, stage.chance.random() < 0.5
    await stage.start("signals", None, signals=[("early", stage.number)] if along else ())
    if late_first:
        await stage.signal("late", "late")
    if not along:
        await stage.signal("early", stage.number)
    if not late_first:
        await stage.until(lambda event: event.HasField("wait_opened") and event.wait_opened.path == "late")
        await stage.signal("late", "late")
    await stage.succeeds([stage.number, "late"])


async def sleep(stage: Stage) -> None:
    await stage.start("sleep", stage.number)
    await stage.succeeds(stage.number)


async def large(stage: Stage) -> None:
    await _grow(stage, stage.chance.randrange(10 * KIB, 60 * KIB))


async def bulk(stage: Stage) -> None:
    await _grow(stage, BULK_BYTES)


async def _grow(stage: Stage, length: int) -> None:
    # Twice the number, so that no text is that of another run.
    number = stage.number * 4
    await stage.start("large", {"number": number, "text": swollen(number, length)})
    await stage.succeeds({"number": number + 2, "text": swollen(number + 2, length)})


async def pause(stage: Stage) -> None:
    await stage.start("pause", stage.number)
    await stage.pause()
    await asyncio.sleep(stage.chance.uniform(0, PAUSE_MAX_S))
    await stage.resume()
    await stage.succeeds(stage.number)


async def cancel(stage: Stage) -> None:
    await stage.start("cancel", stage.number)
    if stage.chance.random() < 0.7:
        await stage.until(lambda event: event.HasField("step_started") and event.step_started.path == "endless")
    await stage.cancel()
    await stage.ends(RunState.RUN_STATE_CANCELED)


async def terminate(stage: Stage) -> None:
    await stage.start("cancel", stage.number)
    await stage.until(lambda event: event.HasField("step_queued") and event.step_queued.path == "endless")
    await stage.terminate()
    await stage.ends(RunState.RUN_STATE_TERMINATED)


async def retried(stage: Stage) -> None:
    await stage.start("retried", stage.number)
    outcome = await stage.ended()
    # The first attempt may have been lost with its worker; then there is nothing to retry.
    if outcome.state == RunState.RUN_STATE_FAILED:
        await stage.retry()
    await stage.succeeds(stage.number)


async def nap(stage: Stage) -> None:
    await stage.start("nap", stage.number)
    await stage.succeeds(stage.number)


async def deadline(stage: Stage) -> None:
    await stage.start("deadline", stage.number)
    await stage.succeeds("REJECTED")


async def backoff(stage: Stage) -> None:
    await stage.start("backoff", stage.number)
    await stage.succeeds(stage.number)


async def overtime(stage: Stage) -> None:
    await stage.start("overtime", None)
    await stage.ends(RunState.RUN_STATE_TIMED_OUT)


async def patience(stage: Stage) -> None:
    await stage.start("patience", None)
    await stage.succeeds("Timeout.Wait")


_USUAL = (chain, watched, diamond, race, flaky, hang, gate, signals, sleep, large, pause, cancel, terminate, retried)
_LONG = (nap, deadline, backoff, overtime, patience)
SCRIPTS: dict[str, Callable[[Stage], Awaitable[None]]] = {script.__name__: script for script in (*_USUAL, *_LONG, bulk)}
BULK = bulk.__name__
"""For when much has to be written."""
USUAL, LONG = "usual", "long"
CHOICES: dict[str, dict[str, int]] = {
    USUAL: {script.__name__: 2 if script in {chain, diamond, gate} else 1 for script in _USUAL},
    # With runs that wait for hours.
    LONG: {script.__name__: 3 if script in _LONG else 1 for script in (*_USUAL, *_LONG)},
}
"""By name: scripts and how often each is chosen."""
