"""Faults and lost power while a database is made, opened, migrated: a typed refusal, and the next start goes well."""

import copy
import itertools
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from holdfast_server.store.port import RunQuery, StoreError
from holdfast_server.store.sqlite import SqliteStore
from holdfast_server.store.sqlite.driver import find_driver
from holdfast_server.store.sqlite.migrations import MIGRATIONS, migrate
from tests.chaos.power.disk import Cut, Disk
from tests.chaos.power.driver import driver_over
from tests.chaos.power.faults import EIO, EIO_AT_READS, ENOSPC, Fault, Faults
from tests.chaos.power.server_load import Eyes, ServerLoad, check_server, serving
from tests.chaos.power.sweep import ALL, SEED, chance_of, memory_folder, tell
from tests.chaos.power.vfs import TracingVfs

pytestmark = [pytest.mark.asyncio, pytest.mark.chaos, pytest.mark.timeout(0 if ALL else 60)]

FAULTS = [ENOSPC, EIO, EIO_AT_READS]
EVERY = 1 if ALL else 4
OLD_ROW = """
INSERT INTO runs (
    key, namespace, run_id, workflow, version, business_key, state, start_time_us, close_time_us, run_epoch, last_seq,
    waiting_reason, status_message, request_id, request_hash, attributes_json
) VALUES (1, 'default', 'old', 'w', 1, '', 1, 1, 0, 1, 0, 0, '', '', x'', '');
INSERT INTO history (run, first_seq, count, blob) VALUES (1, 1, 1, x'00');
"""


def _nothing(folder: Path) -> list[str]:
    """There is no database yet."""
    return []


def _left_behind(folder: Path) -> list[str]:
    """A server was killed: what it wrote is in the log."""
    _write(folder / "made.db", len(MIGRATIONS), keep_log_as=folder / "holdfast.db")
    return ["old"]


def _older(folder: Path) -> list[str]:
    """The first released schema."""
    _write(folder / "holdfast.db", 1)
    return ["old"]


def _write(database: Path, version: int, keep_log_as: Path | None = None) -> None:
    with closing(find_driver().module.connect(str(database), isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        migrate(connection, str(database), MIGRATIONS[:version])
        connection.executescript(OLD_ROW)
        if keep_log_as is not None:
            for end in ("", "-wal"):
                keep_log_as.with_name(f"{keep_log_as.name}{end}").write_bytes(
                    database.with_name(f"{database.name}{end}").read_bytes()
                )


def _positions(every: int = EVERY) -> Iterator[int]:
    """The first operation, and then every so-many-th."""
    return itertools.chain([1], itertools.count(chance_of("start").randint(2, every + 1), every))


async def _holds(store: SqliteStore, run_ids: list[str]) -> None:
    """The store has what was there, and can be used."""
    assert store.schema_version == len(MIGRATIONS)
    assert [row.run_id for row in await store.runs(RunQuery("default"))] == run_ids
    if run_ids:
        assert len(await store.history(1)) == 1
    await store.next_server_epoch()


@pytest.mark.parametrize("lasting", [True, False], ids=["from then on", "once"])
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
@pytest.mark.parametrize("before", [_nothing, _left_behind, _older])
async def test_a_store_that_cannot_be_opened_can_be_opened_later(
    before: Callable[[Path], list[str]], fault: Fault, lasting: bool
) -> None:
    """And again after the power went in between."""
    refused = tries = 0
    for nth in _positions():
        with memory_folder() as folder, memory_folder() as left:
            run_ids = before(folder)
            disk = Disk({path.name: path.read_bytes() for path in folder.iterdir() if "holdfast" in path.name})
            with TracingVfs() as vfs:
                faults = Faults(vfs)
                faults.arm(fault, nth, lasting=lasting, torn=bool(nth % 2))
                store = SqliteStore(str(folder / "holdfast.db"), driver=driver_over(vfs.name))
                try:
                    await store.open()
                except StoreError:
                    refused += 1
                    position = len(vfs.trace)
                    faults.heal()
                    await store.open()
                else:
                    position = len(vfs.trace)
                    faults.heal()
                await _holds(store, run_ids)
                await store.close()
            for operation in vfs.trace[:position]:
                disk.follow(operation)
            tries += 1
            chance = chance_of("cut", nth)
            disk.cut(chance.choice(list(Cut)), chance, left)
            store = SqliteStore(str(left / "holdfast.db"))
            await store.open()
            await _holds(store, run_ids)
            await store.close()
        if faults.hit is None:
            break
    assert refused, SEED
    tell(f"a start of a store, {fault.name}", **{"starts with a fault": tries, "starts refused": refused})


@pytest.mark.parametrize("lasting", [True, False], ids=["from then on", "once"])
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
async def test_a_server_that_cannot_start_can_be_started_later(fault: Fault, lasting: bool) -> None:
    """What a server left behind that was killed is all there."""
    disk, eyes = Disk(), Eyes()
    with memory_folder() as folder, TracingVfs() as vfs:
        async with serving(folder / "holdfast.db", driver_over(vfs.name)) as (_server, stubs):
            await ServerLoad(stubs, eyes, vfs.mark).go_round("0")
            for operation in vfs.trace:
                disk.follow(operation)
    refused = tries = 0
    for nth in _positions(1 if ALL else 20):
        with memory_folder() as folder, TracingVfs() as vfs:
            disk.cut(Cut.EVERYTHING, chance_of("cut"), folder)
            faults = Faults(vfs)
            faults.arm(fault, nth, lasting=lasting, torn=bool(nth % 2))
            try:
                async with serving(folder / "holdfast.db", driver_over(vfs.name)):
                    hit = faults.hit
                    faults.heal()
            except StoreError:
                refused += 1
                hit = faults.hit
            faults.heal()
            tries += 1
            await check_server(folder / "holdfast.db", copy.deepcopy(eyes))
        if hit is None:
            break
    assert refused, SEED
    tell(f"a start of a server, {fault.name}", **{"starts with a fault": tries, "starts refused": refused})
