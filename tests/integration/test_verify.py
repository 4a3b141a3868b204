"""Verify: nothing to say about a database as a server leaves it, and every damage is found where it is."""

import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from holdfast import Client
from holdfast.client import RunHandle
from holdfast_server.admin.verify import Report, verify
from holdfast_server.store.port import StoreError
from holdfast_server.store.sqlite.driver import find_driver
from tests.integration.faulty import FaultyStore, running
from tests.integration.raw import RawWorker, Stubs, open_channel

DRIVER = find_driver()
LARGE = "x" * 20_000
MIXED = """
name: mixed
attributes: {team: north}
steps:
  - {name: work, task: {handler: work, queue: mixed}, input: "${input}"}
  - {name: ask, gate: {title: "Well?", deadline: 1h}}
  - {name: nap, sleep: {for: 30m}}
  - {name: hold, wait: {signal: go}}
output: "${steps.hold.output}"
"""
AT_ONCE = """
name: at-once
steps: [{name: only, compute: {}, input: "${input}"}]
output: "${steps.only.output}"
"""
BROKEN = """
name: broken
steps: [{name: only, compute: {}, input: "${input.nothing.here}", output_schema: {type: string}}]
"""
MISFITS = """
name: misfits
steps: [{name: only, compute: {}, input: "${input}"}]
output: "${input} and more"
output_schema: {type: integer}
"""
Damage = Callable[[Any, "Keys"], object]


@dataclass(frozen=True)
class Keys:
    """Run keys and ids in the database."""

    evicted: int
    closed: int
    other: int
    ids: dict[int, str]


def _nothing(_what: str, _done: int, _total: int) -> None:
    """Nobody looks."""


def check(path: Path) -> Report:
    return verify(path, DRIVER, _nothing)


async def key_of(store: FaultyStore, handle: RunHandle) -> int:
    row = await store.run("default", handle.run_id)
    assert row is not None
    return int(row.key)


async def _evicted(store: FaultyStore, client: Client, handle: RunHandle) -> int:
    """Lets a run leave: others come in, and there is room for one."""
    key = await key_of(store, handle)
    while (await store.run_by_key(key)).hot:
        await (await client.start("at-once")).outcome()
        await (await client.start("mixed")).terminate()
    return key


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def made(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Path, Keys]]:
    """A database with a run of each sort, left behind by a server; and which run is which."""
    path = tmp_path_factory.mktemp("verify") / "holdfast.db"
    async with running(path, hot_runs=1) as (store, client):
        for definition in (MIXED, AT_ONCE, BROKEN, MISFITS):
            await client.register(definition)
        closed = [await client.start("at-once", LARGE), await client.start("at-once", LARGE + "y")]
        for handle in closed:
            await handle.outcome()
        failed = await client.start("broken")
        await failed.outcome()
        await (await client.start("misfits", LARGE)).outcome()  # makes a payload and does not use it
        await failed.retry()
        await failed.outcome()
        evicted = await client.start("mixed", LARGE)
        for number in range(40):  # more than a run has whose history is folded as fast as a snapshot is read
            await evicted.signal("other", number)
        key = await _evicted(store, client, evicted)
        for _ in range(3):
            handle = await client.start("mixed")
            await handle.pause()
        gone = await client.start("at-once", LARGE)
        await gone.outcome()
        await gone.delete()
        keys = [await key_of(store, handle) for handle in (*closed, failed)]
        ids = {key: evicted.run_id, keys[0]: closed[0].run_id, keys[1]: closed[1].run_id, keys[2]: failed.run_id}
        assert (await store._inner.snapshots([key]))[key][0] > 40
        await client.handle(evicted.run_id).get()  # a look brings nothing to the disk
    yield path, Keys(key, keys[0], keys[1], ids)


@pytest.fixture
def copy(made: tuple[Path, Keys], tmp_path: Path) -> Path:
    """A copy of the database for a test to damage."""
    return Path(shutil.copy(made[0], tmp_path / "copy.db"))


def sql(statement: str, **named: str) -> Damage:
    """Damage by a statement about the run with key `:evicted`, `:closed` or `:other`."""

    def damage(connection: Any, keys: Keys) -> None:
        values = {"evicted": keys.evicted, "closed": keys.closed, "other": keys.other}
        used = {name: value for name, value in values.items() if f":{name}" in statement}
        assert connection.execute(statement, used).rowcount > 0

    return damage


def zeroed(name: str) -> Damage:
    """A page of an index without its content."""

    def damage(connection: Any, _keys: Keys) -> None:
        (page,) = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = ?", (name,)).fetchone()
        (size,) = connection.execute("PRAGMA page_size").fetchone()
        (_, _, file) = connection.execute("PRAGMA database_list").fetchone()
        with Path(file).open("r+b") as raw:
            raw.seek((page - 1) * size)
            raw.write(b"\0" * size)

    return damage


DAMAGES: dict[str, tuple[Damage, set[tuple[str, str]]]] = {
    "an event is missing": (
        sql("DELETE FROM history WHERE run = :evicted AND first_seq = 10"),
        {("sequence", "evicted"), ("fold", "evicted")},
    ),
    "the beginning is missing": (
        sql("DELETE FROM history WHERE run = :evicted AND first_seq = 1"),
        {("sequence", "evicted"), ("fold", "evicted"), ("payload references", "evicted")},
    ),
    "the end is missing": (
        sql(
            "DELETE FROM history WHERE run = :evicted"
            " AND first_seq = (SELECT max(first_seq) FROM history WHERE run = :evicted)"
        ),
        {("row", "evicted"), ("eviction", "evicted")},
    ),
    "the history is missing": (
        sql("DELETE FROM history WHERE run = :closed"),
        {("fold", "closed"), ("payload references", "closed")},
    ),
    "a row of a history is cut short": (
        sql("UPDATE history SET blob = substr(blob, 1, length(blob) - 3) WHERE run = :evicted AND first_seq = 10"),
        {("sequence", "evicted"), ("fold", "evicted")},
    ),
    "a row of a history says another count": (
        sql("UPDATE history SET count = count + 1 WHERE run = :evicted AND first_seq = 10"),
        {("sequence", "evicted")},
    ),
    "the state is another": (sql("UPDATE runs SET state = 4 WHERE key = :closed"), {("row", "closed")}),
    "the state is none": (sql("UPDATE runs SET state = 40 WHERE key = :closed"), {("row", "closed")}),
    "the end is another": (
        sql("UPDATE runs SET close_time_us = close_time_us + 1 WHERE key = :closed"),
        {("row", "closed")},
    ),
    "the epoch is another": (sql("UPDATE runs SET run_epoch = 7 WHERE key = :closed"), {("row", "closed")}),
    "the last event is another": (sql("UPDATE runs SET last_seq = 1 WHERE key = :closed"), {("row", "closed")}),
    "the id is another": (sql("UPDATE runs SET run_id = 'x' || run_id WHERE key = :evicted"), {("row", "x")}),
    "the workflow is another": (sql("UPDATE runs SET workflow = 'mixed' WHERE key = :closed"), {("row", "closed")}),
    "the attributes are others": (
        sql("""UPDATE runs SET attributes_json = '{"team":"south"}' WHERE key = :evicted"""),
        {("row", "evicted")},
    ),
    "what a run said at its end is another": (
        sql("UPDATE runs SET status_message = 'well' WHERE key = :closed"),
        {("row", "closed")},
    ),
    "a reference is missing": (
        sql("DELETE FROM payload_refs WHERE run = :other"),
        {("payload references", "other"), ("payloads", "")},
    ),
    "a payload is missing": (
        sql("DELETE FROM payloads WHERE id IN (SELECT payload FROM payload_refs WHERE run = :other)"),
        {("payload references", "other")},
    ),
    "a reference is too many": (
        sql("INSERT INTO payload_refs SELECT :closed, payload FROM payload_refs WHERE run = :other"),
        {("payload references", "closed")},
    ),
    "a payload is another": (
        sql(
            "UPDATE payloads SET blob = CAST(blob || x'0a020a00' AS BLOB)"
            " WHERE id IN (SELECT payload FROM payload_refs WHERE run = :other)"
        ),
        {("payloads", "")},
    ),
    "a payload cannot be read": (
        sql("UPDATE payloads SET blob = x'ffff' WHERE id IN (SELECT payload FROM payload_refs WHERE run = :other)"),
        {("payloads", "")},
    ),
    "a payload is nobody's": (sql("INSERT INTO payloads (sha256, blob) VALUES (x'00', x'')"), {("payloads", "")}),
    "a run is missing": (sql("DELETE FROM runs WHERE key = :closed"), {("ownership", "")}),
    "a deleted run is there": (
        sql("INSERT INTO deleted_runs SELECT namespace, run_id, 1, '' FROM runs WHERE key = :closed"),
        {("deleted runs", "")},
    ),
    "keys may be given again": (sql("DELETE FROM meta WHERE name = 'last_run_key'"), {("deleted runs", "")}),
    "a definition is damaged": (
        sql("UPDATE versions SET definition = x'0a' WHERE name = 'at-once'"),
        {("definitions", ""), ("fold", "closed"), ("fold", "other")},
    ),
    "a definition is missing": (
        sql("DELETE FROM versions WHERE name = 'at-once'"),
        {("fold", "closed"), ("fold", "other")},
    ),
    "a definition has another hash": (
        sql("UPDATE versions SET definition_hash = x'00' WHERE name = 'at-once'"),
        {("definitions", "")},
    ),
    "nothing wakes a run": (
        sql("DELETE FROM evicted WHERE run = :evicted"),
        {("ownership", ""), ("eviction", "evicted")},
    ),
    "a run wakes too late": (
        sql("UPDATE evicted SET wake_time_us = wake_time_us + 1 WHERE run = :evicted"),
        {("eviction", "evicted")},
    ),
    "a run never wakes": (sql("UPDATE evicted SET wake_time_us = 0 WHERE run = :evicted"), {("eviction", "evicted")}),
    "a snapshot is of another event": (
        sql("UPDATE evicted SET snapshot_seq = snapshot_seq + 9 WHERE run = :evicted"),
        {("eviction", "evicted")},
    ),
    "a waiting attempt is not found": (
        sql("DELETE FROM evicted_tasks WHERE run = :evicted"),
        {("eviction", "evicted")},
    ),
    "a waiting attempt is for others": (
        sql("UPDATE evicted_tasks SET handler = 'other' WHERE run = :evicted"),
        {("eviction", "evicted")},
    ),
    "a gate is not found": (sql("DELETE FROM evicted_gates WHERE run = :evicted"), {("eviction", "evicted")}),
    "a gate has another deadline": (
        sql("UPDATE evicted_gates SET deadline_time_us = 5 WHERE run = :evicted"),
        {("eviction", "evicted")},
    ),
    "a run is taken for one in memory": (
        sql("UPDATE runs SET hot = 1 WHERE key = :evicted"),
        {("eviction", "evicted")},
    ),
    "a page of an index is damaged": (zeroed("runs_by_start"), {("structure", "")}),
}


def test_a_database_as_a_server_leaves_it_has_no_faults(made: tuple[Path, Keys]) -> None:
    report = check(made[0])

    assert report.faults == []
    assert report.runs > 6
    assert report.events > 60


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_is_found_where_it_is(made: tuple[Path, Keys], copy: Path, name: str) -> None:
    damage, expected = DAMAGES[name]
    keys = made[1]
    connection = DRIVER.module.connect(copy, isolation_level=None)
    damage(connection, keys)
    connection.close()
    report = check(copy)

    names = {
        **{run_id: "evicted" for key, run_id in keys.ids.items() if key == keys.evicted},
        keys.ids[keys.closed]: "closed",
        keys.ids[keys.other]: "other",
        "x" + keys.ids[keys.evicted]: "x",
    }
    found = {(one.check, names.get(one.run_id, one.run_id)) for one in report.faults}
    mine = {one for one in found if one[1] in {"", *names.values()}}
    assert mine == expected, report.faults
    assert all(one.message and "\n" not in one.message for one in report.faults)


def test_a_snapshot_of_another_run_is_found(made: tuple[Path, Keys], copy: Path) -> None:
    keys = made[1]
    connection = DRIVER.module.connect(copy, isolation_level=None)
    (snapshot,) = connection.execute("SELECT snapshot FROM evicted WHERE run = ?", (keys.evicted,)).fetchone()
    changed = bytes(snapshot).replace(b"other", b"othre")
    assert changed != snapshot
    connection.execute("UPDATE evicted SET snapshot = ? WHERE run = ?", (changed, keys.evicted))
    connection.close()

    (fault,) = check(copy).faults
    assert (fault.check, fault.run_id) == ("eviction", keys.ids[keys.evicted])
    assert "its snapshot is not what its history says" in fault.message


def test_a_snapshot_of_another_version_is_no_fault(made: tuple[Path, Keys], copy: Path) -> None:
    connection = DRIVER.module.connect(copy, isolation_level=None)
    connection.execute("UPDATE evicted SET snapshot = x'80' WHERE run = ?", (made[1].evicted,))
    connection.close()

    assert check(copy).faults == []


def test_an_older_database_has_to_be_migrated_first(copy: Path) -> None:
    connection = DRIVER.module.connect(copy)
    connection.execute("PRAGMA user_version = 1")
    connection.close()
    with pytest.raises(StoreError, match="start the server on it once"):
        check(copy)


@pytest.mark.asyncio
async def test_a_server_at_work_is_not_taken_for_damage(tmp_path: Path) -> None:
    path = tmp_path / "holdfast.db"
    async with running(path, hot_runs=3, evict_after_s=1.0) as (_store, client):
        for definition in (MIXED, AT_ONCE):
            await client.register(definition)
        channel = open_channel(client.connection.target)
        worker = RawWorker(Stubs(channel), "work", queue="mixed", slots=5)
        for _ in range(5):
            handles = [await client.start("mixed", LARGE) for _ in range(10)]
            for task in await worker.poll(3):
                await worker.succeed(task)
            for handle in handles[:3]:
                await handle.signal("go")
            for handle in handles[3:5]:
                await handle.terminate()
                await handle.delete()
            async with aclosing(client.gates.list()) as gates:  # type: ignore[type-var]
                await client.gates.approve(await anext(gates))
            report = check(path)
            assert report.faults == []
            assert report.runs >= 8
        await channel.close()
