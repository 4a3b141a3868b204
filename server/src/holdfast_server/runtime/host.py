"""One run in memory: its state, how much of it is on disk, and who waits for it."""

import asyncio
from collections.abc import Callable
from enum import Enum

from holdfast.v1.history_pb2 import HistoryEvent
from holdfast_server.engine.state import RunState
from holdfast_server.journal.group_commit import Entry
from holdfast_server.timers.heap import TimerHandle

__all__ = ["OnDisk", "RunHost", "Watcher"]


class OnDisk(Enum):
    """As what the disk has a run that is in memory."""

    HOT = "hot"
    LEAVING = "leaving"
    """Its eviction is on its way to the disk."""
    EVICTED = "evicted"
    UNKNOWN = "unknown"
    """One or the other: a commit failed."""


class Watcher:
    """Someone who follows the events of a run; falls back to the disk when too far behind.

    Attributes:
        events: what came since the last look.
        lagging: True if events were dropped and have to be read from the disk.
    """

    __slots__ = ("_limit", "events", "lagging", "wake")

    def __init__(self, limit: int = 1_000) -> None:
        self._limit = limit
        self.events: list[HistoryEvent] = []
        self.lagging = False
        self.wake = asyncio.Event()

    def push(self, events: list[HistoryEvent]) -> None:
        """Adds committed events."""
        if len(self.events) + len(events) > self._limit:
            self.lag()
            return
        if not self.lagging:
            self.events.extend(events)
        self.wake.set()

    def lag(self) -> None:
        """Leaves it to the disk what comes next."""
        self.events.clear()
        self.lagging = True
        self.wake.set()


class RunHost:
    """One run in memory.

    Attributes:
        key: integer key of the run.
        state: the fold of everything decided, which may be ahead of the disk.
        durable_seq: number of the last event on disk.
        stale: True if the state is void and has to be folded again before the run decides anything.
        quarantined: why the run does not decide any more; empty if it does.
        gone: True if the run turned out not to be on disk, so that there is no such run.
        on_disk: what an eviction or a change has to write.
        timers: handles of its timers by (path, timer).
        pins: how many are about to change it; it must not leave the memory meanwhile.
        touched: the evictor's tick when events of it were written last.
    """

    __slots__ = (
        "durable_seq",
        "gone",
        "key",
        "loading",
        "on_committed",
        "on_disk",
        "pins",
        "quarantined",
        "stale",
        "state",
        "timers",
        "touched",
        "watchers",
    )

    def __init__(self, key: int, state: RunState, on_committed: Callable[["RunHost", Entry], None]) -> None:
        self.key = key
        self.state = state
        self.on_committed = on_committed
        self.durable_seq = 0
        self.stale = False
        self.quarantined = ""
        self.gone = False
        self.on_disk = OnDisk.HOT
        self.pins = 0
        self.touched = 0
        self.timers: dict[tuple[str, str], TimerHandle[tuple[int, str, str]]] = {}
        self.watchers: list[Watcher] | None = None
        self.loading: asyncio.Future[None] | None = None

    @property
    def accepted(self) -> bool:
        """Whether its start is on disk; else there may never have been such a run, and no list shows it."""
        return self.durable_seq > 0

    def committed(self, entry: Entry) -> None:
        """The entry is on disk."""
        self.on_committed(self, entry)
