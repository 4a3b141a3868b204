"""What a worker holds: when the next heartbeat is due, what it says, and what an answer means."""

from datetime import timedelta

import pytest

from holdfast.context import CancelReason
from holdfast.v1.payload_pb2 import Payload
from holdfast.v1.task_pb2 import Task, WorkerInfo
from holdfast.v1.worker_service_pb2 import HeartbeatResponse, HeldState
from holdfast.worker.ledger import Ledger


@pytest.fixture
def ledger() -> Ledger:
    return Ledger(WorkerInfo(id="w1"), "team")


def _task(token: bytes, heartbeat_s: float | None = None) -> Task:
    task = Task(token=token)
    if heartbeat_s is not None:
        task.heartbeat_timeout.FromTimedelta(timedelta(seconds=heartbeat_s))
    return task


def _answer(*states: HeldState.ValueType, lease_s: float = 30) -> HeartbeatResponse:
    response = HeartbeatResponse(states=states, server_id="s")
    response.lease_timeout.FromTimedelta(timedelta(seconds=lease_s))
    return response


def test_the_interval_is_a_third_of_the_lease(ledger: Ledger) -> None:
    assert ledger.wait_s(0) == 10
    assert ledger.wait_s(4) == 6
    assert ledger.wait_s(11) == 0
    [beat] = ledger.beats()
    ledger.answered(beat, _answer(lease_s=6))
    assert ledger.wait_s(0) == 2


def test_a_server_may_ask_for_heartbeats_more_often(ledger: Ledger) -> None:
    [beat] = ledger.beats()
    answer = _answer(lease_s=30)
    answer.heartbeat_interval.FromTimedelta(timedelta(seconds=0.5))

    ledger.answered(beat, answer)
    assert ledger.wait_s(0) == 0.5


def test_a_demanded_heartbeat_and_news_shorten_it(ledger: Ledger) -> None:
    woken = []
    ledger.on_sooner = lambda: woken.append(True)
    held = ledger.add(_task(b"a"))
    ledger.add(_task(b"b", heartbeat_s=6))
    assert ledger.wait_s(0) == 2
    ledger.remove(b"b")
    assert ledger.wait_s(0) == 10
    ledger.beat_of_handler(held)
    ledger.beat_of_handler(held)
    assert ledger.wait_s(0) == 1
    list(ledger.beats())
    assert ledger.wait_s(0) == 10
    assert len(woken) == 2  # for the task that demands them, and for the first news


def test_a_heartbeat_says_what_is_new_once(ledger: Ledger) -> None:
    first, second = ledger.add(_task(b"a")), ledger.add(_task(b"b"))
    first.details = Payload(data=b"1")
    ledger.beat_of_handler(first)
    [beat] = ledger.beats()
    [again] = ledger.beats()

    assert beat.request.namespace == "team"
    assert [(entry.token, entry.alive, entry.details.data) for entry in beat.request.held] == [
        (b"a", True, b"1"),
        (b"b", False, b""),
    ]
    assert not beat.request.all_held
    assert [entry.alive for entry in again.request.held] == [False, False]
    assert second.details is None


def test_what_did_not_arrive_is_said_again_unless_there_is_newer(ledger: Ledger) -> None:
    first, second = ledger.add(_task(b"a")), ledger.add(_task(b"b"))
    for held, data in ((first, b"1"), (second, b"2")):
        held.details = Payload(data=data)
        ledger.beat_of_handler(held)
    [beat] = ledger.beats()
    second.details = Payload(data=b"3")
    ledger.failed(beat)
    [again] = ledger.beats()

    assert [(entry.alive, entry.details.data) for entry in again.request.held] == [(True, b"1"), (True, b"3")]


def test_large_details_are_spread_over_several_heartbeats(ledger: Ledger) -> None:
    for number in range(4):
        ledger.add(_task(b"%d" % number)).details = Payload(data=bytes(3 << 20))
    beats = list(ledger.beats())

    assert [len(beat.request.held) for beat in beats] == [2, 2]
    assert [held.token for beat in beats for held in beat.held] == [b"0", b"1", b"2", b"3"]
    assert all(beat.request.ByteSize() < (8 << 20) + 1024 for beat in beats)


def test_the_list_of_everything_takes_no_news_away(ledger: Ledger) -> None:
    held = ledger.add(_task(b"a"))
    ledger.beat_of_handler(held)
    everything = ledger.everything()

    assert everything.request.all_held
    assert [entry.token for entry in everything.request.held] == [b"a"]
    assert held.alive


def test_an_answer_tells_what_shall_stop_once_and_lost_is_the_last_word(ledger: Ledger) -> None:
    first, second = ledger.add(_task(b"a")), ledger.add(_task(b"b"))
    cancel, lost, mine = HeldState.HELD_STATE_CANCEL_REQUESTED, HeldState.HELD_STATE_LOST, HeldState.HELD_STATE_HELD

    def told(*states: HeldState.ValueType) -> list[tuple[bytes, CancelReason]]:
        [beat] = ledger.beats()
        return [(stop.held.token, stop.reason) for stop in ledger.answered(beat, _answer(*states))]

    assert told(cancel, mine) == [(b"a", CancelReason.CANCEL_REQUESTED)]
    assert told(cancel, mine) == []
    assert told(lost, cancel) == [(b"a", CancelReason.LOST), (b"b", CancelReason.CANCEL_REQUESTED)]
    assert told(cancel, cancel) == []
    assert (first.cancel_reason, second.cancel_reason) == (CancelReason.LOST, CancelReason.CANCEL_REQUESTED)
