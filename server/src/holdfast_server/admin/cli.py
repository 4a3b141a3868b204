"""Adds `admin` to the command line `holdfast`: backup, restore, verify, vacuum."""

import os
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Annotated, Any

import typer

from holdfast.cli.context import Cli
from holdfast.cli.declaring import command, group
from holdfast.cli.faults import Refusal, UsageFault

if TYPE_CHECKING:
    from rich.console import RenderableType

    from holdfast_server.admin.verify import Fault, Report

__all__ = ["app"]

app = group("admin", "Look after a database: back it up, restore it, verify it, give back free room.")

Database = Annotated[
    Path | None,
    typer.Option(
        "--database",
        metavar="FILE",
        help="The database. Else the one of the settings, else ./holdfast.db.",
        dir_okay=False,
    ),
]
Config = Annotated[
    Path | None,
    typer.Option(
        "--config", metavar="FILE", help="TOML file with the settings of the server.", exists=True, dir_okay=False
    ),
]


@command(app, "backup")
def backup(
    cli: Cli,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where the backup goes.", dir_okay=False)],
    database: Database = None,
    config: Config = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it is there.")] = False,
) -> None:
    """Copy a database to one file, as it is at this moment. Its server goes on meanwhile."""
    from holdfast_server.admin.backup import back_up
    from holdfast_server.store.sqlite.driver import find_driver

    path = _database(database, config)
    begin_s = monotonic()
    with _told(), _bar(cli) as bar:
        copied = back_up(path, file, find_driver(), partial(bar, "copying"), force=force)
    duration_s = round(monotonic() - begin_s, 3)
    cli.result(
        lambda: {"database": str(path), "file": str(file), "size_bytes": copied.size_bytes, "duration_s": duration_s},
        lambda: _line(f"backed up  {_short(path)} to {file}: {_size(copied.size_bytes)} in {duration_s:.1f} s"),
    )


@command(app, "restore")
def restore(
    cli: Cli,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The backup.", exists=True, dir_okay=False)],
    database: Database = None,
    config: Config = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the database if it is there.")] = False,
) -> None:
    """Verify a backup and put it in the place of a database whose server is stopped."""
    from holdfast_server.admin.restore import locked, restore as replace
    from holdfast_server.clock import wall_clock_us
    from holdfast_server.store.sqlite.driver import find_driver

    path = _database(database, config, must_exist=False)
    with _told(), locked(path, wall_clock_us), _bar(cli) as bar:
        report = replace(file, path, find_driver(), bar, force=force)
    cli.result(
        lambda: {"file": str(file), "database": str(path), "restored": not report.faults, **_facts(report)},
        lambda: _faults(report.faults) or _line(f"restored  {_short(path)} from {file}: {_counts(report)}"),
    )
    if report.faults:
        raise Refusal(f"{file} has faults: nothing was restored", "take another backup")


@command(app, "verify")
def verify(cli: Cli, database: Database = None, config: Config = None) -> None:
    """Hold all of a database or a backup against the histories of its runs. Its server goes on meanwhile."""
    from holdfast_server.admin.verify import verify as make_checks
    from holdfast_server.store.sqlite.driver import find_driver

    path = _database(database, config)
    with _told(), _bar(cli) as bar:
        report = make_checks(path, find_driver(), bar)
    cli.result(
        lambda: {"database": str(path), **_facts(report)},
        lambda: _faults(report.faults) or _line(f"verified  {_short(path)}: {_counts(report)}, no faults"),
    )
    if report.faults:
        raise Refusal(f"{_short(path)} has {len(report.faults):,} faults", "holdfast admin restore FILE --force")


@command(app, "vacuum")
def vacuum(cli: Cli, database: Database = None, config: Config = None) -> None:
    """Give the room that deleted runs have left back to the disk. The server has to be stopped."""
    from holdfast_server.admin.restore import locked
    from holdfast_server.admin.vacuum import vacuum as rewrite
    from holdfast_server.clock import wall_clock_us
    from holdfast_server.store.sqlite.driver import find_driver

    path = _database(database, config)
    begin_s = monotonic()
    with _told(), locked(path, wall_clock_us), _bar(cli) as bar:
        copied = rewrite(path, find_driver(), partial(bar, "rewriting"))
    duration_s = round(monotonic() - begin_s, 3)
    cli.result(
        lambda: {
            "database": str(path),
            "before_bytes": copied.before_bytes,
            "size_bytes": copied.size_bytes,
            "duration_s": duration_s,
        },
        lambda: _line(f"vacuumed  {_short(path)}: {_size(copied.before_bytes)} before, {_size(copied.size_bytes)} now"),
    )


# -- what is asked -----------------------------------------------------------------------------------------------------


def _database(said: Path | None, config: Path | None, *, must_exist: bool = True) -> Path:
    """The real path of the database that is meant, so that its lock is the one of its server.

    Raises:
        UsageFault: the settings are not right, or there is no such file.
    """
    import pydantic

    from holdfast_server.config import ServerConfig, setting_faults

    try:
        settings = ServerConfig.load(config, database=None if said is None else str(said))
    except pydantic.ValidationError as error:
        first, *others = setting_faults(error)
        raise UsageFault(first, *others, hint="see the settings: holdfast server --help") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageFault(f"{config} is no TOML: {error}") from error
    if settings.database == ":memory:":
        raise UsageFault("a database in memory has no file", hint="name one: --database FILE")
    path = Path(os.path.realpath(settings.database))
    if must_exist and not path.is_file():
        raise UsageFault(f"there is no database {path}", hint="name it: --database FILE")
    return path


@contextmanager
def _told() -> Iterator[None]:
    """Tells what a database or a disk refuses, and what to do next."""
    from holdfast_server.admin.backup import FileTakenError
    from holdfast_server.store.port import StoreError, StoreLockedError, StoreTooNewError

    try:
        yield
    except FileTakenError as error:
        raise Refusal(str(error), "name another file, or replace it: --force") from error
    except StoreLockedError as error:
        raise Refusal(str(error), "stop that server first; backup and verify do not need that") from error
    except StoreTooNewError as error:
        raise Refusal(str(error), "install the version of holdfast-server that wrote it, or a newer one") from error
    except StoreError as error:
        raise Refusal(str(error)) from error


# -- what is shown -----------------------------------------------------------------------------------------------------


def _line(text: str) -> "RenderableType":
    from holdfast.cli.render.words import safe

    return safe(text)


def _faults(faults: "list[Fault]") -> "RenderableType | None":
    """A line for each fault; None if there is none."""
    from rich.console import Group

    lines = [
        f"{one.check}: " + (f"run {one.run_id} of {one.namespace}: " if one.run_id else "") + one.message
        for one in faults
    ]
    return Group(*map(_line, lines)) if lines else None


def _short(path: Path) -> Path:
    """A path as one would type it here."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def _counts(report: "Report") -> str:
    return f"{report.runs:,} runs with {report.events:,} events"


def _facts(report: "Report") -> dict[str, Any]:
    from dataclasses import asdict

    return {"runs": report.runs, "events": report.events, "faults": [asdict(one) for one in report.faults]}


def _size(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:,.1f} MB"


@contextmanager
def _bar(cli: Cli) -> Iterator[Callable[[str, int, int], None]]:
    """Shows a person who waits what is being done, how far it is, and how far it goes (0: unknown)."""
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    silent = cli.json or not cli.err.is_terminal
    with Progress(*columns, console=cli.err, transient=True, disable=silent) as bar:
        task = bar.add_task("", total=None)
        yield lambda what, done, total: bar.update(task, description=what, completed=done, total=total or None)
