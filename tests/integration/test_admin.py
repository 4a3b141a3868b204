"""`holdfast admin`: backups are taken and put back, and what must not be overwritten is not."""

import asyncio
import json
import shutil
import stat
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from holdfast import Client
from holdfast.cli.app import build_app
from holdfast.cli.environment import Environment
from holdfast.testing.processes import ServerProcess
from holdfast.v1.task_pb2 import TaskResult
from holdfast_server.store.sqlite.driver import find_driver
from holdfast_server.store.sqlite.inspection import inspecting
from holdfast_server.store.sqlite.lock import LockFile
from tests.integration.raw import RawWorker, Stubs, json_payload, open_channel, refused_item
from tests.integration.test_bad_input_cli import holdfast, told

HOLD = """
name: hold
steps: [{name: hold, wait: {signal: go}}]
output: "${input}"
"""
WORK = "{name: work, steps: [{name: one, task: {handler: work}}], output: '${steps.one.output}'}"


def admin(*arguments: str, database: Path | None = None) -> "subprocess.CompletedProcess[str]":
    """One command, in the test's own process."""
    words = ["admin", *arguments, *(("--database", str(database)) if database else ())]
    ended = CliRunner().invoke(build_app(), words, obj=Environment(), env={"COLUMNS": "200"})
    if ended.exception is not None and not isinstance(ended.exception, SystemExit):
        raise ended.exception
    return subprocess.CompletedProcess(words, ended.exit_code, ended.stdout, ended.stderr)


def done(*arguments: str, database: Path) -> dict[str, Any]:
    """What a command that went well says to programs."""
    ended = admin(*arguments, "--output", "json", database=database)
    assert (ended.returncode, ended.stderr) == (0, "")
    found = json.loads(ended.stdout)
    assert isinstance(found, dict)
    return found


@asynccontextmanager
async def serving(database: Path) -> AsyncIterator[Client]:
    async with ServerProcess(database) as server, Client(server.target, actor="ann") as client:
        yield client


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with one run that succeeded and one that waits, left behind by a server."""
    path = tmp_path_factory.mktemp("admin") / "holdfast.db"

    async def fill() -> None:
        async with serving(path) as client:
            await client.register(HOLD)
            ended = await client.start("hold", "x" * 20_000, run_id="ended", signals=[("go", None)])
            await ended.outcome()
            await client.start("hold", 7, run_id="waits")

    asyncio.run(fill())
    return path


@pytest.fixture
def database(made: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copy(made, tmp_path / "holdfast.db"))


async def runs_in(database: Path) -> set[str]:
    """Ids of the runs that a server finds in a database."""
    async with serving(database) as client:
        return {run.run_id async for run in client.runs.list()}


def rows_in(database: Path) -> set[str]:
    """Ids of the runs that stand in a database."""
    with inspecting(database, find_driver()) as inspection:
        return {row.run_id for row in inspection.runs(0, 1_000)}


def damage(path: Path, statement: str) -> None:
    connection = find_driver().module.connect(path, isolation_level=None)
    assert connection.execute(statement).rowcount > 0
    connection.close()


def test_backup_and_restore_say_what_they_did(database: Path, tmp_path: Path) -> None:
    backup, copy = tmp_path / "backup.db", tmp_path / "copy.db"
    made = done("backup", str(backup), database=database)
    assert (made["database"], made["file"], made["size_bytes"]) == (str(database), str(backup), backup.stat().st_size)
    assert made["duration_s"] >= 0
    assert stat.S_IMODE(backup.stat().st_mode) == 0o600
    restored = done("restore", str(backup), database=copy)
    assert restored == {
        "file": str(backup),
        "database": str(copy),
        "restored": True,
        "runs": 2,
        "events": restored["events"],
        "faults": [],
    }
    assert done("verify", database=copy) == {
        "database": str(copy),
        "runs": 2,
        "events": restored["events"],
        "faults": [],
    }

    left = {"holdfast.db", "holdfast.db-wal", "holdfast.db-shm", "backup.db", "copy.db", "copy.db.lock"}
    assert {file.name for file in tmp_path.iterdir()} <= left
    assert asyncio.run(runs_in(copy)) == {"ended", "waits"}


def test_for_people_it_is_a_line(database: Path, tmp_path: Path) -> None:
    backup = tmp_path / "backup.db"
    lines = [
        admin("backup", str(backup), database=database),
        admin("restore", str(backup), "--force", database=database),
        admin("verify", database=database),
        admin("vacuum", database=database),
    ]
    for ended, start in zip(lines, ("backed up", "restored", "verified", "vacuumed"), strict=True):
        assert (ended.returncode, ended.stderr) == (0, "")
        assert ended.stdout.startswith(f"{start}  {database}")
        assert ended.stdout.count("\n") == 1


def test_nothing_is_overwritten_without_force(database: Path, tmp_path: Path) -> None:
    backup = tmp_path / "backup.db"
    done("backup", str(backup), database=database)
    content = backup.read_bytes()
    told(admin("backup", str(backup), database=database), 1, f"{backup} is there already", "--force")
    told(admin("restore", str(backup), database=database), 1, f"{database} is there already", "--force")
    told(admin("backup", str(database), "--force", database=database), 1, "is the database itself", "--force")

    assert backup.read_bytes() == content
    done("backup", str(backup), "--force", database=database)
    done("restore", str(backup), "--force", database=database)


def test_a_running_server_keeps_its_database(database: Path, tmp_path: Path) -> None:
    backup = tmp_path / "backup.db"
    with ServerProcess(database) as server:
        done("backup", str(backup), database=database)
        done("verify", database=database)
        for arguments in (("restore", str(backup), "--force"), ("vacuum",)):
            told(admin(*arguments, database=database), 1, f"is in use by pid {server.pid}", "stop that server first")
    done("vacuum", database=database)

    assert rows_in(database) == {"ended", "waits"}


def test_two_names_of_a_database_have_one_lock(database: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.db"
    other.symlink_to(database)
    lock = LockFile(database, lambda: 0)
    lock.acquire()
    try:
        for arguments in (("vacuum",), ("restore", str(database), "--force")):
            told(admin(*arguments, database=other), 1, "is in use by pid", "stop that server first")
    finally:
        lock.release()
    done("vacuum", database=other)

    assert other.is_symlink()


def test_what_happened_after_the_backup_is_gone_and_the_old_log_with_it(database: Path, tmp_path: Path) -> None:
    backup = tmp_path / "backup.db"
    done("backup", str(backup), database=database)

    async def go_on() -> None:
        async with ServerProcess(database) as server, Client(server.target) as client:
            await client.start("hold", run_id="later")
            await client.handle("waits").signal("go")
            server.kill()

    asyncio.run(go_on())
    assert database.with_name("holdfast.db-wal").stat().st_size > 0
    assert rows_in(database) == {"ended", "waits", "later"}
    done("restore", str(backup), "--force", database=database)

    assert not database.with_name("holdfast.db-wal").exists()
    assert done("verify", database=database)["faults"] == []
    assert rows_in(database) == {"ended", "waits"}


def test_a_damaged_database_can_be_replaced(database: Path, tmp_path: Path) -> None:
    backup = tmp_path / "backup.db"
    done("backup", str(backup), database=database)
    database.write_bytes(b"not a database" * 1_000)
    told(admin("verify", database=database), 1, "is damaged or not a database", "restore it from a backup")
    done("restore", str(backup), "--force", database=database)

    assert rows_in(database) == {"ended", "waits"}


def test_a_backup_with_faults_is_not_restored(database: Path, tmp_path: Path) -> None:
    backup = tmp_path / "backup.db"
    done("backup", str(backup), database=database)
    damage(backup, "UPDATE runs SET state = 4 WHERE run_id = 'ended'")
    content = database.read_bytes()
    ended = admin("restore", str(backup), "--force", "--output", "json", database=database)
    found = json.loads(ended.stdout)
    assert (ended.returncode, found["restored"], len(found["faults"])) == (1, False, 1)
    told(admin("restore", str(backup), "--force", database=database), 1, "nothing was restored", "another backup")

    assert database.read_bytes() == content
    assert not list(tmp_path.glob("*.restore*"))


def test_faults_are_told_with_their_run(database: Path) -> None:
    damage(database, "UPDATE runs SET state = 4 WHERE run_id = 'ended'")
    damage(database, "DELETE FROM payload_refs")
    ended = admin("verify", database=database)
    told(ended, 1, "has 3 faults", "holdfast admin restore FILE --force")
    assert "row: run ended of default: the row says state 'FAILED', the history 'SUCCEEDED'" in ended.stdout
    found = json.loads(admin("verify", "--output", "json", database=database).stdout)
    assert {(one["check"], one["namespace"], one["run_id"]) for one in found["faults"]} == {
        ("row", "default", "ended"),
        ("payload references", "default", "ended"),
        ("payloads", "", ""),
    }


def test_a_backup_of_an_older_version_is_migrated(database: Path, tmp_path: Path) -> None:
    backup, copy = tmp_path / "backup.db", tmp_path / "copy.db"
    done("backup", str(backup), database=database)
    connection = find_driver().module.connect(backup, isolation_level=None)
    # As it was before runs could be deleted.
    for statement in (
        "DROP TABLE deleted_runs",
        "DROP INDEX versions_by_retention",
        "DROP INDEX runs_closed",
        "ALTER TABLE versions DROP COLUMN retention_us",
        "PRAGMA user_version = 2",
    ):
        connection.execute(statement)
    connection.close()
    told(admin("verify", database=backup), 1, "has schema version 2", "start the server on it once")
    done("restore", str(backup), database=copy)

    assert done("verify", database=copy)["runs"] == 2
    assert asyncio.run(runs_in(copy)) == {"ended", "waits"}


def test_vacuum_gives_back_what_deleted_runs_have_left(tmp_path: Path) -> None:
    database = tmp_path / "holdfast.db"

    async def fill() -> None:
        async with serving(database) as client:
            await client.register(HOLD)
            handles = [await client.start("hold", "x" * 50_000 + str(number)) for number in range(100)]
            for handle in handles[:90]:
                await handle.terminate()
                await handle.delete()

    asyncio.run(fill())
    before_bytes = database.stat().st_size
    made = done("vacuum", database=database)
    assert (made["database"], made["before_bytes"]) == (str(database), before_bytes)
    assert made["size_bytes"] == database.stat().st_size < before_bytes / 4
    assert stat.S_IMODE(database.stat().st_mode) == 0o600
    assert done("verify", database=database)["runs"] == 10
    assert len(rows_in(database)) == 10


def test_what_is_asked_for_has_to_be_there(database: Path, tmp_path: Path) -> None:
    missing = tmp_path / "missing.db"
    for arguments in (("backup", str(tmp_path / "b.db")), ("verify",), ("vacuum",)):
        told(admin(*arguments, database=missing), 2, f"there is no database {missing}", "--database FILE")
        told(admin(*arguments, database=Path(":memory:")), 2, "has no file", "--database FILE")
    told(admin("restore", str(missing), database=database), 2, "does not exist", "holdfast admin restore --help")
    assert not missing.exists()


def test_the_settings_name_the_database(database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "holdfast.toml"
    config.write_text(f'database = "{database}"\n')
    assert json.loads(admin("verify", "--config", str(config), "-o", "json").stdout)["database"] == str(database)
    monkeypatch.setenv("HOLDFAST_DATABASE", str(database))
    assert admin("verify").returncode == 0
    config.write_text("lease_s = -1\n")
    told(admin("verify", "--config", str(config)), 2, "setting lease_s", "holdfast server --help")
    config.write_text("[a")
    told(admin("verify", "--config", str(config)), 2, "is no TOML", "is no TOML")


def test_where_a_backup_cannot_be_written_the_command_says_so(database: Path, tmp_path: Path) -> None:
    told(
        admin("backup", str(tmp_path / "no" / "backup.db"), database=database),
        1,
        "nothing can be written beside",
        "nothing can be written beside",
    )


@pytest.mark.asyncio
async def test_what_was_handed_out_before_a_restore_counts_no_more(tmp_path: Path) -> None:
    """A restored database gives the same numbers a second time, so tokens from before must not pass for them."""
    database, backup = tmp_path / "holdfast.db", tmp_path / "backup.db"
    async with ServerProcess(database) as server, Client(server.target) as client:
        await client.register(WORK)
        channel = open_channel(server.target)
        worker = RawWorker(Stubs(channel), "work")
        before = await client.start("work")
        held = await worker.task()
        await asyncio.to_thread(done, "backup", str(backup), database=database)
        await client.start("work")
        later = await worker.task()
        await channel.close()
    await asyncio.to_thread(done, "restore", str(backup), "--force", database=database)

    async with (
        ServerProcess(database, arguments=("--adoption-grace-s", "0.1")) as server,
        Client(server.target) as client,
    ):
        other = await client.start("work")  # has the key that the lost run had
        channel = open_channel(server.target)
        worker = RawWorker(Stubs(channel), "work")
        answer = await worker.settle(*(TaskResult(token=one.token, output=json_payload(1)) for one in (held, later)))
        for rejection in answer.rejected:
            refused_item(rejection.error, "TOKEN_INVALID")
        assert len(answer.rejected) == 2
        tasks = await worker.poll(2)
        assert {task.run_id for task in tasks} == {before.run_id, other.run_id}
        for task in tasks:
            await worker.succeed(task, task.run_id)
        assert await client.handle(before.run_id).result() == before.run_id
        assert await other.result() == other.run_id
        await channel.close()
    assert (await asyncio.to_thread(done, "verify", database=database))["faults"] == []


def test_it_is_a_command_like_any_other(database: Path) -> None:
    ended = holdfast("admin", "verify", "--database", str(database))
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout == f"verified  {database}: 2 runs with 8 events, no faults\n"
    assert "backup" in holdfast("admin").stdout
