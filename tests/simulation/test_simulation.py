"""Simulations of the whole server: nothing that must not happen does, and a seed always does the same.

`python -m tests.simulation` runs as many as one likes.
"""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.simulation.loop import Violation
from tests.simulation.world import SHARES, plan, simulate

ROOT = Path(__file__).parents[2]
SEEDS = int(os.environ.get("SIMULATION_SEEDS", "300"))
CHUNK = 50


@pytest.mark.parametrize("first", range(0, SEEDS, CHUNK))
def test_nothing_happens_that_must_not(first: int) -> None:
    for seed in range(first, min(first + CHUNK, SEEDS)):
        try:
            simulate(seed)
        except Violation as violation:
            again = f"python -m tests.simulation --from {seed} --seeds 1 --trace"
            raise AssertionError(f"seed {seed}: {violation}\nshow it: {again}") from violation


@pytest.mark.parametrize("fault", SHARES)
def test_each_fault_alone_harms_nothing(fault: str) -> None:
    for seed in range(1_000, 1_005):
        simulate(seed, faults=[fault])


def test_every_fault_is_drawn() -> None:
    class Chance:
        def random(self) -> float:
            return 0.0

    drawn = plan(Chance())  # type: ignore[arg-type]

    assert all(getattr(drawn, name) for name in SHARES)


def _trace(seed: int) -> list[str]:
    lines: list[str] = []
    simulate(seed, lines.append)
    return lines


def test_a_seed_does_the_same_again() -> None:
    for seed in range(20, 26):
        assert _trace(seed) == _trace(seed)


def test_a_seed_does_the_same_in_another_process() -> None:
    seeds = range(30, 34)
    mine = hashlib.sha256("\n".join(line for seed in seeds for line in _trace(seed)).encode()).hexdigest()
    program = (
        "import hashlib; from tests.simulation.test_simulation import _trace; "
        f"text = '\\n'.join(line for seed in {list(seeds)} for line in _trace(seed)); "
        "print(hashlib.sha256(text.encode()).hexdigest())"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "12345"}
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=environment, check=True, capture_output=True, text=True
    )

    assert result.stdout.strip() == mine


def test_something_happens_in_a_simulation() -> None:
    """The rest would hold of nothing as well."""
    worlds = [simulate(seed) for seed in range(60, 80)]
    books = [book for world in worlds for book in world.witness.books.values()]
    events = {event.WhichOneof("body") for book in books for event in book.events}

    assert len(books) > 30
    assert all(book.ended for book in books)
    assert {"step_succeeded", "step_failed", "step_attempt_failed", "gate_resolved", "wait_matched"} <= events
    assert {"run_paused", "run_cancel_requested", "run_reopened", "timer_fired", "step_cancel_requested"} <= events
    assert sum(world.disk.server_epoch for world in worlds) > len(worlds), "no server was ever started again"
    assert any(book.run.run_epoch > 1 for book in books)
