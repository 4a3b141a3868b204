"""The runs in memory: found by key, id and business key; folded from disk, let go when closed."""

from collections.abc import Callable, Iterator

from holdfast.v1.history_pb2 import HistoryBatch
from holdfast_server.engine.evolve import evolve, start_state
from holdfast_server.engine.state import RunState
from holdfast_server.journal.group_commit import Entry
from holdfast_server.runtime.catalog import Catalog
from holdfast_server.runtime.host import RunHost
from holdfast_server.store.port import Store, StoreCorruptError

__all__ = ["Residence", "fold_run"]


async def fold_run(store: Store, catalog: Catalog, key: int) -> RunState | None:
    """The state of a run from its history on disk; None if it has none.

    Raises:
        StoreError: the disk does not answer.
        StoreCorruptError: the history does not fold.
    """
    rows = await store.history(key)
    if not rows:
        return None
    run: RunState | None = None
    for row in rows:
        for event in HistoryBatch.FromString(row.blob).events:
            if run is None:
                started = event.run_started
                plan = await catalog.plan(started.namespace, started.workflow, started.version)
                run = start_state(plan, event)
            else:
                try:
                    evolve(run, event)
                except (ValueError, KeyError) as error:
                    message = f"the history of run {run.run_id} does not fold: {error}"
                    raise StoreCorruptError(message) from error
    return run


class Residence:
    """All runs in memory."""

    def __init__(self, on_committed: Callable[[RunHost, Entry], None]) -> None:
        self._on_committed = on_committed
        self._by_key: dict[int, RunHost] = {}
        self._by_id: dict[tuple[str, str], RunHost] = {}
        self._by_business_key: dict[tuple[str, str, str], RunHost] = {}

    def __len__(self) -> int:
        return len(self._by_key)

    def __iter__(self) -> Iterator[RunHost]:
        return iter(list(self._by_key.values()))

    def add(self, key: int, run: RunState, *, claims_key: bool = True) -> RunHost:
        """Takes in a run; a closed one has no claim on its business key."""
        host = RunHost(key, run, self._on_committed)
        self._by_key[key] = host
        self._by_id[run.namespace, run.run_id] = host
        if run.key and claims_key:
            self._by_business_key[run.namespace, run.plan.workflow, run.key] = host
        return host

    def remove(self, host: RunHost) -> None:
        """Lets a run go."""
        run = host.state
        self._by_key.pop(host.key, None)
        if self._by_id.get((run.namespace, run.run_id)) is host:
            del self._by_id[run.namespace, run.run_id]
        self.free_key(host)

    def free_key(self, host: RunHost) -> None:
        """The business key of a closed run may be used by another one."""
        name = (host.state.namespace, host.state.plan.workflow, host.state.key)
        if host.state.key and self._by_business_key.get(name) is host:
            del self._by_business_key[name]

    def claim_key(self, host: RunHost) -> None:
        """A reopened run has its business key again."""
        if host.state.key:
            self._by_business_key[host.state.namespace, host.state.plan.workflow, host.state.key] = host

    def by_key(self, key: int) -> RunHost | None:
        """The run with an integer key."""
        return self._by_key.get(key)

    def by_id(self, namespace: str, run_id: str) -> RunHost | None:
        """The run with an id."""
        return self._by_id.get((namespace, run_id))

    def by_business_key(self, namespace: str, workflow: str, key: str) -> RunHost | None:
        """The open run that has a business key."""
        return self._by_business_key.get((namespace, workflow, key))
