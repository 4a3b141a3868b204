"""What an answer brings: the oldest fitting tasks, as many as there are slots for, never too heavy a message."""

import pytest

from holdfast_server.matching.matching import MatchingSettings, QueuedTask
from tests.unit.matching.world import SECOND_US, World, runs, settle_loop

MIB = 1024 * 1024


def test_tasks_come_in_the_order_of_being_queued_across_handlers() -> None:
    world = World()
    for run, handler in enumerate(["a", "b", "b", "a", "c", "a"]):
        world.now_us += 1
        world.offer(run, handler=handler)

    assert runs(world.take(handlers=["a", "b"])) == [0, 1, 2, 3, 5]
    assert runs(world.take(handlers=["c"])) == [4]


def test_a_task_of_a_resumed_run_goes_ahead_of_younger_ones() -> None:
    world = World()
    world.offer(1, 2)
    world.matching.offer(world.task(3, since_us=world.now_us - SECOND_US))

    assert runs(world.take()) == [3, 1, 2]


def test_slots_count_the_tasks_of_all_queues() -> None:
    world = World()
    world.offer(1, 2, 3, queue="left")
    world.offer(4, 5, 6, queue="right")

    left = world.take(slots=4, queue="left")
    right = world.take(slots=4, queue="right")

    assert (runs(left), runs(right)) == ([1, 2, 3], [4])
    world.settle(left[0])
    assert runs(world.take(slots=4, queue="right")) == [5]


def test_a_worker_that_lowers_its_slots_gets_nothing_until_it_has_less() -> None:
    world = World()
    world.offer(*range(6))
    tasks = world.take(slots=4)

    assert world.take(slots=2) == []
    for task in tasks[:3]:
        world.settle(task)
    assert len(world.take(slots=2)) == 1


@pytest.mark.parametrize(("queue", "handlers"), [("default", ["other"]), ("elsewhere", ["search"]), ("default", [])])
def test_only_what_is_served_is_handed_out(queue: str, handlers: list[str]) -> None:
    world = World()
    world.offer(1)

    assert world.take(queue=queue, handlers=handlers) == []
    assert runs(world.take()) == [1]


def test_an_answer_has_at_most_400_tasks() -> None:
    world = World()
    world.offer(*range(1_000))

    assert len(world.take(slots=1_000)) == 400
    assert len(world.take(slots=1_000)) == 400
    assert len(world.take(slots=1_000)) == 200


@pytest.mark.parametrize(("size_bytes", "expected"), [(4 * MIB, 1), (3 * MIB, 2), (MIB, 4), (100 * 1024, 41)])
def test_an_answer_stays_below_8_mib(size_bytes: int, expected: int) -> None:
    world = World()
    world.owner.size_bytes = size_bytes
    world.offer(*range(100))

    assert len(world.take(slots=100)) == expected
    assert expected * size_bytes <= world.settings.answer_bytes


def test_a_task_larger_than_an_answer_travels_alone() -> None:
    world = World(MatchingSettings(answer_bytes=1_000, task_bytes=500))
    world.owner.size_bytes = 5_000
    world.offer(1, 2)

    assert runs(world.take()) == [1]
    assert runs(world.take()) == [2]


def test_void_tasks_are_passed_over() -> None:
    world = World()
    world.offer(1, 2, 3)
    world.owner.void = {(1, "a"), (2, "a")}

    assert runs(world.take(slots=1)) == [3]
    world.owner.void.clear()
    assert world.take(slots=3) == []
    world.offer(1)
    assert runs(world.take(slots=3)) == [1]


def test_a_task_withdrawn_while_it_is_handed_out_is_nobodys() -> None:
    world = World()
    world.owner.on_hand_out = lambda task: world.matching.withdraw_run(task.run_key)
    world.offer(1)

    assert world.take() == []
    assert world.matching.workers("default")[0].slots_used == 0


def test_an_owner_that_fails_leaves_no_trace_of_the_task() -> None:
    def fail(task: object) -> None:
        raise ZeroDivisionError

    world = World()
    world.offer(1, 2)
    world.owner.on_hand_out = fail
    with pytest.raises(ZeroDivisionError):
        world.take()

    world.owner.on_hand_out = lambda task: None
    assert runs(world.take()) == [2]
    world.offer(1)
    assert runs(world.take()) == [1]


def test_offering_twice_changes_nothing() -> None:
    world = World()
    world.offer(1)
    world.offer(1)

    assert runs(world.take()) == [1]
    world.offer(1)
    assert world.take() == []


def test_a_newer_attempt_replaces_an_older_one_and_never_the_other_way_round() -> None:
    world = World()
    world.offer(1, attempt=1)
    world.offer(1, attempt=2)
    world.offer(1, attempt=1)

    assert [task.attempt for task in world.take()] == [2]
    world.offer(1, attempt=3)
    assert [task.attempt for task in world.take()] == [3]
    assert world.matching.workers("default")[0].slots_used == 1


def test_withdrawn_tasks_are_not_handed_out() -> None:
    world = World()
    world.offer(1, 2, 3)
    world.offer(2, path="b")
    world.offer(2, path="c")
    world.matching.withdraw(1, "a")
    world.matching.withdraw(2, "b")
    world.matching.withdraw(9, "a")

    assert [(task.run_id, task.step_path) for task in world.take()] == [("2", "a"), ("3", "a"), ("2", "c")]


def test_a_closed_run_frees_all_slots_it_had() -> None:
    world = World()
    for path in "abc":
        world.offer(1, path=path)
    world.take(slots=2)

    world.matching.withdraw_run(1)

    assert world.take(slots=2) == []
    assert world.matching.workers("default")[0].slots_used == 0


@pytest.mark.asyncio
async def test_a_fault_with_one_task_does_not_hold_up_those_behind_it() -> None:
    def fail(task: QueuedTask) -> None:
        if task.run_key == 1:
            raise ZeroDivisionError

    world = World()
    poll = world.park()
    await settle_loop()
    world.owner.on_hand_out = fail
    world.offer(1, 2)
    with pytest.raises(ZeroDivisionError):
        world.matching.dispatch()

    world.matching.dispatch()
    assert runs(await poll) == [2]
