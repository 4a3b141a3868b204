"""The open gates of all runs in one order, whether their runs are in memory or evicted."""

from collections.abc import Iterator

from holdfast.v1.gate_pb2 import Gate, GateState
from holdfast_server.engine import views
from holdfast_server.engine.state import GateRecord, RunState
from holdfast_server.runtime.eviction import NEVER_US
from holdfast_server.runtime.runtime import Runtime

__all__ = ["FIRST", "OpenGates", "Place"]

Place = tuple[int, int, str, str]
"""(deadline, open time, run id, path): the order of gates."""

FIRST: Place = (0, 0, "", "")
"""Before all of them."""


class OpenGates:
    """Reads gates page by page."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    async def page(self, namespace: str, workflow: str, after: Place, limit: int) -> list[tuple[Place, Gate]]:
        """At most `limit` open gates behind a place; an empty workflow means all.

        Raises:
            StoreError: the disk does not answer.
        """
        # Before and after the disk is read, because runs come and go meanwhile.
        found = dict(self._in_memory(namespace, workflow, after))
        evicted = await self._evicted(namespace, workflow, after, limit)
        found.update(self._in_memory(namespace, workflow, after))
        places = sorted({*found, *evicted})[:limit]
        folded = await self._runtime.folder.runs(list({evicted[place] for place in places if place not in found}))
        page: list[tuple[Place, Gate]] = []
        for place in places:
            run = found.get(place) or folded.get(evicted.get(place, 0))
            if isinstance(run, RunState) and (gate := _open_gate(run, place[3])) is not None:
                page.append((place, gate))
        return page

    def _in_memory(self, namespace: str, workflow: str, after: Place) -> Iterator[tuple[Place, RunState]]:
        for host in self._runtime.residence:
            run = host.state
            if run.namespace != namespace or not run.open or (workflow and run.plan.workflow != workflow):
                continue
            if host.stale or not host.accepted:
                continue
            for path in run.open_gates:
                place = _place(run, path)
                if place is not None and place > after:
                    yield place, run

    async def _evicted(self, namespace: str, workflow: str, after: Place, limit: int) -> dict[Place, int]:
        found: dict[Place, int] = {}
        while len(found) < limit:
            rows = await self._runtime.store.evicted_gates(namespace, after, workflow, limit)
            for row in rows:
                after = (row.deadline_us, row.open_us, row.run_id, row.path)
                if self._runtime.residence.by_key(row.run_key) is None:  # else it is shown as it is in memory
                    found[after] = row.run_key
            if len(rows) < limit:
                break
        return found


def _record(run: RunState, path: str) -> GateRecord | None:
    located = run.locate(path)
    record = located[0].steps[located[1].index] if located is not None else None
    return None if record is None else record.gate


def _place(run: RunState, path: str) -> Place | None:
    gate = _record(run, path)
    return None if gate is None else (gate.deadline_us or NEVER_US, gate.open_us, run.run_id, path)


def _open_gate(run: RunState, path: str) -> Gate | None:
    if path not in run.open_gates:
        return None  # decided since
    gate = views.gate_view(run, path)
    return gate if gate.state == GateState.GATE_STATE_OPEN else None
