"""Two clocks: leases, polls and workers go by one that nobody sets, limits of attempts by another."""

import pytest

from holdfast_server.clock import Clocks
from holdfast_server.matching.matching import Matching, Tokens
from tests.unit.hand_clock import HandClock
from tests.unit.matching.world import HELD, KEY, LEASE_US, NAMESPACE, PARK_US, SECOND_US, World, settle_loop


def _with_two_clocks() -> tuple[World, HandClock]:
    """A world whose workers live by a clock of their own, as with a clock of the runs that skips time."""
    world = World()
    world.clock.forget()
    alive = HandClock(world.now_us)
    clocks = Clocks(runs=world.clock, attempts=world.clock, workers=alive)
    world.matching = Matching(world.owner, Tokens(KEY, 1), clocks, world.settings)
    world.matching.dispatch()
    return world, alive


def test_limits_of_attempts_go_by_another_clock_than_leases() -> None:
    world, alive = _with_two_clocks()
    world.owner.start_to_close_us = 600 * SECOND_US
    world.offer(1, 2)
    tasks = world.take()

    world.pass_time(599)
    assert world.owner.ended == []
    assert world.beat(tasks=tasks) == [HELD, HELD]
    world.pass_time(1)
    assert world.owner.ended == [(1, "a", 1, "start_to_close"), (2, "a", 1, "start_to_close")]

    world.offer(3)
    (third,) = world.take()
    assert world.beat(tasks=[third]) == [HELD]
    alive.pass_to(alive.time_us + LEASE_US)
    assert world.owner.ended[2:] == [(3, "a", 1, "lost")]


def test_the_silence_of_a_handler_goes_by_the_clock_of_attempts() -> None:
    world, alive = _with_two_clocks()
    world.owner.heartbeat_us = 10 * SECOND_US
    world.offer(1)
    tasks = world.take()

    world.pass_time(9)
    world.beat(tasks=tasks, alive=True)
    alive.pass_to(alive.time_us + 20 * SECOND_US)
    world.pass_time(9)
    assert world.owner.ended == []
    world.pass_time(1)
    assert world.owner.ended == [(1, "a", 1, "heartbeat")]


@pytest.mark.asyncio
async def test_a_parked_poll_goes_by_the_clock_of_workers() -> None:
    world, alive = _with_two_clocks()
    poll = world.park()
    await settle_loop()

    world.pass_time(365 * 24 * 3600)
    await settle_loop()
    assert not poll.done()
    assert [one.worker.id for one in world.matching.workers(NAMESPACE)] == ["w1"]
    alive.pass_to(alive.time_us + PARK_US)

    assert await poll == []


def test_a_limit_that_does_not_matter_any_more_is_not_slept_for() -> None:
    world, _alive = _with_two_clocks()
    limits = world.clock.alarms[-1]
    world.offer(1)
    (task,) = world.take()
    assert limits.wake_us is not None
    world.settle(task)

    limits.look()
    assert limits.wake_us is None
