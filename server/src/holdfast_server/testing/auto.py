"""Time that passes by itself: while somebody waits for the end of a run, and nothing is left to do before that."""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from holdfast_server.engine.state import OPEN_RUN
from holdfast_server.engine.views import waiting_on
from holdfast_server.runtime.reading import Reading
from holdfast_server.runtime.runtime import Runtime
from holdfast_server.testing.clock import SkippingClock
from holdfast_server.testing.rest import Rest

__all__ = ["AutoSkip"]

log = logging.getLogger("holdfast.testing")


class AutoSkip:
    """Moves a clock to the next thing that is due, whenever it may.

    Args:
        rest: tells when nothing but that is left.
        clock: the clock.
        on: whether it may at all.
        still_s: when somebody has waited for so long, in seconds of this machine's clock, it says what time waits for.
    """

    def __init__(self, rest: Rest, clock: SkippingClock, *, on: bool, still_s: float) -> None:
        self._rest = rest
        self._clock = clock
        self._still_s = still_s
        self._holds = 0 if on else 1
        self._awaited: Counter[tuple[str, str]] = Counter()
        self._told = ""

    @contextmanager
    def held(self) -> Iterator[None]:
        """Moves nothing while the block runs."""
        self._holds += 1
        try:
            yield
        finally:
            self._holds -= 1
            self._rest.changed()

    @contextmanager
    def awaited(self, namespace: str, run_id: str) -> Iterator[None]:
        """While the block runs, somebody waits for the end of a run."""
        name = (namespace, run_id)
        self._awaited[name] += 1
        self._rest.changed()
        try:
            yield
        finally:
            self._awaited[name] -= 1
            if not self._awaited[name]:
                del self._awaited[name]
            self._rest.changed()

    async def run(self, runtime: Runtime) -> None:
        """Does it until cancelled."""
        try:
            while True:
                await self._wait(runtime, self._may_move)
                changes = self._rest.changes
                waits = await self._somebody_waits(runtime)
                # Meanwhile something may have begun, or have begun and ended.
                if self._rest.changes == changes and not (waits and self._may_move() and self._move()):
                    await self._wait(runtime, lambda changes=changes: self._rest.changes != changes)  # type: ignore[misc]
        except Exception:
            log.exception("time does not pass by itself any more")
            raise

    def _may_move(self) -> bool:
        return bool(self._awaited) and not self._holds and self._rest.reached()

    def _move(self) -> bool:
        due_us = self._clock.next_us()
        if due_us is None:
            return False
        self._clock.move(due_us)
        self._told = ""
        return True

    async def _somebody_waits(self, runtime: Runtime) -> bool:
        """Whether a run that somebody waits for is open; the end of others is on its way to who waits for it."""
        for namespace, run_id in list(self._awaited):
            row = await runtime.store.run(namespace, run_id)
            if row is not None and row.state in OPEN_RUN:
                return True
        return False

    async def _wait(self, runtime: Runtime, condition: Callable[[], bool]) -> None:
        while not condition():
            try:
                async with asyncio.timeout(self._still_s):
                    await self._rest.change()
            except TimeoutError:
                if self._awaited and not self._holds:
                    await self._tell_why(runtime)
                await self._rest.change()

    async def _tell_why(self, runtime: Runtime) -> None:
        reasons = self._rest.reasons() or [
            "nothing will be due, and nothing happens before somebody acts",
            *await self._waits(runtime),
        ]
        text = "; ".join(reasons)
        if text != self._told:
            self._told = text
            log.warning("time stands still, and somebody waits for the end of a run: %s", text)

    async def _waits(self, runtime: Runtime) -> list[str]:
        reading = Reading(runtime)
        found = []
        for namespace, run_id in list(self._awaited):
            run, quarantined = await reading.state(namespace, run_id)
            waits = waiting_on(run, reading.serves(namespace), quarantined)
            found += [f"run {run_id} {one.step_path}: {one.message}" for one in waits]
        return found
