"""The power goes again and again, also while a store opens what the last time has left.

Kills come in between: then the system still knows what is not on the disk yet. And syncs fail: what they were to write
is still shown by the system, also to the next process, and is not on the disk.
"""

import random
from contextlib import suppress
from pathlib import Path

import pytest

from holdfast_server.store.port import StoreError
from holdfast_server.store.sqlite import SqliteStore
from tests.chaos.power.disk import Cut, Disk, Mark
from tests.chaos.power.driver import driver_over
from tests.chaos.power.faults import EIO, Faults
from tests.chaos.power.store_load import Acknowledged, Answer, Begun, StoreLoad, check_store
from tests.chaos.power.sweep import ALL, CYCLES, SEED, chance_of, memory_folder, tell
from tests.chaos.power.vfs import TracingVfs

pytestmark = pytest.mark.usefixtures("frequent_checkpoints")

LIVES = CYCLES if ALL else 20


class Lives:
    """One database through all its lives.

    Attributes:
        acknowledged, begun: steps.
        answers: what else was answered.
    """

    def __init__(self, load: StoreLoad, chance: random.Random, *, failing: bool, several: bool) -> None:
        self.load = load
        self.failing = failing
        self.several = several
        self.chance = chance
        self.disk = Disk()
        self.acknowledged = 0
        self.begun = 0
        self.answers: list[Answer] = []

    async def live(self, folder: Path) -> TracingVfs:
        """Open what is there, hold it against what was said, go on for a while, and close."""
        with TracingVfs() as vfs:
            driver = driver_over(vfs.name, several_connections=self.several)
            store = SqliteStore(str(folder / "holdfast.db"), driver=driver)
            faults = Faults(vfs)
            if self.failing:
                faults.arm(EIO, self.chance.randint(1, 60), lasting=self.chance.random() < 0.7)
            try:
                await store.open()
            except StoreError:
                faults.heal()
                await store.open()
            steps = await self.load.made(store)
            assert self.acknowledged <= steps <= self.begun, f"{steps} of {self.acknowledged} are there"
            assert await self.load.read(store) == self.load.after(steps)
            self.begun = steps
            until = min(steps + self.chance.randint(0, 12), len(self.load.steps))
            await self.load.drive(store, steps, until, vfs.mark, faults.heal)
            with suppress(StoreError):
                await store.close()
        return vfs

    def end(self, vfs: TracingVfs, folder: Path) -> Cut:
        """Choose a moment of that life and let the power go, or kill; what is left goes into a folder."""
        for operation in vfs.trace[: self.chance.randint(0, len(vfs.trace))]:
            self.disk.follow(operation)
            if isinstance(operation, Mark):
                self.heard(operation.what)
        cut = self.chance.choice(list(Cut))
        self.disk.cut(cut, self.chance, folder)
        if cut is not Cut.EVERYTHING:
            # After a kill the system goes on to know what is not on the disk yet; after a loss of power it does not.
            self.disk = Disk({path.name: path.read_bytes() for path in folder.iterdir()})
        return cut

    def heard(self, mark: object) -> None:
        """Take over what the store has said, until the end."""
        match mark:
            case Begun(steps):
                self.begun = steps
            case Acknowledged(steps):
                self.acknowledged = steps
            case Answer("epoch", value):
                earlier = [int(str(one.value)) for one in self.answers if one.what == "epoch"]
                assert all(int(str(value)) > one for one in earlier), "a server epoch is given twice"
                self.answers.append(mark)
                # It is synced, and so is everything before it in the log.
                self.acknowledged = self.begun
            case Answer():
                self.answers.append(mark)


@pytest.mark.asyncio
@pytest.mark.chaos
@pytest.mark.timeout(0 if ALL else 60)
@pytest.mark.parametrize("several", [True, False], ids=["several connections", "one connection"])
@pytest.mark.parametrize("failing", [False, True], ids=["", "syncs fail"])
async def test_many_lives(failing: bool, several: bool) -> None:
    chance = chance_of("lives")
    lives = Lives(StoreLoad(chance_of("load"), LIVES * 6), chance, failing=failing, several=several)
    with memory_folder() as scratch:
        for life in range(LIVES):
            folder, left = scratch / f"{life}", scratch / f"{life + 1}"
            folder.mkdir(exist_ok=True)
            left.mkdir()
            try:
                vfs = await lives.live(folder)
                lives.end(vfs, left)
            except AssertionError as error:
                pytest.fail(f"life {life} (CHAOS_SEED={SEED}): {error}")
        steps = await check_store(
            scratch / f"{LIVES}" / "holdfast.db", lives.load, lives.acknowledged, lives.begun, lives.answers
        )
    tell("one database", lives=LIVES, steps=steps)
