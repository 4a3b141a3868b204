"""Lines: oldest first whatever the order of offers, and nothing piles up."""

from hypothesis import given, strategies as st

from holdfast_server.matching.leases import WAITING, QueuedTask
from holdfast_server.matching.lines import Feed, Line


def _task(number: int, since_us: int, handler: str = "h") -> QueuedTask:
    return QueuedTask(number, "default", "default", handler, "a", 1, since_us)


def _line(*since_us: int, handler: str = "h") -> Line:
    line = Line(handler)
    for number, since in enumerate(since_us):
        line.add(_task(number, since, handler))
    return line


def _drain(line: Line | Feed) -> list[int]:
    taken = []
    while (task := line.take()) is not None:
        taken.append(task.since_us)
    return taken


def test_the_oldest_comes_first_even_if_it_was_offered_late() -> None:
    line = _line(10, 20, 30, 5, 25, 40)

    assert _drain(line) == [5, 10, 20, 25, 30, 40]
    assert line.waiting == 0


@given(st.lists(st.tuples(st.integers(0, 20), st.booleans())))
def test_withdrawn_tasks_never_come(entries: list[tuple[int, bool]]) -> None:
    line = Line("h")
    tasks = [_task(number, since_us) for number, (since_us, _) in enumerate(entries)]
    for task in tasks:
        line.add(task)
    for task, (_, withdrawn) in zip(tasks, entries, strict=True):
        if withdrawn:
            line.withdraw(task)

    kept = sorted(since_us for since_us, withdrawn in entries if not withdrawn)
    oldest = line.oldest()
    assert line.waiting == len(kept)
    assert (None if oldest is None else oldest.since_us) == min(kept, default=None)
    assert _drain(line) == kept


def test_withdrawing_from_a_line_that_does_not_move_keeps_it_small() -> None:
    line = _line(0)
    for number in range(10_000):
        task = _task(number, number % 7)
        line.add(task)
        line.withdraw(task)

    assert len(line._tasks) + len(line._late) < 200
    assert _drain(line) == [0]


@given(st.lists(st.lists(st.integers(0, 50), max_size=8), max_size=5), st.randoms(use_true_random=False))
def test_a_feed_merges_lines_by_age_while_others_take_too(lists: list[list[int]], random: object) -> None:
    lines = [_line(*since) for since in lists]
    mine, theirs = Feed(lines), Feed(lines)
    taken: list[int] = []
    while True:
        task = (mine if random.random() < 0.5 else theirs).take()  # type: ignore[attr-defined]
        if task is None:
            break
        assert task.place == WAITING
        taken.append(task.since_us)

    assert taken == sorted(since for line in lists for since in line)
