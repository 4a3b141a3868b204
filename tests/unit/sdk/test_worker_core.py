"""The worker's state machine by itself: what it asks for, in which order, at which time. No network, no clock."""

from collections.abc import Iterable

import pytest

from holdfast.backoff import Backoff, BackoffPolicy
from holdfast.context import CancelReason, Held
from holdfast.v1.errors_pb2 import ErrorReason
from holdfast.v1.payload_pb2 import Payload
from holdfast.v1.task_pb2 import Task, TaskResult, WorkerInfo
from holdfast.v1.worker_service_pb2 import RejectedResult
from holdfast.worker.core import (
    LEAVE_S,
    Action,
    CancelPoll,
    CancelRunning,
    Complete,
    Drain,
    Poll,
    Settings,
    Sync,
    WorkerCore,
)
from holdfast.worker.ledger import Ledger, Stop

INFO = WorkerInfo(id="w1", session_id="s1")
POLICY = BackoffPolicy(initial_s=1.0, max_s=4.0)
UNAVAILABLE = 14


class Bench:
    """A core with its ledger, and a clock in the test's hand."""

    def __init__(self, slots: int = 2, lanes: Iterable[str] = ("main",)) -> None:
        self.ledger = Ledger(INFO, "default")
        settings = Settings(INFO, "default", {q: [f"h-{q}"] for q in lanes}, slots, grace_s=30, backoff=POLICY)
        self.core = WorkerCore(settings, self.ledger, random=lambda: 1.0)
        self.now_s = 100.0
        self.lane = self.core.lanes["main"]

    def actions(self) -> list[Action]:
        return self.core.actions(self.now_s)

    def kinds(self) -> list[str]:
        return [type(action).__name__ for action in self.actions()]

    def ready(self) -> None:
        """Bring the link up and the polls out."""
        assert self.kinds() == ["Sync"]
        self.core.synced("server-1")
        assert set(self.kinds()) == {"Poll"}

    def give(self, *tokens: bytes) -> list[Held]:
        """Let the parked poll bring tasks."""
        self.core.poll_answered(self.lane, len(tokens), self.now_s)
        return self.core.tasks_came(self.lane, [Task(token=token, handler="h-main") for token in tokens])

    def finish(self, *tokens: bytes) -> None:
        for token in tokens:
            self.core.finished(TaskResult(token=token, output=Payload(data=b"1")))

    def completion(self) -> Complete:
        """Return the one completion that is asked for."""
        [action] = [action for action in self.actions() if isinstance(action, Complete)]
        return action


def test_nothing_is_polled_before_everything_was_listed() -> None:
    bench = Bench(lanes=("main", "tools"))

    assert bench.kinds() == ["Sync"]
    assert bench.kinds() == []
    bench.core.synced("server-1")
    polls = [action for action in bench.actions() if isinstance(action, Poll)]
    assert [(poll.request.queue, list(poll.request.handlers), poll.request.slots_total) for poll in polls] == [
        ("main", ["h-main"], 2),
        ("tools", ["h-tools"], 2),
    ]
    assert bench.kinds() == []


def test_a_list_that_does_not_arrive_is_sent_again_later_and_later() -> None:
    bench = Bench()
    waits = []
    for _ in range(4):
        assert bench.kinds() == ["Sync"]
        bench.core.sync_failed(bench.now_s)
        assert bench.kinds() == []
        due_s = bench.core.due_s(bench.now_s)
        assert due_s is not None
        waits.append(due_s - bench.now_s)
        bench.now_s = due_s

    assert waits == [1.0, 2.0, 4.0, 4.0]


def test_a_poll_is_parked_as_long_as_a_slot_is_free() -> None:
    bench = Bench(slots=2)
    bench.ready()
    bench.give(b"a")
    assert bench.kinds() == ["Poll"]
    bench.give(b"b")
    assert bench.kinds() == []
    bench.finish(b"a")
    assert sorted(bench.kinds()) == ["Complete", "Poll"]


def test_what_finishes_while_a_completion_is_under_way_goes_with_the_next() -> None:
    bench = Bench(slots=4)
    bench.ready()
    bench.give(b"a", b"b", b"c")
    bench.finish(b"a")
    first = bench.completion()
    assert bench.kinds() == []
    bench.finish(b"b", b"c")
    assert bench.kinds() == []
    bench.core.completed(first, [], bench.now_s)
    second = bench.completion()

    assert [[r.token for r in action.request.results] for action in (first, second)] == [[b"a"], [b"b", b"c"]]
    assert list(first.request.handlers) == ["h-main"]


def test_a_task_is_held_until_its_result_is_accepted() -> None:
    bench = Bench()
    bench.ready()
    bench.give(b"a")
    bench.finish(b"a")
    action = bench.completion()
    assert [h.token for h in bench.ledger.everything().held] == [b"a"]
    bench.core.completed(action, [], bench.now_s)
    assert len(bench.ledger) == 0


def test_a_task_that_comes_twice_is_begun_once() -> None:
    bench = Bench()
    bench.ready()
    assert len(bench.give(b"a")) == 1
    assert bench.core.tasks_came(bench.lane, [Task(token=b"a")]) == []


def test_after_a_lost_connection_polls_are_left_and_everything_is_listed_before_the_next() -> None:
    bench = Bench(lanes=("main", "tools"))
    bench.ready()
    bench.core.poll_failed(bench.lane, bench.now_s, lost=True)
    [leave] = bench.actions()
    assert isinstance(leave, CancelPoll)
    assert leave.lane.queue == "tools"
    assert bench.kinds() == []  # the poll that is left may still bring tasks: no list before it has ended
    bench.core.poll_failed(leave.lane, bench.now_s, lost=False)
    assert bench.kinds() == ["Sync"]
    bench.core.synced("server-2")
    assert bench.kinds() == ["Poll"]  # the other queue's comes after its wait
    bench.now_s += 1
    assert bench.kinds() == ["Poll"]


def test_while_the_link_is_lost_results_are_sent_but_no_tasks_are_taken() -> None:
    bench = Bench()
    bench.ready()
    bench.give(b"a", b"b")
    bench.finish(b"a")
    first = bench.completion()
    bench.core.completion_failed(first, bench.now_s, lost=True)
    assert bench.kinds() == ["CancelPoll"]
    bench.core.poll_failed(bench.lane, bench.now_s, lost=False)
    assert bench.kinds() == ["Sync"]
    bench.core.sync_failed(bench.now_s)
    bench.now_s += 1
    sync, again = bench.actions()

    assert isinstance(sync, Sync)
    assert isinstance(again, Complete)
    assert [result.token for result in again.request.results] == [b"a"]
    assert list(again.request.handlers) == []


def test_a_completion_that_may_bring_tasks_is_awaited_before_everything_is_listed() -> None:
    bench = Bench()
    bench.ready()
    bench.give(b"a")
    bench.finish(b"a")
    [completion, poll] = bench.actions()
    assert isinstance(completion, Complete)
    assert isinstance(poll, Poll)
    bench.core.poll_failed(bench.lane, bench.now_s, lost=True)
    assert bench.kinds() == []
    bench.core.completed(completion, [], bench.now_s)
    assert bench.kinds() == ["Sync"]


def test_another_server_id_in_a_heartbeat_loses_the_link() -> None:
    bench = Bench()
    bench.ready()
    bench.core.beat_answered("server-1")
    assert bench.kinds() == []
    bench.core.beat_answered("server-2")
    assert bench.kinds() == ["CancelPoll"]


def test_failed_completions_come_back_in_order_with_growing_waits() -> None:
    bench = Bench(slots=8)
    bench.ready()
    bench.give(b"a", b"b", b"c")
    bench.finish(b"a", b"b")
    bench.core.completion_failed(bench.completion(), bench.now_s, lost=False)
    bench.finish(b"c")
    assert not [action for action in bench.actions() if isinstance(action, Complete)]
    bench.now_s += 1.0
    again = bench.completion()
    bench.core.completion_failed(again, bench.now_s, lost=False)
    bench.now_s += 1.0
    assert not [action for action in bench.actions() if isinstance(action, Complete)]

    assert [result.token for result in again.request.results] == [b"a", b"b", b"c"]


def test_rejected_results_are_told_and_those_for_later_are_kept() -> None:
    bench = Bench(slots=8)
    bench.ready()
    bench.give(b"a", b"b", b"c")
    bench.finish(b"a", b"b", b"c")
    stale, away = RejectedResult(index=0), RejectedResult(index=2)
    stale.error.reason = ErrorReason.ERROR_REASON_TOKEN_STALE
    away.error.code = UNAVAILABLE
    [(held, item)] = bench.core.completed(bench.completion(), [stale, away], bench.now_s)

    assert held is not None
    assert (held.token, item.error.reason) == (b"a", ErrorReason.ERROR_REASON_TOKEN_STALE)
    assert [h.token for h in bench.ledger.everything().held] == [b"c"]
    assert not [action for action in bench.actions() if isinstance(action, Complete)]
    bench.now_s += 1.0
    assert [result.token for result in bench.completion().request.results] == [b"c"]


def test_one_result_that_makes_a_whole_completion_fail_is_found_by_halves() -> None:
    bench = Bench(slots=8)
    bench.ready()
    tokens = [b"%d" % number for number in range(8)]
    bench.give(*tokens)
    bench.finish(*tokens)
    dropped, sent = [], []
    while any(lane.results for lane in bench.core.lanes.values()):
        action = bench.completion()
        batch = [result.token for result in action.request.results]
        if b"5" in batch:
            held = bench.core.completion_refused(action)
            dropped += [held.token] if held is not None else []
        else:
            bench.core.completed(action, [], bench.now_s)
            sent += batch

    assert dropped == [b"5"]
    assert sorted(sent) == sorted(set(tokens) - {b"5"})
    assert len(bench.ledger) == 0


def test_completions_are_bounded_by_bytes_and_a_larger_result_travels_alone() -> None:
    bench = Bench(slots=8)
    bench.ready()
    bench.give(b"a", b"b", b"c")
    for token, size_bytes in ((b"a", 5 << 20), (b"b", 5 << 20), (b"c", 9 << 20)):
        bench.core.finished(TaskResult(token=token, output=Payload(data=bytes(size_bytes))))
    batches = []
    while bench.lane.results:
        action = bench.completion()
        batches.append([result.token for result in action.request.results])
        bench.core.completed(action, [], bench.now_s)

    assert batches == [[b"a"], [b"b"], [b"c"]]


def test_a_lost_task_keeps_its_slot_but_sends_nothing() -> None:
    bench = Bench(slots=2)
    bench.ready()
    [held] = bench.give(b"a")
    assert bench.kinds() == ["Poll"]
    [stop] = bench.core.stops_asked([Stop(held, CancelReason.LOST)])
    assert stop.held is held
    assert len(bench.ledger) == 0
    bench.give(b"b")
    assert bench.kinds() == []  # both handlers still run
    bench.finish(b"b")
    assert bench.completion().request.slots_total == 1
    bench.finish(b"a")
    assert bench.core.running == 0
    assert not bench.lane.results


def test_a_stop_that_comes_for_a_finished_task_is_nobodys_business() -> None:
    bench = Bench()
    bench.ready()
    [held] = bench.give(b"a")
    bench.finish(b"a")
    assert bench.core.stops_asked([Stop(held, CancelReason.LOST)]) == []
    assert len(bench.completion().request.results) == 1


def test_an_empty_answer_that_was_not_parked_is_not_asked_again_at_once() -> None:
    bench = Bench()
    bench.ready()
    bench.core.poll_answered(bench.lane, 0, bench.now_s)
    assert bench.kinds() == []
    bench.now_s += 1.0
    assert bench.kinds() == ["Poll"]
    bench.now_s += 60.0
    bench.core.poll_answered(bench.lane, 0, bench.now_s)
    assert bench.kinds() == ["Poll"]


def test_a_stop_in_good_order() -> None:
    bench = Bench()
    bench.ready()
    bench.give(b"a")
    assert bench.kinds() == ["Poll"]
    bench.core.stop(bench.now_s)
    assert bench.kinds() == ["Drain"]
    bench.core.drained(bench.now_s, ok=True)
    bench.core.poll_answered(bench.lane, 1, bench.now_s)
    assert bench.core.tasks_came(bench.lane, [Task(token=b"late")]) == []
    returned = bench.completion()
    assert returned.request.results[0].WhichOneof("outcome") == "returned"
    assert list(returned.request.handlers) == []
    bench.core.completed(returned, [], bench.now_s)
    assert not bench.core.done
    bench.finish(b"a")
    bench.core.completed(bench.completion(), [], bench.now_s)
    assert bench.core.done


def test_a_stop_leaves_polls_that_nobody_answers() -> None:
    for ok, wait_s in ((False, 0.0), (True, LEAVE_S)):
        bench = Bench()
        bench.ready()
        bench.core.stop(bench.now_s)
        assert bench.kinds() == ["Drain"]
        bench.core.drained(bench.now_s, ok=ok)
        bench.now_s += wait_s
        assert bench.kinds() == ["CancelPoll"]
        bench.core.poll_failed(bench.lane, bench.now_s, lost=False)
        assert bench.core.done


def test_a_stop_ends_although_handlers_and_server_do_not_answer() -> None:
    bench = Bench()
    bench.ready()
    [held] = bench.give(b"a")
    bench.core.stop(bench.now_s)
    bench.actions()
    bench.now_s += 29.0
    assert bench.kinds() == []
    bench.now_s += 1.0
    [cancel] = bench.actions()
    assert isinstance(cancel, CancelRunning)
    assert list(cancel.held) == [held]
    assert not bench.core.done
    bench.now_s += 5.0
    assert bench.kinds() == []
    assert bench.core.done


def test_a_stop_ends_although_results_cannot_be_sent() -> None:
    bench = Bench()
    bench.ready()
    bench.give(b"a")
    bench.finish(b"a")
    bench.core.stop(bench.now_s)
    [drain, completion] = bench.actions()
    assert isinstance(drain, Drain)
    assert isinstance(completion, Complete)
    bench.core.completion_failed(completion, bench.now_s, lost=True)
    bench.now_s += 10.0
    bench.actions()
    assert bench.core.done
    assert bench.core.unsent == 0  # the last try is under way


def test_waits_grow_to_a_bound_and_are_jittered() -> None:
    backoff = Backoff(BackoffPolicy(initial_s=0.1, max_s=1.0), lambda: 0.0)
    assert [round(backoff.next_s(), 3) for _ in range(6)] == [0.05, 0.1, 0.2, 0.4, 0.5, 0.5]
    backoff.reset()
    assert backoff.next_s() == pytest.approx(0.05)
