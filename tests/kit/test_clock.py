"""The clock that skips: rings from the loop, in order, for what is due when it is moved or already."""

import asyncio

import pytest

from holdfast_server.testing.clock import SkippingClock


class Owner:
    """Someone with due times and an alarm."""

    def __init__(self, clock: SkippingClock, name: str, rings: list[str]) -> None:
        self.clock = clock
        self.name = name
        self.rings = rings
        self.due: list[int] = []
        self.alarm = clock.alarm(lambda: min(self.due, default=None), self.ring)

    def add(self, due_us: int) -> None:
        self.due.append(due_us)
        self.alarm.expect(due_us)

    def ring(self) -> None:
        now_us = self.clock.now_us()
        self.rings += [f"{self.name}{due}@{now_us}" for due in sorted(self.due) if due <= now_us]
        self.due = [due for due in self.due if due > now_us]
        self.alarm.look()


def _owners() -> tuple[SkippingClock, Owner, Owner, list[str], list[int]]:
    rings: list[str] = []
    rung: list[int] = []
    clock = SkippingClock(100, lambda: rung.append(1))
    first, second = Owner(clock, "a", rings), Owner(clock, "b", rings)
    for owner in (first, second):
        owner.alarm.look()
    return clock, first, second, rings, rung


@pytest.mark.asyncio
async def test_it_stands_still_and_knows_what_is_due_next() -> None:
    clock, first, second, rings, _ = _owners()
    assert clock.next_us() is None
    first.add(300)
    second.add(200)
    await asyncio.sleep(0)

    assert (clock.now_us(), clock.next_us(), rings) == (100, 200, [])
    second.due.clear()  # it does not matter any more
    assert clock.next_us() == 300


@pytest.mark.asyncio
async def test_what_is_due_rings_from_the_loop_and_until_then_it_is_ringing() -> None:
    clock, first, second, rings, rung = _owners()
    first.add(200)
    second.add(200)
    first.add(300)
    clock.move(250)
    assert (clock.ringing, rings) == (True, [])
    await asyncio.sleep(0)

    assert (clock.ringing, rings, rung) == (False, ["a200@250", "b200@250"], [1, 1])
    assert clock.next_us() == 300


@pytest.mark.asyncio
async def test_what_is_due_already_rings_without_a_move() -> None:
    clock, first, _, rings, _ = _owners()
    first.add(100)
    first.add(50)
    assert clock.ringing
    await asyncio.sleep(0)

    assert rings == ["a50@100", "a100@100"]
    assert not clock.ringing


@pytest.mark.asyncio
async def test_a_stopped_alarm_does_not_ring_and_has_nothing_due() -> None:
    clock, first, second, rings, _ = _owners()
    first.add(200)
    second.add(200)
    clock.move(200)
    first.alarm.stop()
    await asyncio.sleep(0)

    assert rings == ["b200@200"]
    assert clock.next_us() is None


@pytest.mark.asyncio
async def test_it_does_not_go_back() -> None:
    clock, *_ = _owners()
    with pytest.raises(ValueError, match="99 is before 100"):
        clock.move(99)
