"""The power goes at every sync of a load on a whole server: nothing shown is taken back, and all runs go on."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from holdfast_server.store.port import StoreError
from tests.chaos.power.disk import Mark, Operation, Sync
from tests.chaos.power.driver import driver_over
from tests.chaos.power.server_load import Eyes, ServerLoad, check_server, serving
from tests.chaos.power.store_load import integrity
from tests.chaos.power.sweep import ALL, chance_of, moments, sweep, tell
from tests.chaos.power.vfs import TracingVfs

pytestmark = pytest.mark.usefixtures("frequent_checkpoints")

ROUNDS = 3
MOMENTS = None if ALL else 6
IMAGES = 3 if ALL else 2


async def recorded(folder: Path) -> Sequence[Operation]:
    """Drive a load on a new server in a folder, and return what was done to the disk."""
    with TracingVfs() as vfs:
        async with serving(folder / "holdfast.db", driver_over(vfs.name)) as (_server, stubs):
            load = ServerLoad(stubs, Eyes(), vfs.mark)
            for number in range(ROUNDS):
                await load.go_round(str(number))
    return vfs.trace


def seen(trace: Sequence[Operation]) -> Eyes:
    """What callers had been shown at the end of a trace."""
    eyes = Eyes()
    for operation in trace:
        if isinstance(operation, Mark):
            eyes.take(operation.what)
    return eyes


@pytest.mark.asyncio
@pytest.mark.chaos
@pytest.mark.timeout(0 if ALL else 100)
async def test_the_power_may_go_at_any_moment(tmp_path: Path) -> None:
    trace = await recorded(tmp_path)
    chosen = moments(trace, MOMENTS, chance_of("moments"))

    async def look(image: Path, before: Sequence[Operation]) -> None:
        database = image / "holdfast.db"
        try:
            await check_server(database, seen(before))
        except StoreError as error:
            raise AssertionError(f"it does not open: {error}") from error
        assert integrity(database) == []

    figures = await sweep(trace, chosen, IMAGES, look, tmp_path / "kept")

    copied = sum(isinstance(one, Sync) and one.name == "holdfast.db" for one in trace)
    assert copied > 3, "no checkpoints in the load"
    tell("a server", **figures.numbers, **{"syncs of checkpoints": copied})
