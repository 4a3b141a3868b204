"""What callers who wait and watch can pile up is bounded, and a change costs the same however many look on."""

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest

from holdfast.v1.errors_pb2 import ErrorReason
from holdfast.v1.history_pb2 import HistoryEvent
from holdfast.v1.payload_pb2 import Payload
from holdfast.v1.run_pb2 import RunOutcome
from holdfast.v1.run_service_pb2 import WaitRunsRequest
from holdfast_server.engine.refusal import Refused
from holdfast_server.rpc.run_service.watching import UNSENT_MAX, _Waits
from holdfast_server.rpc.seats import Seats
from holdfast_server.rpc.validation import Limits, Validator
from holdfast_server.runtime.closers import Closer, Closers
from holdfast_server.runtime.feeds import Feed
from holdfast_server.runtime.host import Watcher
from holdfast_server.runtime.payload_cache import PayloadCache
from holdfast_server.runtime.runtime import Runtime, RuntimeSettings


def test_as_many_wait_for_runs_as_allowed() -> None:
    closers = Closers(2)
    first, second, third = made = [_closer() for _ in range(3)]
    closers.add("default", "r1", first)
    closers.add("default", "r1", second)

    with pytest.raises(Refused) as caught:
        closers.add("default", "r2", third)
    assert caught.value.metadata == {"limit": "waits", "value": "2", "actual": "3"}

    assert closers.drop("default", "r1", first)
    assert not closers.drop("default", "r1", first)
    closers.add("default", "r2", third)
    assert [*closers.take("default", "r1"), *closers.take("default", "r2")] == made[1:]
    closers.add("default", "r3", first)
    closers.add("default", "r3", second)


def _closer() -> Closer:
    return lambda _outcome: None


def test_as_many_seats_are_taken_as_there_are() -> None:
    seats = Seats(1)
    with seats.one():
        with pytest.raises(Refused) as caught, seats.one():
            pass
        assert caught.value.metadata == {"limit": "open_calls", "value": "1", "actual": "2"}
    with pytest.raises(KeyError), seats.one():
        raise KeyError
    with seats.one():
        pass


@pytest.mark.asyncio
async def test_a_change_wakes_who_sleeps_and_looks_at_nobody_else() -> None:
    feed = Feed("e")
    first, _ = feed.subscribe("")
    second, _ = feed.subscribe("")

    feed.note((1, ""))
    assert first.wake.is_set()
    assert second.wake.is_set()
    assert first.take() == [(1, "")]
    assert not first.wake.is_set()
    feed.note((2, ""))
    assert first.wake.is_set()
    assert second.take() == [(1, ""), (2, "")]
    first.close()
    second.close()
    feed.note((3, ""))
    assert not second.wake.is_set()


@pytest.mark.asyncio
async def test_who_does_not_read_a_feed_starts_again_from_a_snapshot() -> None:
    feed = Feed("e", limit=10)
    slow, _ = feed.subscribe("")
    lost = []
    for key in range(11):
        feed.note((key, ""))
        lost.append(slow.lost)
    assert lost == [False] * 10 + [True]

    slow.restart()
    lost.append(slow.lost)
    assert not lost[-1]
    feed.note((11, ""))
    assert slow.wake.is_set()


@pytest.mark.asyncio
async def test_who_does_not_read_a_run_gets_the_rest_from_the_disk() -> None:
    watcher = Watcher(limit=10)
    watcher.push([HistoryEvent(seq=number) for number in range(10)])
    assert len(watcher.events) == 10

    watcher.push([HistoryEvent(seq=10)])
    assert watcher.lagging
    assert not watcher.events
    watcher.push([HistoryEvent(seq=11)])
    assert not watcher.events


def test_large_payloads_that_wait_for_the_disk_are_counted_once() -> None:
    store: Any = None
    cache = PayloadCache(store)
    one, other = Payload(data=b"x" * 100), Payload(data=b"y" * 10)
    cache.pin(b"1", one)
    cache.pin(b"1", one)
    cache.pin(b"2", other)
    assert cache.pinned_bytes == 110

    cache.unpin([b"1", b"2"])
    assert cache.pinned_bytes == 100
    cache.unpin([b"1"])
    assert cache.pinned_bytes == 0
    assert asyncio.run(cache.load([b"1", b"2"])) == {b"1": one, b"2": other}


class AtOnce:
    """What a WaitRuns stream asks; every run has ended long ago."""

    def __init__(self) -> None:
        self.validator = Validator(Limits(), lambda name: name == "default")
        self.runtime = SimpleNamespace(health=SimpleNamespace(sleep=asyncio.Event.wait), closers=Closers(10))

    async def on_close(self, _namespace: str, run_id: str, _closer: Closer) -> RunOutcome:
        return RunOutcome(run_id=run_id)


@pytest.mark.asyncio
async def test_who_does_not_read_the_ends_of_runs_is_not_read_from_either() -> None:
    named = 0

    async def requests() -> AsyncIterator[WaitRunsRequest]:
        nonlocal named
        while named < 5_000:
            named += 500
            yield WaitRunsRequest(run_ids=[f"r{number}" for number in range(named - 500, named)])

    methods: Any = AtOnce()
    waits = _Waits(methods)
    reader = asyncio.ensure_future(waits.read(requests()))
    for _ in range(20):
        await asyncio.sleep(0)
    assert named == UNSENT_MAX + 500

    ended: list[str] = []
    while (answer := await waits.next()) is not None:
        ended += [one.run_id for one in answer.outcomes]
        assert named - len(ended) <= UNSENT_MAX + 500
    await reader
    assert ended == [f"r{number}" for number in range(5_000)]


def test_changes_are_refused_while_too_many_bytes_wait_for_the_disk() -> None:
    server: Any = SimpleNamespace(
        health=SimpleNamespace(writable=True),
        journal=SimpleNamespace(check_room=lambda: None),
        payloads=SimpleNamespace(pinned_bytes=1_000),
        settings=RuntimeSettings(uncommitted_bytes=1_000),
    )
    Runtime.check_writable(server)

    server.payloads.pinned_bytes = 1_001
    with pytest.raises(Refused) as caught:
        Runtime.check_writable(server)
    assert caught.value.reason == ErrorReason.ERROR_REASON_STORE_UNAVAILABLE
    assert caught.value.metadata == {"limit": "uncommitted_bytes", "value": "1000", "actual": "1001"}
