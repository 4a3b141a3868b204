"""Cuts the power at the moments of a trace, and has every disk that may be left behind looked at."""

import json
import os
import random
import secrets
import shutil
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.chaos.power.disk import Cut, Disk, Operation, Sync

__all__ = ["ALL", "CYCLES", "SEED", "Figures", "Moment", "chance_of", "memory_folder", "moments", "sweep", "tell"]

CYCLES = int(os.environ.get("CHAOS_CYCLES") or 0)
"""Given by `make chaos`."""
ALL = CYCLES >= 100
"""Whether every moment and every operation is tried; otherwise a few are."""
SEED = os.environ.get("CHAOS_SEED") or secrets.token_hex(4)
"""Decides about everything random here; printed with each fault."""

_IN_MEMORY = Path("/dev/shm")  # noqa: S108 - a folder of our own is made in it


def chance_of(*what: object) -> random.Random:
    """A generator of its own for something, the same for the same seed."""
    return random.Random(f"{SEED} {what}")  # noqa: S311 - chooses faults, no secret


def tell(what: str, **numbers: int) -> None:
    """Tell what was tried: to whoever reads the output, and to the report of `make chaos`."""
    line = json.dumps({"what": what, "seed": SEED, **numbers})
    print(line)
    file = os.environ.get("CHAOS_FIGURES")
    if file:
        with Path(file).open("a", encoding="utf-8") as figures:
            figures.write(f"{line}\n")


@contextmanager
def memory_folder() -> Iterator[Path]:
    """A folder in memory where there is such a thing: whole disks are written again and again."""
    with tempfile.TemporaryDirectory(dir=_IN_MEMORY if _IN_MEMORY.is_dir() else None) as folder:
        yield Path(folder)


@dataclass(frozen=True, slots=True)
class Moment:
    """A moment of a trace: just before the operation at `position`."""

    position: int
    at_sync: bool


@dataclass
class Figures:
    """What was tried."""

    moments: int = 0
    syncs: int = 0
    images: Counter[str] = field(default_factory=Counter)

    def add(self, other: "Figures") -> None:
        """Count what another sweep has tried too."""
        self.moments += other.moments
        self.syncs += other.syncs
        self.images += other.images

    @property
    def numbers(self) -> dict[str, int]:
        """What is told of it."""
        return {"moments": self.moments, "moments at syncs": self.syncs, "images": self.images.total()}


def moments(trace: Sequence[Operation], most: int | None, chance: random.Random) -> list[Moment]:
    """Before and after every sync, and moments between; at most so many of them, by chance."""
    found: dict[int, bool] = {len(trace): False}
    for position, operation in enumerate(trace):
        if isinstance(operation, Sync):
            found[position] = True
            found.setdefault(position + 1, False)
    between = [position for position in range(len(trace)) if position not in found]
    for position in chance.sample(between, len(between) // 10):
        found[position] = False
    positions = sorted(found)
    if most is not None and most < len(positions):
        positions = sorted(chance.sample(positions, most))
    return [Moment(position, found[position]) for position in positions]


def _cuts(disk: Disk, images: int, chance: random.Random) -> Iterator[Cut]:
    """The worst that can happen first."""
    yield Cut.NOTHING
    if disk.unsynced:
        yield from chance.sample([cut for cut in Cut if cut is not Cut.NOTHING], min(images, len(Cut)) - 1)


async def sweep(
    trace: Sequence[Operation],
    chosen: Sequence[Moment],
    images: int,
    look: Callable[[Path, Sequence[Operation]], Awaitable[object]],
    kept: Path,
) -> Figures:
    """Let the power go at each chosen moment, and look at some of the disks that may be left.

    Args:
        trace: what was done to the disk, from an empty folder on.
        chosen: moments, in order.
        images: how many disks to look at for each moment.
        look: called with the folder and what had been done until then; raises AssertionError for a bad one.
        kept: made for a bad disk, as it was before anybody looked.
    """
    disk = Disk()
    figures = Figures()
    done = 0
    with memory_folder() as scratch:
        for moment in chosen:
            for operation in trace[done : moment.position]:
                disk.follow(operation)
            done = moment.position
            figures.moments += 1
            figures.syncs += moment.at_sync
            for cut in _cuts(disk, images, chance_of("cuts", done)):
                image = scratch / f"{done}-{cut.name}"
                image.mkdir()
                disk.cut(cut, chance_of(done, cut), image)
                as_it_was = shutil.copytree(image, scratch / "as-it-was")
                try:
                    await look(image, trace[:done])
                except AssertionError as error:
                    shutil.copytree(as_it_was, kept)
                    pytest.fail(
                        f"the power went before operation {done} of {len(trace)}, {cut} "
                        f"(CHAOS_SEED={SEED}, the disk is kept in {kept}): {error}"
                    )
                figures.images[cut.name] += 1
                shutil.rmtree(image)
                shutil.rmtree(as_it_was)
    return figures
