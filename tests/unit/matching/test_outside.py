"""Attempts of runs that are not in memory: counted, fetched before workers run out of others, oldest first."""

import asyncio

import pytest

from tests.unit.matching.world import HANDLER, NAMESPACE, QUEUE, World, runs

ASKED = (NAMESPACE, QUEUE, HANDLER)


def _back(world: World, *numbers: int, since_us: int = 1) -> None:
    """The runs are fetched, and their attempts offered."""
    for number in numbers:
        world.matching.offer(world.task(number, since_us=since_us))
        world.matching.came_back(*ASKED)


def test_a_run_that_leaves_takes_its_attempts_along() -> None:
    world = World()
    world.offer(1, 2)
    world.matching.set_aside(1)

    assert world.matching.waiting_of(1) == []
    (queue,) = world.matching.queues(NAMESPACE)
    assert (queue.queued, list(queue.unserved_handlers)) == (2, [HANDLER])
    assert runs(world.take()) == [2]


def test_a_run_workers_are_busy_with_does_not_leave() -> None:
    world = World()
    world.offer(1)
    world.offer(1, path="b")
    waiting = world.matching.waiting_of(1)
    assert waiting is not None
    assert len(waiting) == 2
    world.take(slots=1)

    assert world.matching.waiting_of(1) is None


def test_workers_who_have_time_let_some_be_fetched_once() -> None:
    world = World()
    world.matching.waits_outside(*ASKED, 5, 7)
    assert world.take() == []
    world.take()
    assert world.owner.fetched == [ASKED]

    _back(world, 1, 2)
    world.matching.fetched(*ASKED, 9)
    assert runs(world.take()) == [1, 2]
    assert world.owner.fetched == [ASKED, ASKED]


def test_those_for_other_handlers_stay_out() -> None:
    world = World()
    world.matching.waits_outside(NAMESPACE, QUEUE, "other", 5, 7)
    world.take()

    assert world.owner.fetched == []


def test_what_has_waited_longer_outside_is_fetched_though_others_wait_here() -> None:
    world = World()
    world.offer(*range(1, 400))
    world.matching.waits_outside(*ASKED, 1, world.now_us + 1)
    world.take(slots=1)
    assert world.owner.fetched == [], "all that waits here has waited longer"

    world.matching.waits_outside(*ASKED, 1, world.now_us - 1)
    world.take(slots=2)
    assert world.owner.fetched == [ASKED]
    _back(world, 1_000, since_us=world.now_us - 1)
    world.matching.fetched(*ASKED, world.now_us + 1)
    assert runs(world.take(slots=3))[0] == 1_000


@pytest.mark.asyncio
async def test_a_parked_poll_has_them_fetched_and_gets_them() -> None:
    world = World()
    poll = world.park()
    await asyncio.sleep(0)
    world.matching.waits_outside(*ASKED, 1, 7)
    world.matching.dispatch()
    assert world.owner.fetched == [ASKED]
    _back(world, 1)
    world.matching.fetched(*ASKED, None)

    assert runs(await poll) == [1]


def test_a_queue_is_known_as_long_as_something_waits_outside() -> None:
    world = World()
    world.matching.waits_outside(*ASKED, 2, 7)
    (queue,) = world.matching.queues(NAMESPACE)
    assert (queue.queued, queue.oldest_time.ToMicroseconds()) == (2, 7)
    world.take()
    _back(world, 1, 2)
    world.matching.fetched(*ASKED, None)
    for task in world.take():
        world.settle(task)

    assert [one.queued for one in world.matching.queues(NAMESPACE)] in ([], [0])
    world.take()
    assert world.owner.fetched == [ASKED]


def test_what_goes_out_while_others_are_fetched_is_not_forgotten() -> None:
    world = World()
    world.matching.waits_outside(*ASKED, 1, 7)
    world.take()
    world.matching.offer(world.task(5, since_us=9))
    world.matching.set_aside(5)
    _back(world, 1)
    world.matching.fetched(*ASKED, None)
    assert runs(world.take()) == [1]

    world.take()
    assert world.owner.fetched == [ASKED, ASKED]
    assert [one.oldest_time.ToMicroseconds() for one in world.matching.queues(NAMESPACE)] == [9]


def test_what_cannot_be_fetched_is_asked_for_no_more() -> None:
    world = World()
    world.matching.waits_outside(*ASKED, 1, 7)
    world.take()
    world.matching.fetched(*ASKED, None)
    world.take()

    assert world.owner.fetched == [ASKED]
