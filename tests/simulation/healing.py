"""The end of a simulation: nothing goes wrong any more, everybody answers, and so everything has to come to its end."""

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from holdfast.v1 import gate_service_pb2 as gates, run_service_pb2 as runs
from holdfast.v1.definition_pb2 import Decision
from holdfast.v1.signal_pb2 import Signal
from holdfast_server.engine import state as st
from holdfast_server.engine.state import StepRecord
from holdfast_server.engine.views import waiting_on
from holdfast_server.runtime.wakes import WAKE
from tests.simulation.client import GATES, RUNS, Client, payload
from tests.simulation.network import CallFailed
from tests.unit.engine.book import Book

if TYPE_CHECKING:  # they refer to each other
    from tests.simulation.world import World

__all__ = ["Healing"]

SILENCE_S = 250.0
"""Longer than any timer, lease or backoff of a simulation: whatever has not moved by then is stuck."""
ROUNDS = 600
ROUND_S = 2.0
LATEST_S = 9.0
"""By then the last request has arrived that was on its way."""
CALLS_S = 120.0
PATIENCE_S = 130.0
"""Longer than all deadlines of gates and waits."""


class Healing:
    """Brings a world to its end.

    Args:
        world: all of it.
        living: what its clients are doing; that, too, must end.
    """

    def __init__(self, world: "World", living: "Sequence[asyncio.Task[None]]") -> None:
        self._world = world
        self._living = living
        self._client = Client(
            world.loop,
            world.network,
            world.chance,
            "boss",
            world.directory,
            world.clock_us,
            world.witness.fail,
        )

    async def heal(self) -> None:
        """Does it, and looks at what is left."""
        world = self._world
        world.calm_down()
        world.start_worker("healer", {"default": ("work", "other"), "side": ("work", "other")}, 4)
        await world.machine.listening()
        if world.witness.excused:
            # Runs that were put aside stay so until they are looked at again, which a restart does.
            await world.machine.stop()
            await world.machine.listening()
            world.witness.excused.clear()
        await self._clients_end()
        await asyncio.sleep(LATEST_S)
        if world.chance.random() < 0.3:
            await asyncio.sleep(PATIENCE_S)  # everybody takes their time, so that deadlines are met
        await self._runs_end()
        await self._look_at_what_is_left()

    async def _clients_end(self) -> None:
        _done, pending = await asyncio.wait(self._living, timeout=CALLS_S)
        if pending:
            self._world.witness.fail(f"{len(pending)} clients have no answer after {CALLS_S} s of calm")

    async def _runs_end(self) -> None:
        world = self._world
        progress, moved_s = -1, world.loop.time()
        for _ in range(ROUNDS):
            books = world.witness.open_books()
            if not books:
                return
            if world.witness.progress != progress:
                progress, moved_s = world.witness.progress, world.loop.time()
            elif world.loop.time() - moved_s > SILENCE_S:
                break
            for book in list(books.values()):
                await self._client.process.spawn(self._answer(book))
            await asyncio.sleep(ROUND_S)
        stuck = [self._story(book) for book in world.witness.open_books().values()]
        world.witness.fail(f"runs do not end: {'; '.join(stuck)}")

    def _story(self, book: Book) -> str:
        waits = [one.message for one in waiting_on(book.run, lambda _queue, _handler: True)]
        return f"{book.run.run_id} at event {book.run.seq}: {', '.join(waits)}"

    # -- people who answer everything --------------------------------------------------------------------------------

    async def _answer(self, book: Book) -> None:
        """Does whatever a run waits for from outside."""
        run, chance = book.run, self._world.chance
        if run.paused:
            await self._say(RUNS + "ResumeRun", runs.ResumeRunRequest(run_id=run.run_id), runs.ResumeRunResponse)
            return
        for path in list(run.open_gates):
            found = run.locate(path)
            record = found[0].steps[found[1].index] if found is not None else None
            if record is not None and record.gate is not None:
                await self._decide(run.run_id, path, record)
        if run.waits:
            for name in ("go", "stop"):
                signal = Signal(name=name, payload=payload(chance.choice((5, {"ok": True}))))
                request = runs.SignalRunRequest(run_id=run.run_id, signal=signal)
                await self._say(RUNS + "SignalRun", request, runs.SignalRunResponse)

    async def _decide(self, run_id: str, path: str, record: StepRecord) -> None:
        gate = record.gate
        assert gate is not None
        said = {one.actor.name for one in gate.decisions if one.revision == record.revision}
        actor = next((name for name in ("bob", "cid", "boss") if name not in said), "boss")
        review = record.state == st.IN_REVIEW
        request = gates.DecideGateRequest(
            run_id=run_id,
            step_path=path,
            revision=record.revision,
            content_hash=gate.content_hash,
            decision=Decision.DECISION_FAIL if review else Decision.DECISION_APPROVE,
        )
        await self._say(GATES + "DecideGate", request, gates.DecideGateResponse, actor)

    async def _say(self, method: str, request: Any, answer: Any, actor: str = "") -> None:
        try:
            await self._client.insist(method, request, answer, actor)
        except CallFailed as fault:
            self._world.note("boss", f"is refused: {fault}")

    # -- what is left ------------------------------------------------------------------------------------------------

    async def _look_at_what_is_left(self) -> None:
        """A server whose runs are all closed has nothing in memory that was theirs."""
        world = self._world
        await asyncio.sleep(2.0)
        server = await world.machine.listening()
        runtime = server.runtime
        check = world.witness.check
        world.witness.compare()
        check(
            not len(runtime.residence), f"closed runs are in memory: {[one.state.run_id for one in runtime.residence]}"
        )
        timers = [handle.payload for _due_us, _number, handle in runtime.timers._heap._heap]
        timers = [payload for payload in timers if payload is not None and payload[2] != WAKE]
        check(not timers, f"timers of closed runs are set: {timers}")
        open_attempts = runtime.matching._handing._open._runs
        check(not open_attempts, f"attempts of closed runs are open: {open_attempts}")
        check(not runtime.payloads._pinned, "payloads of closed runs are kept")
        check(not runtime.journal.waiting, "something waits for the disk")
        check(runtime.health.writable, f"the server takes no changes: {runtime.health.message}")
        if world.viewer is not None:
            shown = world.viewer.differences(world.witness.books)
            check(not shown, f"what is watched is not how it is: {shown}")
        for worker in runtime.matching._workers:
            check(not worker.holds, f"worker {worker.info.id} has tasks of closed runs")
