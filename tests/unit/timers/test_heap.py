"""The heap of timers hands over what is due in order, and forgets what is cancelled."""

import tracemalloc

from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, multiple, rule

from holdfast_server.timers.heap import DEAD_MIN, TimerHandle, TimerHeap


def test_an_empty_heap() -> None:
    heap: TimerHeap[str] = TimerHeap()

    assert len(heap) == 0
    assert heap.next_due_us() is None
    assert heap.pop_due(2**62) == []


def test_due_at_its_very_time_and_not_before() -> None:
    heap: TimerHeap[str] = TimerHeap()
    heap.add(100, "a")

    assert heap.pop_due(99) == []
    assert heap.pop_due(100) == ["a"]
    assert heap.pop_due(100) == []


def test_in_order_of_time_then_of_adding() -> None:
    heap: TimerHeap[str] = TimerHeap()
    for due_us, payload in [(30, "d"), (10, "a"), (20, "b"), (20, "c"), (40, "e")]:
        heap.add(due_us, payload)

    assert heap.next_due_us() == 10
    assert heap.pop_due(30) == ["a", "b", "c", "d"]
    assert heap.next_due_us() == 40
    assert len(heap) == 1


def test_payloads_are_never_compared() -> None:
    heap: TimerHeap[object] = TimerHeap()
    first, second = object(), object()
    heap.add(1, first)
    heap.add(1, second)

    assert heap.pop_due(1) == [first, second]


def test_a_cancelled_timer_is_not_due() -> None:
    heap: TimerHeap[str] = TimerHeap()
    first = heap.add(10, "a")
    heap.add(20, "b")

    heap.cancel(first)

    assert len(heap) == 1
    assert heap.next_due_us() == 20
    assert heap.pop_due(100) == ["b"]


def test_cancelling_what_is_over_changes_nothing() -> None:
    heap: TimerHeap[str] = TimerHeap()
    over, void = heap.add(10, "a"), heap.add(20, "b")
    heap.add(30, "c")
    assert heap.pop_due(10) == ["a"]

    for _ in range(2):
        heap.cancel(over)
        heap.cancel(void)

    assert len(heap) == 1
    assert heap.pop_due(100) == ["c"]


def test_the_cancelled_take_no_room_once_they_outnumber_the_living() -> None:
    heap: TimerHeap[int] = TimerHeap()
    handles = [heap.add(number, number) for number in range(1000)]
    for handle in handles[1:]:
        heap.cancel(handle)

    assert len(heap) == 1
    assert len(heap._heap) <= 2 * len(heap) + DEAD_MIN
    assert heap.pop_due(1000) == [0]


def test_a_few_cancelled_ones_do_not_rebuild_the_heap() -> None:
    heap: TimerHeap[int] = TimerHeap()
    handles = [heap.add(number, number) for number in range(DEAD_MIN)]
    before = heap._heap
    for handle in handles:
        heap.cancel(handle)

    assert heap._heap is before
    assert heap.next_due_us() is None


def test_memory_per_timer_is_small() -> None:
    payload = "shared"
    heap: TimerHeap[str] = TimerHeap()
    tracemalloc.start()
    try:
        for number in range(10_000):
            heap.add(1_795_000_000_000_000 + number, payload)
        used_bytes, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert used_bytes / 10_000 < 250  # asyncio's own take 330, with a callback


class Model(RuleBasedStateMachine):
    """The heap against a sorted list."""

    timers = Bundle("timers")

    def __init__(self) -> None:
        super().__init__()
        self.heap: TimerHeap[int] = TimerHeap()
        self.alive: list[tuple[int, int]] = []
        self.handles: dict[int, TimerHandle[int]] = {}

    @rule(target=timers, times=st.lists(st.integers(0, 50), min_size=1, max_size=100))
    def add(self, times: list[int]) -> object:
        numbers = []
        for due_us in times:
            number = len(self.handles)
            self.handles[number] = self.heap.add(due_us, number)
            self.alive.append((due_us, number))
            numbers.append(number)
        return multiple(*numbers)

    @rule(number=timers)
    def cancel(self, number: int) -> None:
        self.heap.cancel(self.handles[number])
        self.alive = [timer for timer in self.alive if timer[1] != number]

    @rule(modulus=st.integers(1, 3))
    def cancel_many(self, modulus: int) -> None:
        for _, number in self.alive:
            if number % modulus == 0:
                self.heap.cancel(self.handles[number])
        self.alive = [timer for timer in self.alive if timer[1] % modulus]

    @rule(now_us=st.integers(0, 60))
    def pop(self, now_us: int) -> None:
        due = sorted(timer for timer in self.alive if timer[0] <= now_us)
        assert self.heap.pop_due(now_us) == [number for _, number in due]
        self.alive = [timer for timer in self.alive if timer[0] > now_us]

    @invariant()
    def agrees(self) -> None:
        assert len(self.heap) == len(self.alive)
        assert self.heap.next_due_us() == min((due_us for due_us, _ in self.alive), default=None)

    @invariant()
    def is_compact(self) -> None:
        assert len(self.heap._heap) <= 2 * len(self.heap) + DEAD_MIN + 1


TestModel = Model.TestCase
