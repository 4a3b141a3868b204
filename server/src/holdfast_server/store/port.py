"""What the server needs of a database; adapters live beside this file and pass one conformance suite.

Rows are plain: the store knows runs, their histories as opaque rows, payloads, definitions and a few settings, and
nothing of what they mean.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

__all__ = [
    "Commit",
    "DeletedRun",
    "Deletion",
    "EvictedGate",
    "EvictedTask",
    "Eviction",
    "ExpiredRun",
    "GateRow",
    "HistoryRow",
    "NewRun",
    "PayloadRow",
    "RunQuery",
    "RunRow",
    "RunUpdate",
    "Store",
    "StoreConflictError",
    "StoreCorruptError",
    "StoreError",
    "StoreLockedError",
    "StoreTooNewError",
    "TaskBacklog",
    "VersionRow",
]


class StoreError(Exception):
    """The database could not do what was asked; whether a commit took effect is unknown."""


class StoreConflictError(StoreError):
    """The commit contradicts what is stored (a taken id, an unknown run); nothing of it was written."""


class StoreLockedError(StoreError):
    """Another server has the database open."""

    def __init__(self, location: str, owner: str) -> None:
        super().__init__(f"{location} is in use by {owner}")
        self.location = location
        self.owner = owner


class StoreTooNewError(StoreError):
    """The database was written by a newer version."""

    def __init__(self, location: str, found: int, known: int) -> None:
        super().__init__(f"{location} has schema version {found}; this server knows versions up to {known}")
        self.location = location
        self.found = found
        self.known = known


class StoreCorruptError(StoreError):
    """The database is not what it should be."""


@dataclass(frozen=True, slots=True)
class NewRun:
    """A run to be inserted. Times are microseconds since the Unix epoch."""

    key: int
    """Integer key of the run, assigned by the server, never reused."""
    namespace: str
    run_id: str
    workflow: str
    version: int
    business_key: str
    """Empty means none."""
    start_time_us: int
    request_id: str
    """Empty means none; else unique in the namespace."""
    request_hash: bytes
    attributes_json: str
    state: int = 1
    """`RunState`: RUNNING."""


@dataclass(frozen=True, slots=True)
class RunUpdate:
    """What changes in a run's row: written when a run closes or is reopened, and lazily for lists."""

    key: int
    state: int
    """`RunState`."""
    close_time_us: int
    """0 while open."""
    run_epoch: int
    last_seq: int
    waiting_reason: int
    status_message: str
    hot: bool = True
    """False for a run that leaves the memory."""


@dataclass(frozen=True, slots=True)
class EvictedTask:
    """An attempt that waits for a worker."""

    path: str
    queue: str
    handler: str
    since_us: int
    """When it was queued."""


@dataclass(frozen=True, slots=True)
class EvictedGate:
    """A gate that is open."""

    path: str
    deadline_us: int
    """As it is sorted: gates without a deadline have a very late one."""
    open_us: int


@dataclass(frozen=True, slots=True)
class Eviction:
    """An open run that leaves the memory, with what has to be found of it without folding it."""

    key: int
    namespace: str
    run_id: str
    workflow: str
    wake_us: int
    """When the first of its timers is due; 0 if it has none."""
    snapshot_seq: int
    """Number of the last event the snapshot takes in; 0 if there is none."""
    snapshot: bytes
    tasks: Sequence[EvictedTask]
    gates: Sequence[EvictedGate]


@dataclass(frozen=True, slots=True)
class GateRow:
    """An open gate of an evicted run."""

    deadline_us: int
    open_us: int
    run_id: str
    path: str
    run_key: int


@dataclass(frozen=True, slots=True)
class TaskBacklog:
    """Waiting attempts of evicted runs, counted."""

    namespace: str
    queue: str
    handler: str
    count: int
    oldest_us: int


@dataclass(frozen=True, slots=True)
class HistoryRow:
    """Events of one run, serialized as one `HistoryBatch`."""

    run_key: int
    first_seq: int
    count: int
    blob: bytes


@dataclass(frozen=True, slots=True)
class PayloadRow:
    """A large payload, serialized as one `Payload`, and a run that refers to it."""

    sha256: bytes
    blob: bytes
    run_key: int


@dataclass(frozen=True, slots=True)
class VersionRow:
    """One version of a workflow."""

    namespace: str
    name: str
    version: int
    definition_hash: bytes
    definition: bytes
    """Serialized `WorkflowDefinition`."""
    source: str
    format: int
    register_time_us: int
    retention_us: int = 0
    """How long its closed runs are kept; 0 means as long as the server says."""


@dataclass(frozen=True, slots=True)
class Deletion:
    """A closed run to be deleted."""

    key: int
    delete_time_us: int
    request_id: str = ""
    """Of the request that asks for it; empty means none."""


@dataclass(frozen=True, slots=True)
class DeletedRun:
    """What stays of a deleted run: its id is taken for ever."""

    namespace: str
    run_id: str
    delete_time_us: int
    request_id: str


@dataclass(frozen=True, slots=True)
class ExpiredRun:
    """A closed run that was kept long enough."""

    key: int
    namespace: str
    run_id: str
    last_seq: int


@dataclass(slots=True)
class Commit:
    """Everything one group writes, in one transaction."""

    new_runs: list[NewRun] = field(default_factory=list)
    history: list[HistoryRow] = field(default_factory=list)
    payloads: list[PayloadRow] = field(default_factory=list)
    updates: list[RunUpdate] = field(default_factory=list)
    versions: list[VersionRow] = field(default_factory=list)
    evictions: dict[int, Eviction] = field(default_factory=dict)
    """By run key; an update that says `hot=False` goes with each."""
    revivals: list[int] = field(default_factory=list)
    """Keys of runs that were evicted and are in memory again; an update that says `hot=True` goes with each."""


@dataclass(frozen=True, slots=True)
class RunRow:
    """A run as stored."""

    key: int
    namespace: str
    run_id: str
    workflow: str
    version: int
    business_key: str
    state: int
    start_time_us: int
    close_time_us: int
    run_epoch: int
    last_seq: int
    """0 while the row has not been updated since the start."""
    waiting_reason: int
    status_message: str
    request_id: str
    request_hash: bytes
    attributes_json: str
    hot: bool
    """Whether an open run is folded at the start of the server."""


@dataclass(frozen=True, slots=True)
class RunQuery:
    """Which runs to list; latest start first, ties by key. All conditions must hold."""

    namespace: str
    states: Sequence[int] = ()
    workflow: str = ""
    business_key: str = ""
    start_after_us: int | None = None
    """Inclusive."""
    start_before_us: int | None = None
    """Exclusive."""
    waiting_reasons: Sequence[int] = ()
    """Only evicted runs are found by them."""
    before: tuple[int, int] | None = None
    """(start_time_us, key) of the last row of the page before."""
    limit: int = 100


class Store(Protocol):
    """A database. All methods raise StoreError when it fails."""

    async def open(self) -> None:
        """Takes the lock, checks the version, migrates.

        Raises:
            StoreLockedError, StoreTooNewError, StoreCorruptError: as they say.
        """

    async def close(self) -> None:
        """Ends all connections and gives the lock back."""

    @property
    def description(self) -> str:
        """For people, for example `sqlite 3.53.4`."""

    @property
    def schema_version(self) -> int:
        """Version of the schema after `open`."""

    async def commit(self, commit: Commit) -> None:
        """Writes all of it durably, or nothing, or (after StoreError) one of the two."""

    async def next_server_epoch(self) -> int:
        """Durably counts one more start of a server, and answers the count (from 1)."""

    async def token_key(self) -> bytes:
        """The 32 secret bytes lease tokens are signed with; made at first use."""

    async def last_run_key(self) -> int:
        """The highest run key ever stored, also of a run that was deleted; 0 if there is none."""

    async def hot_runs(self) -> Sequence[RunRow]:
        """All runs that are neither closed nor evicted, by key."""

    async def open_run_count(self) -> int:
        """How many runs are not closed."""

    async def open_runs_by_key(self, namespace: str, names: Sequence[tuple[str, str]]) -> Sequence[RunRow]:
        """The open runs that have one of the (workflow, business key)."""

    async def run(self, namespace: str, run_id: str) -> RunRow | None:
        """One run."""

    async def run_by_key(self, key: int) -> RunRow | None:
        """One run by its integer key."""

    async def probe(self) -> None:
        """Writes something of no consequence durably: StoreError as long as the database refuses writes."""

    async def known_starts(
        self, namespace: str, run_ids: Sequence[str], request_ids: Sequence[str]
    ) -> Sequence[RunRow]:
        """The runs that have one of the ids or were started by one of the requests."""

    async def runs(self, query: RunQuery) -> Sequence[RunRow]:
        """A page of runs."""

    async def count_runs(self, query: RunQuery) -> dict[int, int]:
        """Number of runs by state; `before` and `limit` do not count."""

    async def history(self, run_key: int, after_seq: int = 0, max_bytes: int | None = None) -> Sequence[HistoryRow]:
        """Rows with an event after `after_seq`, in order; at least one if there is any, then as `max_bytes` allows."""

    async def histories(self, after: Sequence[tuple[int, int]], max_bytes: int) -> tuple[Sequence[HistoryRow], bool]:
        """Rows of several runs with an event after (run key, sequence number), run by run in the order given.

        At least one if there is any, then as `max_bytes` allows; and whether that is all.
        """

    async def snapshots(self, run_keys: Sequence[int]) -> dict[int, tuple[int, bytes]]:
        """Of those runs that have one: the number of its last event, and the snapshot."""

    async def wake_times(self, after: tuple[int, int], limit: int) -> Sequence[tuple[int, int]]:
        """(time of the first timer, run key) of evicted runs, in that order, behind `after`."""

    async def task_backlog(self) -> Sequence[TaskBacklog]:
        """How many attempts of evicted runs wait, by namespace, queue and handler."""

    async def evicted_tasks(self, namespace: str, queue: str, handler: str, limit: int) -> Sequence[tuple[int, int]]:
        """(since when, run key) of attempts of evicted runs that wait, longest first."""

    async def evicted_gates(
        self, namespace: str, after: tuple[int, int, str, str], workflow: str, limit: int
    ) -> Sequence[GateRow]:
        """Open gates of evicted runs by (deadline, open time, run id, path), behind `after`; empty workflow: all."""

    async def payloads(self, hashes: Sequence[bytes]) -> dict[bytes, bytes]:
        """Serialized payloads by hash; unknown ones are left out."""

    async def version(self, namespace: str, name: str, version: int) -> VersionRow | None:
        """One version; number 0 means the latest."""

    async def version_by_hash(self, namespace: str, name: str, definition_hash: bytes) -> VersionRow | None:
        """The version with that content."""

    async def latest_versions(self, namespace: str, after_name: str, limit: int) -> Sequence[VersionRow]:
        """The latest version of each workflow whose name is greater than `after_name`, by name."""

    async def versions(self, namespace: str, name: str, before_version: int, limit: int) -> Sequence[VersionRow]:
        """Versions below `before_version` (0: all), newest first."""

    async def delete_runs(self, deletions: Sequence[Deletion]) -> None:
        """Deletes closed runs with their histories and with the payloads nobody else refers to, all or nothing.

        Raises:
            StoreConflictError: one of them is open or unknown; nothing was deleted.
        """

    async def run_sizes(self, keys: Sequence[int]) -> dict[int, int]:
        """About how many bytes each run has stored: its history, and the payloads it refers to."""

    async def deleted_runs(self, namespace: str, run_ids: Sequence[str]) -> Sequence[DeletedRun]:
        """Which of the ids belong to deleted runs."""

    async def expired_runs(self, now_us: int, retention_us: int | None, limit: int) -> Sequence[ExpiredRun]:
        """Closed runs that were kept long enough.

        Args:
            now_us: the time.
            retention_us: how long runs are kept whose version does not say it; None means for ever.
            limit: most runs.
        """

    async def next_expiry(self, retention_us: int | None) -> int | None:
        """When the first of the closed runs was kept long enough, which may be past; None for never."""
