"""Parked polls: woken by tasks, by time, by draining; served fairly; left without losing anything."""

import asyncio

import pytest

from tests.unit.matching.world import NAMESPACE, QUEUE, World, info, runs, settle_loop


@pytest.mark.asyncio
async def test_a_parked_poll_gets_what_is_dispatched() -> None:
    world = World()
    poll = world.park()
    await settle_loop()
    world.offer(1, 2)
    await settle_loop()
    assert not poll.done()

    world.matching.dispatch()

    assert runs(await poll) == [1, 2]


@pytest.mark.asyncio
async def test_a_poll_takes_at_once_what_is_there() -> None:
    world = World()
    world.offer(1)

    assert runs(await world.park()) == [1]


@pytest.mark.asyncio
async def test_a_poll_without_parking_time_does_not_park() -> None:
    world = World()

    assert await world.matching.poll(NAMESPACE, info(), QUEUE, ["search"], 1, 0) == []
    assert await world.matching.poll(NAMESPACE, info(), QUEUE, [], 1, 1_000_000) == []


@pytest.mark.asyncio
async def test_a_poll_is_answered_empty_when_its_time_is_over() -> None:
    world = World()
    poll = world.park()
    await settle_loop()

    world.pass_time(59.9)
    await settle_loop()
    assert not poll.done()
    world.pass_time(0.1)

    assert await poll == []


@pytest.mark.asyncio
async def test_a_completion_takes_first_and_the_rest_goes_to_parked_polls() -> None:
    world = World()
    world.offer(1, 2)
    first = world.take("w1", slots=2)
    idle = world.park("w2")
    await settle_loop()
    for task in first:
        world.settle(task)
    world.offer(3, 4, 5)

    assert runs(world.take("w1", slots=2)) == [3, 4]
    world.matching.dispatch()
    assert runs(await idle) == [5]


@pytest.mark.asyncio
async def test_a_completion_does_not_hoard_what_idle_workers_could_do() -> None:
    world = World()
    world.offer(0)
    (task,) = world.take("w0", slots=100)
    polls = [world.park(f"w{number}", slots=100) for number in range(1, 4)]
    await settle_loop()
    world.settle(task, "w0")
    world.offer(*range(1, 41))

    assert len(world.take("w0", slots=100)) == 10
    world.matching.dispatch()
    assert [len(await poll) for poll in polls] == [10, 10, 10]


@pytest.mark.asyncio
async def test_a_single_poll_gets_a_batch() -> None:
    world = World()
    poll = world.park(slots=100)
    await settle_loop()
    world.offer(*range(70))
    world.matching.dispatch()

    assert runs(await poll) == list(range(70))


@pytest.mark.asyncio
async def test_tasks_are_spread_by_free_slots() -> None:
    world = World()
    small, large = world.park("small", slots=10), world.park("large", slots=30)
    await settle_loop()
    world.offer(*range(20))
    world.matching.dispatch()

    assert (len(await small), len(await large)) == (5, 15)


@pytest.mark.asyncio
async def test_few_tasks_go_to_those_who_have_waited_longest() -> None:
    world = World()
    polls = []
    for number in range(5):
        polls.append(world.park(f"w{number}"))
        await settle_loop()
    world.offer(1, 2)
    world.matching.dispatch()
    await settle_loop()

    assert [poll.done() for poll in polls] == [True, True, False, False, False]
    world.offer(3)
    world.matching.dispatch()
    await settle_loop()
    assert [poll.done() for poll in polls] == [True, True, True, False, False]
    world.matching.drain_all()
    await asyncio.gather(*polls)


@pytest.mark.asyncio
async def test_tasks_nobody_here_serves_do_not_spoil_the_spread() -> None:
    world = World()
    world.offer(*range(1_000, 1_100), handler="unserved")
    polls = [world.park(f"w{number}") for number in range(2)]
    await settle_loop()
    world.offer(1, 2, 3, 4)
    world.matching.dispatch()

    assert [runs(await poll) for poll in polls] == [[1, 2], [3, 4]]


@pytest.mark.asyncio
async def test_each_poll_gets_only_its_handlers_when_groups_differ() -> None:
    world = World()
    both = world.park("both", handlers=["a", "b"])
    only_a = world.park("only_a", handlers=["a"])
    only_b = world.park("only_b", handlers=["b"])
    await settle_loop()
    for run, handler in enumerate("aaabbb"):
        world.offer(run, handler=handler)
    world.matching.dispatch()

    answers = [await both, await only_a, await only_b]
    assert sorted(run for tasks in answers for run in runs(tasks)) == list(range(6))
    assert {task.handler for task in answers[1]} == {"a"}
    assert {task.handler for task in answers[2]} == {"b"}
    assert all(answers)


@pytest.mark.asyncio
async def test_full_workers_are_passed_over_and_served_once_they_have_a_slot() -> None:
    world = World()
    world.offer(1)
    (task,) = world.take("w1", slots=1)
    full = world.park("w1", slots=1)
    await settle_loop()
    world.offer(2)
    world.matching.dispatch()
    await settle_loop()
    assert not full.done()

    world.settle(task)
    world.pass_time(0.1)  # no commit follows, so nobody calls dispatch

    assert runs(await full) == [2]


@pytest.mark.asyncio
async def test_polls_of_one_worker_never_get_more_than_its_slots() -> None:
    world = World()
    polls = [world.park("w1", slots=5) for _ in range(3)]
    await settle_loop()
    world.offer(*range(20))
    world.matching.dispatch()
    await settle_loop()

    assert sum(len(poll.result()) for poll in polls if poll.done()) == 5
    assert world.matching.workers(NAMESPACE)[0].slots_used == 5
    world.matching.drain_all()
    await asyncio.gather(*polls)


@pytest.mark.asyncio
async def test_a_poll_that_was_left_gets_nothing() -> None:
    world = World()
    left, other = world.park("w1"), world.park("w2")
    await settle_loop()
    left.cancel()
    world.offer(1)
    world.matching.dispatch()

    assert runs(await other) == [1]
    with pytest.raises(asyncio.CancelledError):
        await left
    assert world.owner.returned == []


@pytest.mark.asyncio
async def test_a_poll_left_after_it_was_given_tasks_gives_them_back_unused() -> None:
    world = World()
    poll = world.park("w1")
    await settle_loop()
    world.offer(1, 2)
    world.matching.dispatch()
    poll.cancel()
    with pytest.raises(asyncio.CancelledError):
        await poll

    assert world.owner.returned == [(1, "a", 1), (2, "a", 1)]
    assert world.matching.workers(NAMESPACE)[0].slots_used == 0
    world.offer(1, 2)
    assert runs(world.take("w2")) == [1, 2]


@pytest.mark.asyncio
async def test_draining_answers_polls_and_hands_out_nothing_more() -> None:
    world = World()
    mine, theirs = world.park("w1"), world.park("w2")
    await settle_loop()

    world.matching.drain(NAMESPACE, info("w1"))

    assert await mine == []
    world.offer(1)
    assert await world.park("w1") == []
    assert world.take("w1") == []
    world.matching.dispatch()
    assert runs(await theirs) == [1]


@pytest.mark.asyncio
async def test_a_server_that_drains_answers_everybody() -> None:
    world = World()
    polls = [world.park(f"w{number}") for number in range(3)]
    await settle_loop()

    world.matching.drain_all()
    world.offer(1)
    world.matching.dispatch()

    assert [await poll for poll in polls] == [[], [], []]
    assert await world.park("w9") == []
    assert world.take("w9") == []


@pytest.mark.asyncio
async def test_thousands_of_polls_and_a_burst() -> None:
    world = World()
    polls = [world.park(f"w{number}", slots=5) for number in range(1_000)]
    await settle_loop()
    world.offer(*range(3_000))
    world.matching.dispatch()
    answers = await asyncio.gather(*polls)

    assert [len(tasks) for tasks in answers] == [3] * 1_000
    assert sorted(run for tasks in answers for run in runs(tasks)) == list(range(3_000))
