"""What the streams tell, as lists: latest state by key, complete snapshots only, in order, bounded."""

from holdfast.v1.gate_service_pb2 import WatchGatesResponse
from holdfast.v1.run_pb2 import RunState, WaitingReason
from holdfast.v1.run_service_pb2 import WatchRunsResponse
from holdfast_tui.store.books import CLOSED_RUNS_KEPT_MAX, ROWS_MAX, GateBook, RunBook
from tests.tui.making import gate, resolved, summary

SUCCEEDED = RunState.RUN_STATE_SUCCEEDED


def keys_of(book: RunBook | GateBook, *words: str) -> list[object]:
    return [row.key for row in book.listed(words).rows]


def runs(*known: object, **fields: object) -> WatchRunsResponse:
    return WatchRunsResponse(runs=known, **{"live": True, **fields})  # type: ignore[arg-type]


def gates(*known: object, **fields: object) -> WatchGatesResponse:
    return WatchGatesResponse(gates=known, **{"live": True, **fields})  # type: ignore[arg-type]


def test_a_run_is_in_the_list_once_in_its_latest_state() -> None:
    book = RunBook()
    for seq in range(5_000):
        book.apply(runs(summary("r1", message=f"step {seq}", seq=seq)))
    listed = book.listed()
    assert (listed.total, len(listed.rows)) == (1, 1)
    assert listed.rows[0].status[-1].text == "step 4999"


def test_a_row_is_made_once_for_each_state() -> None:
    book = RunBook()
    book.apply(runs(summary("r1"), summary("r2")))
    first = book.listed().rows
    book.apply(runs(summary("r2", seq=2)))
    second = book.listed().rows
    assert first[0] is second[0]
    assert first[1] is not second[1]


def test_a_snapshot_takes_the_place_of_the_list_only_when_it_is_complete() -> None:
    book = RunBook()
    book.apply(runs(summary("old"), cursor="a.1"))
    book.apply(runs(summary("new1"), reset=True, live=False, cursor="b.1"))
    assert keys_of(book) == ["old"]
    book.apply(runs(summary("new2"), live=False))
    assert keys_of(book) == ["old"]
    book.apply(runs(live=True, cursor="b.2"))
    assert keys_of(book) == ["new1", "new2"]
    assert book.cursor == "b.2"


def test_a_deleted_run_leaves_the_list() -> None:
    book = RunBook()
    book.apply(runs(summary("r1"), summary("r2"), cursor="a.1"))
    book.apply(runs(deleted_run_ids=["r1", "never shown"]))
    assert keys_of(book) == ["r2"]
    book.apply(runs(summary("r1"), summary("r3"), reset=True, live=False, cursor="b.1"))
    book.apply(runs(deleted_run_ids=["r1"], cursor="b.2"))
    assert keys_of(book) == ["r3"]


def test_a_message_without_a_cursor_keeps_the_last_one() -> None:
    book = GateBook()
    book.apply(gates(cursor="a.1"))
    book.apply(gates(gate()))
    assert book.cursor == "a.1"


def test_gates_are_listed_by_deadline_then_by_age() -> None:
    book = GateBook()
    book.apply(gates(gate("late", deadline_s=900), gate("new", opened_s=-1), gate("old", opened_s=-9), reset=True))
    book.apply(gates(gate("soon", deadline_s=60)))
    assert [row.run.text for row in book.listed().rows] == ["soon", "late", "old", "new"]


def test_a_resolved_gate_leaves_the_list_and_its_end_is_known() -> None:
    book = GateBook()
    book.apply(gates(gate("r1"), gate("r2"), reset=True))
    book.apply(gates(resolved(gate("r1"), by="bob")))
    assert keys_of(book) == [("r2", "review")]
    ended = book.get(("r1", "review"))
    assert ended is not None
    assert ended.resolved_by.name == "bob"
    assert book.of_run("r1") == []


def test_a_gate_that_opens_again_is_open() -> None:
    book = GateBook()
    book.apply(gates(resolved(gate("r1"))))
    book.apply(gates(gate("r1", revision=2)))
    known = book.get(("r1", "review"))
    assert known is not None
    assert known.revision == 2
    assert len(book.of_run("r1")) == 1


def test_the_ends_of_only_the_latest_gates_are_kept() -> None:
    book = GateBook()
    for i in range(300):
        book.apply(gates(resolved(gate(f"r{i}"))))
    assert book.get(("r0", "review")) is None
    assert book.get(("r299", "review")) is not None


def test_closed_runs_are_below_open_ones_the_latest_end_first() -> None:
    book = RunBook()
    book.apply(
        runs(
            summary("c1", state=SUCCEEDED, started_s=-5, closed_s=-4),
            summary("o1", started_s=-100),
            summary("c2", state=SUCCEEDED, started_s=-90, closed_s=-1),
            summary("o2", state=RunState.RUN_STATE_PAUSED, started_s=-50),
        )
    )
    assert keys_of(book) == ["o2", "o1", "c2", "c1"]
    assert book.listed().total == 4


def test_a_list_is_cut_at_its_limit_and_counts_the_rest() -> None:
    book = RunBook()
    book.apply(runs(*(summary(f"r{i}", started_s=-i) for i in range(ROWS_MAX + 7))))
    listed = book.listed()
    assert (len(listed.rows), listed.matching, listed.total) == (ROWS_MAX, ROWS_MAX + 7, ROWS_MAX + 7)


def test_closed_runs_do_not_pile_up_and_open_ones_are_never_dropped() -> None:
    book = RunBook()
    book.apply(runs(*(summary(f"open{i}", started_s=-9_000) for i in range(50))))
    for i in range(CLOSED_RUNS_KEPT_MAX * 3):
        book.apply(runs(summary(f"r{i}", state=SUCCEEDED, closed_s=i)))
    listed = book.listed()
    assert 50 + CLOSED_RUNS_KEPT_MAX <= listed.total <= 50 + CLOSED_RUNS_KEPT_MAX * 11 // 10
    assert book.get("open49") is not None
    assert book.get(f"r{CLOSED_RUNS_KEPT_MAX * 3 - 1}") is not None
    assert book.get("r0") is None


def test_the_filter_looks_into_everything_a_row_says_and_ignores_case() -> None:
    book = RunBook()
    book.apply(
        runs(
            summary("r1", workflow="Billing"),
            summary("r2", waiting=WaitingReason.WAITING_REASON_NO_WORKER, message="pay: no worker serves 'charge'"),
            summary("r3", state=RunState.RUN_STATE_FAILED, closed_s=0, message="disk full"),
        )
    )
    assert keys_of(book, "billing") == ["r1"]
    assert keys_of(book, "CHARGE", "no_worker") == ["r2"]
    assert keys_of(book, "failed") == ["r3"]
    assert keys_of(book, "failed", "billing") == []
    assert book.listed(["disk"]).total == 3
