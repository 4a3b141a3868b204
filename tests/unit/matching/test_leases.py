"""Leases: who holds what, how long, and what becomes of it in the end."""

import pytest

from holdfast.v1.payload_pb2 import Payload
from holdfast.v1.worker_service_pb2 import HeldTask
from holdfast_server.matching.details import HeartbeatDetails
from holdfast_server.matching.matching import TokenInvalidError, TokenStaleError
from tests.unit.matching.world import CANCEL, HELD, LOST, NAMESPACE, SECOND_US, World, info


def _claim(world: World, token: bytes, worker: str = "w1", session: str = "s1") -> tuple[int, str, int, int, bool]:
    present = world.matching.present(NAMESPACE, info(worker, session))
    return tuple(world.matching.claim(present, token))  # type: ignore[return-value]


def test_a_claim_tells_what_the_result_is_for_and_leaves_the_lease() -> None:
    world = World()
    world.offer(7)
    (task,) = world.take()

    assert _claim(world, task.token) == (7, "a", 1, 1, False)
    assert _claim(world, task.token) == (7, "a", 1, 1, False)


def test_a_settled_lease_is_stale_and_says_which_it_was() -> None:
    world = World()
    world.offer(7)
    (task,) = world.take()
    world.settle(task)

    with pytest.raises(TokenStaleError) as stale:
        _claim(world, task.token)
    assert tuple(stale.value.content) == (7, 1, 1, 1, "a")


def test_nobody_can_claim_with_the_token_of_another() -> None:
    world = World()
    world.offer(7)
    (task,) = world.take("w1")

    with pytest.raises(TokenInvalidError):
        _claim(world, task.token, worker="w2")
    assert world.beat("w2", [task]) == [LOST]
    assert world.beat("w1", [task]) == [HELD]


def test_settling_a_lease_that_ended_meanwhile_leaves_the_next_attempt_alone() -> None:
    world = World()
    world.offer(7)
    (task,) = world.take()
    present = world.matching.present(NAMESPACE, info())
    claim = world.matching.claim(present, task.token)
    world.matching.withdraw(7, "a")
    world.offer(7, attempt=2)

    world.matching.settled(claim)

    assert [task.attempt for task in world.take()] == [2]


def test_settling_a_lease_that_ended_meanwhile_leaves_the_next_lease_alone() -> None:
    world = World()
    world.offer(7)
    (task,) = world.take()
    claim = world.matching.claim(world.matching.present(NAMESPACE, info()), task.token)
    world.beat(all_held=True)
    world.offer(7)
    again = world.take("w2")

    world.matching.settled(claim)

    assert world.beat("w2", again) == [HELD]


def test_a_lease_that_went_back_is_stale_although_nobody_has_the_attempt_now() -> None:
    world = World()
    world.offer(7)
    tasks = world.take()
    world.beat(all_held=True)
    world.offer(7)

    with pytest.raises(TokenStaleError):
        _claim(world, tasks[0].token)
    assert world.beat(tasks=tasks) == [LOST]
    assert len(world.take("w2")) == 1


def test_a_silent_worker_loses_what_it_has_after_30_s() -> None:
    world = World()
    world.offer(1, 2)
    world.take()

    world.pass_time(29.9)
    assert world.owner.ended == []
    world.pass_time(0.1)

    assert world.owner.ended == [(1, "a", 1, "lost"), (2, "a", 1, "lost")]
    assert world.owner.returned == []


def test_heartbeats_keep_a_lease() -> None:
    world = World()
    world.offer(1)
    tasks = world.take()
    for _ in range(20):
        world.pass_time(10)
        assert world.beat(tasks=tasks) == [HELD]

    world.pass_time(29.9)
    assert world.owner.ended == []
    world.pass_time(0.2)
    assert world.owner.ended == [(1, "a", 1, "lost")]
    assert world.beat(tasks=tasks) == [LOST]
    with pytest.raises(TokenStaleError):
        _claim(world, tasks[0].token)


def test_any_call_of_the_worker_keeps_what_it_has_shown_to_have() -> None:
    world = World()
    world.offer(1)
    tasks = world.take()
    world.beat(tasks=tasks)
    for _ in range(10):
        world.pass_time(20)
        world.take()

    assert world.owner.ended == []
    assert world.beat(tasks=tasks) == [HELD]


def test_what_a_living_worker_never_listed_goes_back_unused() -> None:
    world = World()
    world.offer(1)
    world.take()  # the answer does not arrive
    for _ in range(3):
        world.pass_time(10)
        world.beat()

    assert world.owner.returned == [(1, "a", 1)]
    assert world.owner.ended == []


def test_unlisted_leases_go_back_twice_and_are_lost_the_third_time() -> None:
    world = World()
    for _ in range(3):
        world.offer(1)
        assert len(world.take()) == 1
        world.beat(all_held=True)

    assert world.owner.returned == [(1, "a", 1)] * 2
    assert world.owner.ended == [(1, "a", 1, "lost")]


def test_each_attempt_may_go_back_twice() -> None:
    world = World()
    for attempt in (1, 2):
        for _ in range(2):
            world.offer(1, attempt=attempt)
            world.take()
            world.beat(all_held=True)

    assert len(world.owner.returned) == 4
    assert world.owner.ended == []


def test_listed_leases_stay_when_everything_is_listed() -> None:
    world = World()
    world.offer(1, 2, 3)
    tasks = world.take()

    assert world.beat(tasks=tasks[1:2], all_held=True) == [HELD]
    assert world.owner.returned == [(1, "a", 1), (3, "a", 1)]


def test_an_ordinary_heartbeat_returns_nothing() -> None:
    world = World()
    world.offer(1, 2)
    tasks = world.take()
    world.beat(tasks=tasks[:1])

    assert world.owner.returned == []


def test_start_to_close_ends_an_attempt_whatever_its_worker_says() -> None:
    world = World()
    world.owner.start_to_close_us = 45 * SECOND_US
    world.offer(1)
    tasks = world.take()
    for _ in range(4):
        world.pass_time(11)
        world.beat(tasks=tasks, alive=True)
    assert world.owner.ended == []
    world.pass_time(1)

    assert world.owner.ended == [(1, "a", 1, "start_to_close")]
    assert world.matching.workers(NAMESPACE)[0].slots_used == 0


@pytest.mark.parametrize("limit_us", [1, 1_000, 999_999, 1_000_000, 1_000_001])
def test_a_short_start_to_close_is_kept_to_the_microsecond(limit_us: int) -> None:
    world = World()
    world.owner.start_to_close_us = limit_us
    world.offer(1)
    world.take()
    world.pass_time((limit_us - 1) / SECOND_US)
    assert world.owner.ended == []
    world.pass_time(0.000_001)

    assert world.owner.ended == [(1, "a", 1, "start_to_close")]


def test_a_handler_that_falls_silent_ends_its_attempt() -> None:
    world = World()
    world.owner.heartbeat_us = 5 * SECOND_US
    world.offer(1)
    tasks = world.take()
    for _ in range(5):
        world.pass_time(4)
        world.beat(tasks=tasks, alive=True)
    world.pass_time(4)
    world.beat(tasks=tasks)  # the worker lives, the handler says nothing
    assert world.owner.ended == []
    world.pass_time(1)

    assert world.owner.ended == [(1, "a", 1, "heartbeat")]


def test_a_cancel_is_told_with_the_heartbeat() -> None:
    world = World()
    world.offer(1, 2)
    tasks = world.take()
    world.matching.request_cancel(1, "a", 1)
    world.matching.request_cancel(2, "a", 9)
    world.matching.request_cancel(3, "a", 1)

    assert world.beat(tasks=tasks) == [CANCEL, HELD]
    assert _claim(world, tasks[0].token)[0] == 1


def test_a_withdrawn_lease_is_lost() -> None:
    world = World()
    world.offer(1)
    tasks = world.take()
    world.matching.withdraw(1, "a")

    assert world.beat(tasks=tasks) == [LOST]


def test_forged_tokens_are_lost_and_hurt_nobody_else() -> None:
    world = World()
    world.offer(1)
    (task,) = world.take()
    held = [HeldTask(token=b"nonsense"), HeldTask(token=task.token), HeldTask()]

    assert world.matching.heartbeat(NAMESPACE, info(), held, all_held=False) == [LOST, HELD, LOST]


def test_details_of_heartbeats_are_there_for_the_next_attempt_until_the_run_closes() -> None:
    world = World()
    world.offer(1)
    (task,) = world.take()
    page = Payload(data=b"17")
    world.matching.heartbeat(NAMESPACE, info(), [HeldTask(token=task.token, details=page)], all_held=False)
    world.beat(tasks=[task], alive=True)
    world.settle(task)
    world.matching.withdraw(1, "a")
    world.offer(1, attempt=2)

    assert world.take()[0].heartbeat_details == page
    assert world.matching.heartbeat_details(1, "a") == page
    assert world.matching.heartbeat_details(1, "b") is None
    world.matching.withdraw_run(1)
    assert world.matching.heartbeat_details(1, "a") is None


def test_details_stay_within_their_limit_and_the_silent_go_first() -> None:
    details = HeartbeatDetails(1_000)
    for run in range(1, 10):
        details.put(run, "a", Payload(data=bytes(300)))
        details.put(1, "a", Payload(data=bytes(290 + run)))

    assert details.size_bytes <= 1_000
    assert details.get(1, "a") == Payload(data=bytes(299))
    assert details.get(9, "a") is not None
    assert details.get(2, "a") is None
    details.put(3, "a", Payload(data=bytes(2_000)))
    assert details.size_bytes == 0


def test_a_closed_server_ends_nothing_by_time() -> None:
    world = World()
    world.offer(1)
    world.take()
    world.matching.close()
    world.pass_time(100)

    assert world.owner.ended == []
