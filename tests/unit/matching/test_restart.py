"""After a restart: workers keep what they have, the rest is handed out again, and no attempt is used up."""

import pytest

from holdfast.v1.task_pb2 import Task
from holdfast_server.matching.matching import TokenStaleError
from tests.unit.matching.world import CANCEL, HELD, LOST, NAMESPACE, SECOND_US, World, info, runs


def _handed_out(*run_keys: int, worker: str = "w1") -> tuple[World, list[Task]]:
    world = World()
    world.offer(*run_keys)
    return world, world.take(worker)


def _claim(world: World, task: Task, worker: str = "w1") -> bool:
    present = world.matching.present(NAMESPACE, info(worker))
    return world.matching.claim(present, task.token).adopted


def test_a_lease_that_is_on_disk_is_adopted_by_heartbeat() -> None:
    world, tasks = _handed_out(1)
    world.restart()
    world.matching.held(world.task(1), "w1", 1)
    world.matching.dispatch()

    assert world.beat(tasks=tasks, all_held=True) == [HELD]
    assert world.owner.adoptions == [(1, "a", 1, "w1", 1)]
    world.pass_time(29)
    assert world.beat(tasks=tasks) == [HELD]
    assert _claim(world, tasks[0]) is False
    assert len(world.owner.adoptions) == 1
    assert world.owner.returned == []


def test_a_lease_that_never_reached_the_disk_is_adopted_from_the_queue() -> None:
    world, tasks = _handed_out(1)
    world.restart()
    world.offer(1)

    assert _claim(world, tasks[0]) is True
    assert world.owner.adoptions == [(1, "a", 1, "w1", 1)]
    assert world.take("w2") == []
    world.settle(tasks[0])
    assert world.matching.workers(NAMESPACE)[0].slots_used == 0


def test_an_attempt_that_somebody_else_has_by_now_is_stale() -> None:
    world, tasks = _handed_out(1)
    world.restart()
    world.offer(1)
    (theirs,) = world.take("w2")

    assert world.beat("w1", tasks) == [LOST]
    with pytest.raises(TokenStaleError) as stale:
        _claim(world, tasks[0])
    assert stale.value.content.server_epoch == 1
    assert _claim(world, theirs, "w2") is False


def test_an_attempt_that_nobody_claims_goes_back_after_the_grace_unused() -> None:
    world, tasks = _handed_out(1)
    world.restart()
    world.matching.held(world.task(1), "w1", 1)
    world.matching.dispatch()
    world.pass_time(29.9)
    assert world.owner.returned == []
    world.pass_time(0.1)

    assert world.owner.returned == [(1, "a", 1)]
    assert world.owner.ended == []
    assert world.beat(tasks=tasks) == [LOST]


def test_what_the_worker_does_not_list_goes_back_at_once_and_is_not_counted() -> None:
    world, _ = _handed_out(1)
    for _ in range(5):
        world.restart()
        world.matching.held(world.task(1), "w1", 1)
        world.beat(all_held=True)

    assert world.owner.returned == [(1, "a", 1)] * 5
    assert world.owner.ended == []


def test_an_attempt_that_is_held_is_not_handed_out() -> None:
    world, _ = _handed_out(1)
    world.restart()
    world.matching.held(world.task(1), "w1", 1)

    assert world.take("w2") == []


def test_what_a_worker_still_has_uses_its_slots() -> None:
    world, tasks = _handed_out(1, 2)
    world.restart()
    for run in (1, 2):
        world.matching.held(world.task(run), "w1", run)
    world.offer(3, 4)

    assert runs(world.take(slots=3)) == [3]
    assert world.beat(tasks=tasks) == [HELD, HELD]
    assert world.take(slots=3) == []


def test_an_earlier_lease_than_the_one_on_disk_is_stale() -> None:
    world = World()
    world.offer(1)
    first = world.take("w1")
    world.beat("w1", all_held=True)
    world.offer(1)
    second = world.take("w2")
    world.restart()
    world.matching.held(world.task(1), "w2", 2)

    assert world.beat("w1", first) == [LOST]
    assert world.beat("w2", second) == [HELD]


def test_a_token_of_another_attempt_is_stale() -> None:
    world, tasks = _handed_out(1)
    world.restart()
    world.offer(1, attempt=2)

    with pytest.raises(TokenStaleError):
        _claim(world, tasks[0])


@pytest.mark.parametrize("on_disk", [True, False])
def test_an_attempt_that_its_owner_does_not_give_stays_where_it_is(on_disk: bool) -> None:
    world, tasks = _handed_out(1)
    world.restart()
    if on_disk:
        world.matching.held(world.task(1), "w1", 1)
    else:
        world.offer(1)
    world.matching.dispatch()
    world.owner.void = {(1, "a")}

    with pytest.raises(TokenStaleError):
        _claim(world, tasks[0])
    world.owner.void.clear()
    if on_disk:
        world.pass_time(30)
        assert world.owner.returned == [(1, "a", 1)]
    else:
        assert runs(world.take("w2")) == [1]


def test_the_grace_begins_when_all_is_known_that_was_there_before() -> None:
    world, tasks = _handed_out(1)
    world.restart()
    world.matching.held(world.task(1), "w1", 1)
    world.pass_time(100)  # many more runs are loaded
    world.matching.dispatch()
    world.pass_time(29.9)

    assert world.owner.returned == []
    assert world.beat(tasks=tasks) == [HELD]


def test_a_cancel_requested_before_the_adoption_is_told() -> None:
    world, tasks = _handed_out(1)
    world.restart()
    world.matching.held(world.task(1), "w1", 1)
    world.matching.request_cancel(1, "a", 1)

    assert world.beat(tasks=tasks) == [CANCEL]
    assert world.beat(tasks=tasks) == [CANCEL]


@pytest.mark.parametrize(("limit_s", "left_s"), [(10, 30), (600, 595)])
def test_start_to_close_goes_on_but_not_before_the_grace_is_over(limit_s: int, left_s: int) -> None:
    world, tasks = _handed_out(1)
    world.owner.adopted_start_us = world.now_us
    world.owner.start_to_close_us = limit_s * SECOND_US
    world.now_us += 5 * SECOND_US
    world.restart()
    world.matching.held(world.task(1), "w1", 1)
    world.matching.dispatch()
    world.beat(tasks=tasks)
    waited = 0
    while waited + 7 < left_s:
        world.pass_time(7)
        waited += 7
        world.beat(tasks=tasks)
    assert world.owner.ended == []
    world.pass_time(left_s - waited)

    assert world.owner.ended == [(1, "a", 1, "start_to_close")]


def test_a_start_noted_before_the_clock_was_set_back_gives_no_more_time_than_a_new_one() -> None:
    world, tasks = _handed_out(1)
    world.owner.adopted_start_us = world.now_us + 3600 * SECOND_US
    world.owner.start_to_close_us = 40 * SECOND_US
    world.restart()
    world.matching.held(world.task(1), "w1", 1)
    world.matching.dispatch()
    world.beat(tasks=tasks)
    world.pass_time(20)
    world.beat(tasks=tasks)
    assert world.owner.ended == []
    world.pass_time(20)

    assert world.owner.ended == [(1, "a", 1, "start_to_close")]


def test_a_run_that_is_reloaded_leaves_leases_as_they_are() -> None:
    world, tasks = _handed_out(1, 2)
    world.offer(1)  # its StepStarted did not reach the disk
    world.matching.held(world.task(2), "w1", 2)

    assert world.beat(tasks=tasks) == [HELD, HELD]
    assert world.take("w2") == []


def test_a_result_that_did_not_reach_the_disk_is_taken_again() -> None:
    world, tasks = _handed_out(1)
    world.settle(tasks[0])
    world.matching.held(world.task(1), "w1", 1)  # the commit failed, the run was reloaded

    assert _claim(world, tasks[0]) is True
    world.settle(tasks[0])
    assert world.matching.workers(NAMESPACE)[0].slots_used == 0
