"""Adds `server`, `dev` and `admin` to the command line `holdfast`."""

import asyncio
import gc
import signal
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from holdfast_server.admin.cli import app as admin

__all__ = ["commands"]

# Defaults stand in the texts: the settings have them, and None says that a flag was not given.
Listen = Annotated[str | None, typer.Option(help="Address and port; port 0 takes a free one. Else 127.0.0.1:7411.")]
Database = Annotated[str | None, typer.Option(help="SQLite file, or :memory:. Else ./holdfast.db.")]
ReadyFile = Annotated[
    Path | None, typer.Option(help="Written with the address, as HOST:PORT, once the server answers.", dir_okay=False)
]
ConfigFile = Annotated[
    Path | None, typer.Option("--config", help="TOML file with settings.", exists=True, dir_okay=False, readable=True)
]
Insecure = Annotated[bool | None, typer.Option("--insecure", help="Listen beyond loopback without access control.")]
LogFormat = Annotated[str | None, typer.Option(help="console or json. Else console.")]
LogLevel = Annotated[str | None, typer.Option(help="debug, info, warning or error. Else info.")]


def commands(app: typer.Typer) -> None:
    """Entry point of the group `holdfast.commands`."""
    app.command("server")(server)
    app.command("dev")(dev)
    app.add_typer(admin)


def server(
    listen: Listen = None,
    database: Database = None,
    config: ConfigFile = None,
    ready_file: ReadyFile = None,
    insecure: Insecure = None,
    lease_s: Annotated[
        float | None, typer.Option(help="Life of a lease without a sign of its worker. Else 30.")
    ] = None,
    adoption_grace_s: Annotated[
        float | None, typer.Option(help="Time workers have after a restart to claim what they hold. Else 5.")
    ] = None,
    cancel_grace_s: Annotated[
        float | None, typer.Option(help="Time a cancelled attempt has to end by itself. Else 30.")
    ] = None,
    hot_runs: Annotated[
        int | None, typer.Option(help="Open runs in memory; those beyond it leave while they wait. Else 20,000.")
    ] = None,
    evict_after_s: Annotated[
        float | None, typer.Option(help="Time after which a run that only waits leaves the memory. Else 10.")
    ] = None,
    retention: Annotated[
        str | None, typer.Option(help="How long closed runs are kept, such as 30d. [default: forever]")
    ] = None,
    log_format: LogFormat = None,
    log_level: LogLevel = None,
) -> None:
    """Run a server on one database until it is told to stop (Ctrl-C or SIGTERM).

    Every setting may also stand in the environment, as HOLDFAST_LISTEN, or in the file of --config; a flag wins.
    """
    flags = {
        "listen": listen,
        "database": database,
        "insecure": insecure,
        "lease_s": lease_s,
        "adoption_grace_s": adoption_grace_s,
        "cancel_grace_s": cancel_grace_s,
        "hot_runs": hot_runs,
        "evict_after_s": evict_after_s,
        "retention": retention,
        "log_format": log_format,
        "log_level": log_level,
    }
    raise typer.Exit(_run(config, ready_file, flags, ()))


def dev(
    folder: Annotated[
        Path, typer.Argument(help="Folder of definitions (*.yaml, *.yml, *.json).", exists=True, file_okay=False)
    ] = Path(),
    listen: Listen = None,
    database: Database = None,
    ready_file: ReadyFile = None,
) -> None:
    """Run a server on a local file and register the definitions of a folder, again whenever one changes."""
    flags = {"listen": listen, "database": database}
    raise typer.Exit(_run(None, ready_file, flags, (folder,)))


def _run(
    config_file: Path | None, ready_file: Path | None, flags: Mapping[str, object], folders: tuple[Path, ...]
) -> int:
    # Imported here so that `holdfast --help` loads no gRPC.
    import pydantic

    from holdfast_server.app import ServerStartError
    from holdfast_server.config import ServerConfig, setting_faults
    from holdfast_server.logs import configure
    from holdfast_server.store.port import StoreError

    try:
        config = ServerConfig.load(config_file, **flags)
    except pydantic.ValidationError as error:
        for fault in setting_faults(error):
            typer.echo(f"error: {fault}", err=True)
        _tell_next("see the settings: holdfast server --help")
        return 2
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        typer.echo(f"error: {config_file} is no TOML: {error}", err=True)
        _tell_next("mend the file; a line of it looks like: lease_s = 30.0")
        return 2
    configure(config.log_format, config.log_level)
    try:
        asyncio.run(_serve(config, ready_file, folders))
    except (ServerStartError, StoreError) as error:
        typer.echo(f"error: {error}", err=True)
        _tell_next(_after(error))
        return 1
    return 0


def _after(error: Exception) -> str:
    """What to do about a server that does not start."""
    from holdfast_server.app import ServerStartError
    from holdfast_server.store.port import StoreCorruptError, StoreLockedError, StoreTooNewError

    if isinstance(error, ServerStartError):
        return error.next_step
    if isinstance(error, StoreLockedError):
        return "use that server, or stop it, or name another file: --database FILE"
    if isinstance(error, StoreTooNewError):
        return "run the version of holdfast-server that wrote it, or a newer one; see: holdfast --version"
    if isinstance(error, StoreCorruptError):
        return "put back a backup: holdfast admin restore FILE --force; or name another file: --database FILE"
    return "name a file on a local disk, in a folder this user may write to: --database FILE"


def _tell_next(what: str) -> None:
    typer.echo(f"  next: {what}", err=True)


SWITCH_INTERVAL_S = 0.0005
"""A thread that comes back from the disk waits at most this long for a busy event loop; Python's own 5 ms is ten times
what a commit takes."""

GC_THRESHOLDS = (50_000, 20, 100)
"""Runs in memory are millions of objects in no cycles; with the defaults looking through them takes a tenth of the
time."""


async def _serve(config: "object", ready_file: Path | None, folders: tuple[Path, ...]) -> None:
    from holdfast_server.app import Server, ServerStartError, run_until_signal
    from holdfast_server.config import ServerConfig
    from holdfast_server.dev import follow_folder

    if not isinstance(config, ServerConfig):
        raise TypeError(config)
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    gc.set_threshold(*GC_THRESHOLDS)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    server = Server(config)
    await server.start()
    address = (
        config.listen if config.listen.startswith("unix:") else f"{config.listen.rpartition(':')[0]}:{server.port}"
    )
    if ready_file is not None:
        try:
            _write_ready(ready_file, address)
        except OSError as error:
            await server.stop()
            message = f"--ready-file {ready_file} cannot be written ({error.strerror})"
            raise ServerStartError(message, "name a file in a folder this user may write to") from error
    followers = [loop.create_task(follow_folder(folder, address)) for folder in folders]
    try:
        await run_until_signal(server, stop)
    finally:
        for follower in followers:
            follower.cancel()
        await asyncio.gather(*followers, return_exceptions=True)


def _write_ready(file: Path, address: str) -> None:
    """Writes the address whole: whoever waits for the file never reads half of it."""
    fresh = file.with_name(f"{file.name}.new")
    fresh.write_text(f"{address}\n")
    fresh.replace(file)
