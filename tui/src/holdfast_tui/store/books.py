"""What the two streams tell, latest state by key: a message costs a dictionary write, a list is made on demand."""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from heapq import nsmallest
from typing import Any, Generic, Protocol, TypeVar

from google.protobuf.message import Message

from holdfast.v1.gate_pb2 import Gate, GateState
from holdfast.v1.gate_service_pb2 import WatchGatesResponse
from holdfast.v1.run_pb2 import RunSummary
from holdfast.v1.run_service_pb2 import WatchRunsResponse
from holdfast_tui.store.rows import GateKey, GateRow, RunRow, gate_key, gate_row, run_row
from holdfast_tui.store.times import seconds_of
from holdfast_tui.store.words import OPEN_RUN_STATES

__all__ = ["CLOSED_RUNS_KEPT_MAX", "ROWS_MAX", "GateBook", "Listed", "RunBook"]

ROWS_MAX = 1_000
"""Most rows of a list. The rest is counted; the filter finds it."""
CLOSED_RUNS_KEPT_MAX = 1_000
"""Closed runs are dropped beyond this, oldest first, so that a screen that is open for weeks does not grow."""
RESOLVED_GATES_KEPT_MAX = 200

KeyT = TypeVar("KeyT", bound=Hashable)
MessageT = TypeVar("MessageT")
RowT = TypeVar("RowT", bound="_Findable")
CopyT = TypeVar("CopyT", bound=Message)


class _Findable(Protocol):
    @property
    def haystack(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Listed(Generic[RowT]):
    """A list as it is shown.

    Attributes:
        rows: At most `ROWS_MAX` of what matches, in order.
        matching: How many match the filter.
        total: How many there are.
    """

    rows: tuple[RowT, ...]
    matching: int
    total: int


class _Book(Generic[KeyT, MessageT, RowT]):
    """Latest state by key, with rows made once for each state."""

    def __init__(
        self, key_of: Callable[[MessageT], KeyT], row_of: Callable[[MessageT], RowT], order: Callable[[MessageT], Any]
    ) -> None:
        self._key_of = key_of
        self._row_of = row_of
        self._order = order
        self._known: dict[KeyT, MessageT] = {}
        self._snapshot: dict[KeyT, MessageT] | None = None
        self._rows: dict[KeyT, tuple[MessageT, RowT]] = {}
        self._listed: tuple[object, Listed[RowT]] | None = None
        self.cursor = ""
        self.version = 0

    @property
    def filling(self) -> dict[KeyT, MessageT]:
        """What messages go into: the snapshot while one is under way, so that the list never shows half of it."""
        return self._known if self._snapshot is None else self._snapshot

    def begin(self, *, reset: bool) -> None:
        """Take in the head of a message."""
        if reset:
            self._snapshot = {}

    def end(self, cursor: str, *, live: bool) -> None:
        """Take in the tail of a message; a complete snapshot takes the place of what was known."""
        if cursor:
            self.cursor = cursor
        if live and self._snapshot is not None:
            self._known, self._snapshot = self._snapshot, None
            self._rows = {key: made for key, made in self._rows.items() if key in self._known}
        self.version += 1

    def get(self, key: KeyT) -> MessageT | None:
        """Return the latest state of a key."""
        return self._known.get(key)

    def listed(self, words: Iterable[str] = ()) -> Listed[RowT]:
        """Return the rows in which all words occur; the same object for as long as nothing changed."""
        needles = tuple(word.lower() for word in words)
        if self._listed is None or self._listed[0] != (self.version, needles):
            self._listed = (self.version, needles), self._list(needles)
        return self._listed[1]

    def _list(self, needles: tuple[str, ...]) -> Listed[RowT]:
        found = list(self._known.values())
        if needles:
            found = [message for message in found if self._matches(self._key_of(message), message, needles)]
        first = nsmallest(ROWS_MAX, found, key=self._order) if len(found) > ROWS_MAX else sorted(found, key=self._order)
        rows = tuple(self._row(self._key_of(message), message) for message in first)
        return Listed(rows, len(found), len(self._known))

    def _matches(self, key: KeyT, message: MessageT, needles: tuple[str, ...]) -> bool:
        haystack = self._row(key, message).haystack
        return all(needle in haystack for needle in needles)

    def _row(self, key: KeyT, message: MessageT) -> RowT:
        made = self._rows.get(key)
        if made is None or made[0] is not message:
            made = message, self._row_of(message)
            self._rows[key] = made
        return made[1]


class GateBook(_Book[GateKey, Gate, GateRow]):
    """The open gates, oldest deadline first, and how the latest others ended."""

    def __init__(self) -> None:
        super().__init__(gate_key, gate_row, _gate_order)
        self._ended: OrderedDict[GateKey, Gate] = OrderedDict()

    def apply(self, response: WatchGatesResponse) -> None:
        """Take in a message of the stream."""
        self.begin(reset=response.reset)
        for gate in response.gates:
            self.put(_copied(gate, Gate()))
        self.end(response.cursor, live=response.live)

    def put(self, gate: Gate) -> None:
        """Take in one gate."""
        key = gate_key(gate)
        if gate.state == GateState.GATE_STATE_OPEN:
            self.filling[key] = gate
            self._ended.pop(key, None)
        else:
            self.filling.pop(key, None)
            self._rows.pop(key, None)
            self._ended[key] = gate
            self._ended.move_to_end(key)
            if len(self._ended) > RESOLVED_GATES_KEPT_MAX:
                self._ended.popitem(last=False)
        self.version += 1

    def get(self, key: GateKey) -> Gate | None:
        """Return the latest state of a gate, also of one that ended a while ago."""
        return super().get(key) or self._ended.get(key)

    def of_run(self, run_id: str) -> list[Gate]:
        """Return the open gates of a run."""
        return [gate for (run, _), gate in self._known.items() if run == run_id]


def _copied(part: CopyT, empty: CopyT) -> CopyT:
    empty.CopyFrom(part)
    return empty


def _gate_order(gate: Gate) -> tuple[float, float, str, str]:
    deadline_s = seconds_of(gate.deadline_time) if gate.HasField("deadline_time") else float("inf")
    return deadline_s, seconds_of(gate.open_time), gate.run_id, gate.step_path


class RunBook(_Book[str, RunSummary, RunRow]):
    """Runs: the open ones first, the latest start on top; then the closed ones, the latest end on top."""

    def __init__(self) -> None:
        super().__init__(_run_key, run_row, _run_order)

    def apply(self, response: WatchRunsResponse) -> None:
        """Take in a message of the stream."""
        self.begin(reset=response.reset)
        for run in response.runs:
            # A part of a message keeps all of it in memory, so what is kept is a copy.
            self.filling[run.run_id] = _copied(run, RunSummary())
        for run_id in response.deleted_run_ids:
            self.filling.pop(run_id, None)
            self._rows.pop(run_id, None)
        self.end(response.cursor, live=response.live)
        self._forget()

    def open_count(self) -> int:
        """Return how many runs are open."""
        return sum(run.state in OPEN_RUN_STATES for run in self._known.values())

    def _forget(self) -> None:
        """Drop the oldest closed runs; a tenth at a time, so that it is not looked for with every message."""
        if len(self._known) <= CLOSED_RUNS_KEPT_MAX:
            return
        closed = [run for run in self._known.values() if run.state not in OPEN_RUN_STATES]
        if len(closed) <= CLOSED_RUNS_KEPT_MAX * 11 // 10:
            return
        for run in sorted(closed, key=_run_order)[CLOSED_RUNS_KEPT_MAX:]:
            del self._known[run.run_id]
            self._rows.pop(run.run_id, None)


def _run_key(run: RunSummary) -> str:
    return run.run_id


def _run_order(run: RunSummary) -> tuple[bool, float, str]:
    is_closed = run.state not in OPEN_RUN_STATES
    return is_closed, -seconds_of(run.close_time if is_closed else run.start_time), run.run_id
