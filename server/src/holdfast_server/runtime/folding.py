"""States of runs from what is on disk: a snapshot where there is one, and the events after it."""

from collections.abc import Sequence

import structlog
from google.protobuf.message import DecodeError

from holdfast.v1.history_pb2 import HistoryBatch
from holdfast_server.engine.evolve import evolve, start_state
from holdfast_server.engine.refusal import Refused
from holdfast_server.engine.snapshot import SnapshotFormatError, read_snapshot
from holdfast_server.engine.state import RunState
from holdfast_server.runtime.catalog import Catalog
from holdfast_server.store.port import HistoryRow, Store, StoreCorruptError

__all__ = ["Folder"]

log = structlog.get_logger("holdfast.runtime")

PAGE_BYTES = 1024 * 1024
"""Read at once: what is folded in one go holds up everything else."""


class Folder:
    """Folds runs.

    Args:
        store: where the histories are.
        catalog: the workflows.
    """

    def __init__(self, store: Store, catalog: Catalog) -> None:
        self._store = store
        self._catalog = catalog

    async def run(self, key: int) -> RunState | None:
        """The state of a run; None if it has no history.

        Raises:
            StoreError: the disk does not answer.
            StoreCorruptError: the history does not fold.
        """
        found = (await self.runs([key])).get(key)
        if isinstance(found, StoreCorruptError):
            raise found
        return found

    async def runs(self, keys: Sequence[int]) -> dict[int, RunState | StoreCorruptError]:
        """The states of runs by key, and why there is none; those without a history are left out.

        Raises:
            StoreError: the disk does not answer.
        """
        found = await self._snapshots(keys)
        waiting = list(keys)
        complete = False
        while waiting and not complete:
            after = [(key, run.seq if isinstance(run := found.get(key), RunState) else 0) for key in waiting]
            rows, complete = await self._store.histories(after, PAGE_BYTES)
            for row in rows:
                await self._add(found, row)
            if rows:
                waiting = waiting[waiting.index(rows[-1].run_key) :]
                if isinstance(found[waiting[0]], StoreCorruptError):
                    waiting = waiting[1:]
        return found

    async def _snapshots(self, keys: Sequence[int]) -> dict[int, RunState | StoreCorruptError]:
        found: dict[int, RunState | StoreCorruptError] = {}
        for key, (_seq, data) in (await self._store.snapshots(keys)).items():
            try:
                snapshot = read_snapshot(data)
            except SnapshotFormatError as error:
                log.info("a snapshot is of another version; the history is folded", run_key=key, format=str(error))
                continue
            found[key] = snapshot.state(
                await self._catalog.plan(snapshot.namespace, snapshot.workflow, snapshot.version)
            )
        return found

    async def _add(self, found: dict[int, RunState | StoreCorruptError], row: HistoryRow) -> None:
        """Folds one row more."""
        run = found.get(row.run_key)
        if isinstance(run, StoreCorruptError):
            return
        try:
            for event in HistoryBatch.FromString(row.blob).events:
                if run is None:
                    started = event.run_started
                    plan = await self._catalog.plan(started.namespace, started.workflow, started.version)
                    run = found[row.run_key] = start_state(plan, event)
                elif event.seq > run.seq:
                    evolve(run, event)
        except (DecodeError, ValueError, KeyError, Refused) as error:
            name = run.run_id if run is not None else f"with key {row.run_key}"
            found[row.run_key] = StoreCorruptError(f"the history of run {name} does not fold: {error}")
