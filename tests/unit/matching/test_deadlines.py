"""Deadlines: asked again when they come up, and small whatever the traffic."""

from dataclasses import dataclass

from holdfast_server.matching.deadlines import YOUNG_US, Deadlines


@dataclass(eq=False)
class Item:
    due: int
    open: bool = True
    watched: bool = False

    def due_us(self) -> int:
        return self.due


def test_an_item_comes_up_at_its_time_once() -> None:
    deadlines: Deadlines[Item] = Deadlines()
    item = Item(100)
    deadlines.watch(item, 100)

    assert deadlines.next_us() == 100
    assert deadlines.due(99) == []
    assert deadlines.due(100) == [item]
    assert deadlines.due(1_000) == []
    assert deadlines.next_us() is None


def test_what_was_postponed_comes_up_at_the_new_time() -> None:
    deadlines: Deadlines[Item] = Deadlines()
    item = Item(100)
    deadlines.watch(item, 100)
    item.due = 250

    assert deadlines.due(200) == []
    assert deadlines.next_us() == 250
    assert deadlines.due(250) == [item]


def test_a_closed_item_never_comes_up() -> None:
    deadlines: Deadlines[Item] = Deadlines()
    items = [Item(100) for _ in range(3)]
    for item in items:
        deadlines.watch(item, 100)
    items[1].open = False
    deadlines.closed(items[1])

    assert deadlines.due(100) == [items[0], items[2]]


def test_what_is_closed_young_never_reaches_the_heap() -> None:
    deadlines: Deadlines[Item] = Deadlines()
    item, lives = Item(5 * YOUNG_US), Item(3 * YOUNG_US)
    deadlines.watch_young(item, 0)
    deadlines.watch_young(lives, 0)
    item.open = False

    assert deadlines.next_us() == YOUNG_US
    assert deadlines.due(YOUNG_US) == []
    assert len(deadlines) == 1
    assert deadlines.next_us() == 3 * YOUNG_US
    assert deadlines.due(3 * YOUNG_US) == [lives]


def test_closed_items_do_not_pile_up() -> None:
    deadlines: Deadlines[Item] = Deadlines()
    kept = [Item(10**9) for _ in range(100)]
    for item in kept:
        deadlines.watch(item, item.due)
    for number in range(50_000):
        item = Item(10**6 + number)
        deadlines.watch(item, item.due)
        item.open = False
        deadlines.closed(item)

    assert len(deadlines) < 3_000
    assert deadlines.due(10**9) == kept
