"""The power goes at every sync of a load on the store, and whatever the disk kept of the rest: nothing is lost."""

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import pytest

from holdfast_server.store.sqlite import SqliteStore
from tests.chaos.power.disk import Operation, Sync
from tests.chaos.power.driver import driver_over
from tests.chaos.power.store_load import StoreLoad, check_store, told
from tests.chaos.power.sweep import ALL, chance_of, moments, sweep, tell
from tests.chaos.power.vfs import TracingVfs

pytestmark = pytest.mark.usefixtures("frequent_checkpoints")

STEPS = 150
MOMENTS = None if ALL else 24
IMAGES = 5 if ALL else 2


async def recorded(
    folder: Path, load: StoreLoad, *, several: bool = True, synchronous: str = "FULL"
) -> Sequence[Operation]:
    """Drive a load on a new database in a folder, and return what was done to the disk."""
    with TracingVfs() as vfs:
        driver = driver_over(vfs.name, several_connections=several, synchronous=synchronous)
        store = SqliteStore(str(folder / "holdfast.db"), driver=driver)
        await store.open()
        await load.drive(store, 0, len(load.steps), vfs.mark)
        await store.close()
    return vfs.trace


def looking(load: StoreLoad) -> Callable[[Path, Sequence[Operation]], Awaitable[object]]:
    async def look(image: Path, before: Sequence[Operation]) -> None:
        acknowledged, begun, answers = told(before)
        await check_store(image / "holdfast.db", load, acknowledged, begun, answers)

    return look


@pytest.mark.asyncio
@pytest.mark.chaos
@pytest.mark.timeout(0 if ALL else 60)
@pytest.mark.parametrize("several", [True, False], ids=["several connections", "one connection"])
async def test_the_power_may_go_at_any_moment(tmp_path: Path, several: bool) -> None:
    load = StoreLoad(chance_of("load"), STEPS)
    trace = await recorded(tmp_path, load, several=several)
    chosen = moments(trace, MOMENTS, chance_of("moments"))

    figures = await sweep(trace, chosen, IMAGES, looking(load), tmp_path / "kept")

    copied = sum(isinstance(one, Sync) and one.name == "holdfast.db" for one in trace)
    assert copied > 3, "no checkpoints in the load"
    tell("a store", **figures.numbers, **{"syncs of checkpoints": copied})


@pytest.mark.asyncio
@pytest.mark.parametrize("synchronous", ["NORMAL", "OFF"])
async def test_commits_that_are_not_synced_are_noticed(tmp_path: Path, synchronous: str) -> None:
    """Planted: the load says durable before it is."""
    load = StoreLoad(chance_of("load"), 60)
    trace = await recorded(tmp_path, load, synchronous=synchronous)
    chosen = moments(trace, 30, chance_of("moments"))

    with pytest.raises(pytest.fail.Exception, match=r"were acknowledged|given twice|is another one"):
        await sweep(trace, chosen, 1, looking(load), tmp_path / "kept")


@pytest.mark.asyncio
async def test_a_checkpoint_that_is_not_synced_is_noticed(tmp_path: Path) -> None:
    """Planted: the database file is never synced, so it lacks what the log no longer has."""
    load = StoreLoad(chance_of("load"), STEPS)
    whole = await recorded(tmp_path, load)
    trace = [one for one in whole if not (isinstance(one, Sync) and one.name == "holdfast.db" and not one.folder)]
    chosen = moments(trace, 60, chance_of("moments"))

    with pytest.raises(pytest.fail.Exception, match="the power went before operation"):
        await sweep(trace, chosen, 1, looking(load), tmp_path / "kept")
