"""ENOSPC and EIO at every operation of a load on the store: whole or not at all, typed, and it goes on afterwards."""

import itertools
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from holdfast_server.store.sqlite import SqliteStore
from tests.chaos.power.disk import Operation
from tests.chaos.power.driver import driver_over
from tests.chaos.power.faults import EIO, EIO_AT_READS, ENOSPC, Fault, Faults
from tests.chaos.power.store_load import StoreLoad, check_store, told
from tests.chaos.power.sweep import ALL, Figures, chance_of, memory_folder, moments, sweep, tell
from tests.chaos.power.vfs import TracingVfs

pytestmark = [
    pytest.mark.usefixtures("frequent_checkpoints"),
    pytest.mark.asyncio,
    pytest.mark.chaos,
    pytest.mark.timeout(0 if ALL else 100),
]

STEPS = 30
FAULTS = [ENOSPC, EIO, EIO_AT_READS]


def _positions(every: int) -> "itertools.count[int]":
    """Which operations fail, until there are no more of them; without `make chaos` some, from a random one on."""
    return itertools.count(1) if ALL else itertools.count(chance_of("position").randint(1, every), every)


@pytest.mark.parametrize("several", [True, False], ids=["several connections", "one connection"])
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
async def test_any_operation_may_fail(tmp_path: Path, fault: Fault, several: bool) -> None:
    """And then the power goes: what a failed sync was to write is not on the disk, however well the next one went."""
    load = StoreLoad(chance_of("load"), STEPS)
    hits: Counter[str] = Counter()
    figures = Figures()

    async def look(image: Path, before: Sequence[Operation]) -> None:
        await check_store(image / "holdfast.db", load, *told(before))

    for nth in _positions(40):
        chance = chance_of("fault", nth)
        with memory_folder() as folder, TracingVfs() as vfs:
            store = SqliteStore(str(folder / "holdfast.db"), driver=driver_over(vfs.name, several_connections=several))
            await store.open()
            faults = Faults(vfs)
            faults.arm(fault, nth, lasting=chance.random() < 0.5, torn=chance.random() < 0.5)
            await load.drive(store, 0, STEPS, vfs.mark, faults.heal)
            faults.heal()
            await store.close()
            await check_store(folder / "holdfast.db", load, STEPS, STEPS)
        hits += faults.all_hits
        if faults.hit is None:
            break
        figures.add(await sweep(vfs.trace, moments(vfs.trace, 2, chance_of(nth)), 1, look, tmp_path / "kept"))
    assert hits
    numbers = {f"operations failed, {fault.name}": hits.total(), **figures.numbers}
    tell(f"a store, {fault.name}: {dict(hits)}", **numbers)
