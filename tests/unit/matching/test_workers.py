"""Workers: sessions, presence, and what lists show."""

import asyncio

import pytest

from holdfast.v1.task_pb2 import QueueSummary, WorkerInfo, WorkerQueue
from holdfast_server.engine.times import timestamp
from holdfast_server.matching.matching import SessionSuperseded
from tests.unit.matching.world import HELD, LOST, NAMESPACE, SECOND_US, World, info, runs, settle_loop


def test_a_new_process_under_the_same_id_frees_what_the_old_one_had_at_once() -> None:
    world = World()
    world.offer(1, 2)
    tasks = world.take(slots=2, session="s1")

    assert world.take(slots=2, session="s2") == []
    assert sorted(world.owner.returned) == [(1, "a", 1), (2, "a", 1)]
    assert world.beat(tasks=tasks, session="s2") == [LOST, LOST]


def test_a_process_that_dies_of_a_task_again_and_again_loses_it_in_the_end() -> None:
    world = World()
    for number in range(4):
        world.take(session=f"s{number}")
        world.offer(1)
        world.take(session=f"s{number}")

    assert world.owner.returned == [(1, "a", 1)] * 2
    assert world.owner.ended == [(1, "a", 1, "lost")]


@pytest.mark.asyncio
async def test_a_superseded_process_is_told_so() -> None:
    world = World()
    old = world.park(session="s1")
    await settle_loop()
    world.take(session="s2")

    assert await old == []
    with pytest.raises(SessionSuperseded, match="give each process an id of its own") as refused:
        world.take(session="s1")
    assert refused.value.metadata == {"worker_id": "w1", "session_id": "s1"}
    world.offer(1)
    (task,) = world.take(session="s2")
    assert world.beat(tasks=[task], session="s1", all_held=True) == [LOST]
    assert world.beat(tasks=[task], session="s2") == [HELD]
    with pytest.raises(SessionSuperseded):
        world.matching.drain(NAMESPACE, info("w1", "s1"))


def test_a_new_process_may_work_although_the_old_one_drained() -> None:
    world = World()
    world.matching.drain(NAMESPACE, info("w1", "s1"))
    world.offer(1)

    assert world.take(session="s1") == []
    assert runs(world.take(session="s2")) == [1]


@pytest.mark.asyncio
async def test_listing_everything_ends_polls_the_worker_has_left() -> None:
    world = World()
    left = world.park()
    await settle_loop()
    world.beat(all_held=True)

    assert await left == []


def test_workers_of_two_namespaces_may_share_an_id() -> None:
    world = World()
    world.offer(1)
    (task,) = world.take()
    world.matching.take("other", info("w1", "another-process"), "default", ["search"], 5)

    assert world.beat(tasks=[task]) == [HELD]
    assert world.owner.returned == []
    assert len(world.matching.workers("other")) == 1


def test_a_handler_is_served_as_long_as_a_worker_is_there() -> None:
    world = World()
    assert not world.matching.serves(NAMESPACE, "default", "search")
    world.take()

    assert world.matching.serves(NAMESPACE, "default", "search")
    assert not world.matching.serves(NAMESPACE, "default", "other")
    assert not world.matching.serves(NAMESPACE, "other", "search")
    assert not world.matching.serves("other", "default", "search")
    for _ in range(4):
        world.pass_time(20)
        world.beat()
    assert world.matching.serves(NAMESPACE, "default", "search")
    world.pass_time(30)
    assert not world.matching.serves(NAMESPACE, "default", "search")
    assert world.matching.workers(NAMESPACE) == []
    assert world.matching.queues(NAMESPACE) == []


@pytest.mark.asyncio
async def test_a_parked_poll_is_presence() -> None:
    world = World()
    poll = world.park()
    await settle_loop()
    world.pass_time(55)

    assert world.matching.serves(NAMESPACE, "default", "search")
    poll.cancel()
    await asyncio.gather(poll, return_exceptions=True)


def test_a_draining_worker_serves_nothing() -> None:
    world = World()
    world.take()
    world.matching.drain(NAMESPACE, info())

    assert not world.matching.serves(NAMESPACE, "default", "search")
    assert world.matching.workers(NAMESPACE)[0].draining


def test_a_worker_serves_what_it_said_last() -> None:
    world = World()
    world.take(handlers=["a", "b"])
    world.take(handlers=["b", "c"])
    world.take(handlers=["a"], queue="other")

    assert not world.matching.serves(NAMESPACE, "default", "a")
    assert world.matching.serves(NAMESPACE, "default", "c")
    (summary,) = world.matching.workers(NAMESPACE)
    assert list(summary.queues) == [
        WorkerQueue(queue="default", handlers=["b", "c"]),
        WorkerQueue(queue="other", handlers=["a"]),
    ]


def test_a_worker_as_lists_show_it() -> None:
    world = World()
    world.offer(1, 2)
    world.take("w2", slots=7)
    world.pass_time(3)
    who = WorkerInfo(id="w1", session_id="s", language="go", sdk_version="1", build_id="b", identity="me@here")
    world.matching.take(NAMESPACE, who, "default", ["search"], 3)

    first, second = world.matching.workers(NAMESPACE)
    assert first.worker == who
    assert (second.worker.id, second.slots_total, second.slots_used) == ("w2", 7, 2)
    assert first.last_seen_time == timestamp(world.now_us)
    assert second.last_seen_time == timestamp(world.now_us - 3 * SECOND_US)


def test_queues_as_lists_show_them() -> None:
    world = World()
    began_us = world.now_us
    world.offer(1, 2, 3)
    world.take("w1", slots=2)
    world.take("w2", slots=1, handlers=["other"])
    world.pass_time(5)
    world.offer(4, queue="lonely", handler="resize")
    world.offer(5, handler="unknown")

    assert world.matching.queues(NAMESPACE) == [
        QueueSummary(
            queue="default",
            queued=2,
            running=2,
            oldest_time=timestamp(began_us),
            workers=2,
            slots_free=1,
            unserved_handlers=["unknown"],
        ),
        QueueSummary(queue="lonely", queued=1, oldest_time=timestamp(world.now_us), unserved_handlers=["resize"]),
    ]
    assert world.matching.queues("other") == []


def test_a_worker_known_only_from_before_the_restart_is_not_listed() -> None:
    world = World()
    world.matching.held(world.task(1), "w1", 1)
    world.matching.dispatch()

    assert world.matching.workers(NAMESPACE) == []
    assert not world.matching.serves(NAMESPACE, "default", "search")
    world.pass_time(100)
    assert world.matching.queues(NAMESPACE) == []


def test_what_waits_and_what_runs_is_counted_wherever_it_is() -> None:
    world = World()
    world.offer(1, 2)
    world.offer(3, queue="other")
    assert (world.matching.waiting, world.matching.running) == (3, 0)
    (task,) = world.take(slots=1)
    assert (world.matching.waiting, world.matching.running) == (2, 1)
    world.matching.set_aside(2)
    world.matching.set_aside(3)
    assert (world.matching.waiting, world.matching.running) == (2, 1)
    assert [attempt.run_key for attempt in world.matching.attempts()] == [1]

    world.settle(task)
    assert (world.matching.waiting, world.matching.running) == (2, 0)
