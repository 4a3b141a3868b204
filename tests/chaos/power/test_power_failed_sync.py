"""A sync fails, the server is killed, the next one goes on, and the power goes: what it acknowledged is there."""

import pytest

from holdfast_server.store.port import StoreError
from holdfast_server.store.sqlite import SqliteStore
from tests.chaos.power.disk import Cut, Disk
from tests.chaos.power.driver import driver_over
from tests.chaos.power.faults import EIO_AT_SYNCS, Faults
from tests.chaos.power.store_load import StoreLoad
from tests.chaos.power.sweep import chance_of, memory_folder
from tests.chaos.power.vfs import TracingVfs


@pytest.mark.asyncio
@pytest.mark.parametrize("several", [True, False], ids=["several connections", "one connection"])
async def test_what_a_failed_sync_left_in_the_log_is_not_built_upon(several: bool) -> None:
    assert await _fail_a_sync_then_be_killed_then_lose_power(several=several)


@pytest.mark.asyncio
async def test_it_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: the log is taken as it is shown."""
    monkeypatch.setattr(TracingVfs, "write_again", lambda _vfs, _log: None)

    assert not await _fail_a_sync_then_be_killed_then_lose_power(several=True)


async def _fail_a_sync_then_be_killed_then_lose_power(*, several: bool) -> bool:
    """Whether what was acknowledged after the restart is there in the end."""
    load, chance, disk = StoreLoad(chance_of("load"), 10), chance_of("cut"), Disk()
    with memory_folder() as scratch:
        first, second, third = (scratch / name for name in ("first", "second", "third"))
        for folder in (first, second, third):
            folder.mkdir()
        with TracingVfs() as vfs:
            store = SqliteStore(str(first / "holdfast.db"), driver=driver_over(vfs.name, several_connections=several))
            await store.open()
            await load.drive(store, 0, 3, vfs.mark)
            faults = Faults(vfs)
            faults.arm(EIO_AT_SYNCS, 1, lasting=True)
            with pytest.raises(StoreError):
                await load.make(store, 4)
            for operation in vfs.trace:
                disk.follow(operation)
            disk.cut(Cut.EVERYTHING, chance, second)
            faults.heal()
            await store.close()
        with TracingVfs() as vfs:
            store = SqliteStore(str(second / "holdfast.db"), driver=driver_over(vfs.name, several_connections=several))
            await store.open()
            done = await load.made(store)
            await load.drive(store, done, done + 3, vfs.mark)
            for operation in vfs.trace:
                disk.follow(operation)
            disk.cut(Cut.NOTHING, chance, third)
            await store.close()
        store = SqliteStore(str(third / "holdfast.db"))
        await store.open()
        there = await load.made(store)
        await store.close()
    return there == done + 3
