"""Somebody who watches all runs and all gates: what is shown in the end must be how it is."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from holdfast.v1 import gate_service_pb2 as gates, run_service_pb2 as runs
from holdfast.v1.gate_pb2 import GateState
from tests.simulation.client import GATES, RUNS
from tests.simulation.loop import Process, SimulatedLoop
from tests.simulation.network import CallFailed, Network
from tests.unit.engine.book import Book

__all__ = ["Viewer"]


class Viewer:
    """Watches, and goes on where it was when its stream is lost.

    Args:
        loop: where it lives.
        network: its way to the server.

    Attributes:
        runs: (state, number of the last event) of each run as it was shown last.
        open_gates: (run id, path) of the gates that were shown as open last.
    """

    def __init__(self, loop: SimulatedLoop, network: Network) -> None:
        self.runs: dict[str, tuple[int, int]] = {}
        self.open_gates: set[tuple[str, str]] = set()
        self._network = network
        self._cursors = {"runs": "", "gates": ""}
        process = Process(loop, "viewer")
        _ = process.spawn(self._for_ever(self._watch_runs))
        _ = process.spawn(self._for_ever(self._watch_gates))

    async def _for_ever(self, watch: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await watch()
            except CallFailed:
                await asyncio.sleep(0.3)

    async def _watch_runs(self) -> None:
        request = runs.WatchRunsRequest(cursor=self._cursors["runs"])
        stream = self._network.open(RUNS + "WatchRuns", request, runs.WatchRunsResponse, "viewer")
        while (message := await stream.next()) is not None:
            if message.reset:
                self.runs.clear()
            for run in message.runs:
                self.runs[run.run_id] = (run.state, run.last_seq)
            self._note("runs", message)

    async def _watch_gates(self) -> None:
        request = gates.WatchGatesRequest(cursor=self._cursors["gates"])
        stream = self._network.open(GATES + "WatchGates", request, gates.WatchGatesResponse, "viewer")
        while (message := await stream.next()) is not None:
            if message.reset:
                self.open_gates.clear()
            for gate in message.gates:
                place = (gate.run_id, gate.step_path)
                if gate.state == GateState.GATE_STATE_OPEN:
                    self.open_gates.add(place)
                else:
                    self.open_gates.discard(place)
            self._note("gates", message)

    def _note(self, what: str, message: Any) -> None:
        if message.cursor:
            self._cursors[what] = message.cursor

    def differences(self, books: Mapping[int, Book]) -> str:
        """What is shown as it is not, now that all runs are closed; empty if nothing is."""
        found = [f"gate {path} of {run_id} is shown as open" for run_id, path in sorted(self.open_gates)]
        for book in books.values():
            run = book.run
            state, seq = self.runs.get(run.run_id, (run.state, run.seq))
            if state != run.state or (seq and seq != run.seq):
                found.append(
                    f"{run.run_id} is shown in state {state} at event {seq}; it is in {run.state} at {run.seq}"
                )
        return "; ".join(found)
