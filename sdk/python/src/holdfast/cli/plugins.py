"""Commands of other distributions, found by entry point; in place of what is not installed, what to install."""

from importlib.metadata import entry_points

import typer

from holdfast.cli.exits import ExitCode
from holdfast.scrub import scrub

__all__ = ["add_plugins"]

GROUP = "holdfast.commands"
# What people expect to be there, and who brings it.
HOMES = {"server": "holdfast-server", "dev": "holdfast-server", "admin": "holdfast-server", "tui": "holdfast-tui"}
ABOUT = {
    "server": "Run a server on one database.",
    "dev": "Run a server and register the definitions of a folder.",
    "admin": "Look after a database.",
    "tui": "Open the terminal screens.",
}


def add_plugins(app: typer.Typer) -> None:
    """Add the commands of installed distributions, and, in place of those that are not there, what to install."""
    faults: dict[str, str] = {}
    for point in entry_points(group=GROUP):
        distribution = point.dist.name if point.dist is not None else point.name
        try:
            point.load()(app)
        except Exception as fault:  # noqa: BLE001 - a broken distribution must not take the other commands with it
            faults[distribution] = f"{type(fault).__name__}: {fault}"
    there = {command.name for command in app.registered_commands} | {
        part.typer_instance.info.name for part in app.registered_groups if part.typer_instance is not None
    }
    for name, distribution in HOMES.items():
        if name not in there:
            _add_placeholder(app, name, distribution, faults.get(distribution, ""))


def _add_placeholder(app: typer.Typer, name: str, distribution: str, fault: str) -> None:
    def entry() -> None:
        if fault:
            typer.echo(f"error: the commands of {distribution} cannot be loaded: {scrub(fault)}", err=True)
        else:
            typer.echo(f"error: `holdfast {name}` comes with {distribution}, which is not installed", err=True)
        typer.echo(f"  next: pip install {distribution}", err=True)
        raise typer.Exit(ExitCode.USAGE)

    note = "(cannot be loaded)" if fault else f"(needs {distribution})"
    settings = {"allow_extra_args": True, "ignore_unknown_options": True}
    app.command(name, help=f"{ABOUT[name]} {note}", context_settings=settings)(entry)
