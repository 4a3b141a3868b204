"""Workers, the queues each serves and the polls that wait are bounded: at each limit, and one over."""

import asyncio

import pytest

from holdfast_server.engine.refusal import Refused
from holdfast_server.matching.matching import MatchingSettings
from tests.unit.matching.world import NAMESPACE, World, info, runs, settle_loop


def refused(limit: str, value: int) -> dict[str, str]:
    return {"limit": limit, "value": str(value), "actual": str(value + 1)}


@pytest.mark.asyncio
async def test_as_many_polls_park_as_allowed_and_one_more_once_one_has_left() -> None:
    world = World(MatchingSettings(parked_polls=2))
    parked = [world.park(f"w{number}") for number in range(2)]
    await settle_loop()

    with pytest.raises(Refused) as caught:
        await world.park("w2")
    assert caught.value.metadata == refused("parked_polls", 2)

    parked[0].cancel()
    await asyncio.gather(parked[0], return_exceptions=True)
    third = world.park("w2")
    await settle_loop()
    assert not third.done()
    world.offer(1, 2)
    world.matching.dispatch()
    assert sorted(runs(await parked[1]) + runs(await third)) == [1, 2]


@pytest.mark.asyncio
async def test_a_poll_that_need_not_wait_is_served_over_the_limit() -> None:
    world = World(MatchingSettings(parked_polls=0))
    world.offer(1)

    assert runs(await world.park()) == [1]


def test_as_many_workers_are_known_as_allowed_and_one_more_once_one_is_forgotten() -> None:
    world = World(MatchingSettings(workers=2))
    world.take("w0")
    world.take("w1")

    with pytest.raises(Refused) as caught:
        world.take("w2")
    assert caught.value.metadata == refused("workers", 2) | {"field": "worker.id"}
    for call in (world.matching.present, world.matching.drain):
        with pytest.raises(Refused, match="the limit workers is 2"):
            call(NAMESPACE, info("w2"))
    with pytest.raises(Refused, match="the limit workers is 2"):
        world.matching.heartbeat(NAMESPACE, info("w2"), [], all_held=True)
    world.take("w1")

    world.pass_time(61)
    world.take("w2")


def test_what_workers_had_before_a_restart_counts_but_is_never_refused() -> None:
    world = World(MatchingSettings(workers=1))
    world.restart()
    world.matching.held(world.task(1), "w1", 1)
    world.matching.held(world.task(2), "w2", 2)

    world.matching.present(NAMESPACE, info("w1"))
    world.matching.present(NAMESPACE, info("w2"))


def test_a_worker_serves_as_many_queues_as_allowed() -> None:
    world = World(MatchingSettings(worker_queues=2))
    world.take(queue="a")
    world.take(queue="b")

    with pytest.raises(Refused) as caught:
        world.take(queue="c")
    assert caught.value.metadata == refused("worker_queues", 2) | {"field": "queue"}
    world.take(queue="a")
    world.take("w2", queue="c")
    assert [one.queue for one in world.matching.queues(NAMESPACE)] == ["a", "b", "c"]
