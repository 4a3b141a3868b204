"""The runs in memory: found by key, id and business key."""

from collections import OrderedDict
from collections.abc import Callable, Iterator

from holdfast_server.engine.state import RunState
from holdfast_server.journal.group_commit import Entry
from holdfast_server.runtime.host import RunHost

__all__ = ["Residence"]


class Residence:
    """All runs in memory."""

    def __init__(self, on_committed: Callable[[RunHost, Entry], None]) -> None:
        self._on_committed = on_committed
        # Not a dict: taking the first entry of a dict over and over passes by all that were taken before.
        self._by_key: OrderedDict[int, RunHost] = OrderedDict()
        self._by_id: dict[tuple[str, str], RunHost] = {}
        self._by_business_key: dict[tuple[str, str, str], RunHost] = {}

    def __len__(self) -> int:
        return len(self._by_key)

    def __iter__(self) -> Iterator[RunHost]:
        return iter(list(self._by_key.values()))

    def next_in_turn(self) -> RunHost:
        """The run whose turn it is to be looked at; it is the last then. There must be one."""
        key, host = next(iter(self._by_key.items()))
        self._by_key.move_to_end(key)
        return host

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
        """The open run in memory that has a business key; one that was evicted may have it too."""
        return self._by_business_key.get((namespace, workflow, key))
