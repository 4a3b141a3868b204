"""The program: the root of all commands, and how errors of usage are told."""

import sys
from typing import Any

import typer
from typer.core import TyperGroup

from holdfast.cli import gate, operations, run, step, worker, workflow
from holdfast.cli.declaring import group
from holdfast.cli.environment import Environment
from holdfast.cli.exits import ExitCode
from holdfast.cli.plugins import add_plugins
from holdfast.scrub import scrub

__all__ = ["build_app", "program"]

HELP = """Durable workflows: start runs, watch them, decide at their gates.

Every command that talks to a server takes --target, --namespace, --actor and --output json, anywhere on the line.
"""
ORDER = ("dev", "server", "worker", "workflow", "run", "step", "gate", "queue", "info", "admin", "tui")
# The class of all errors of usage; typer has no public name for it.
_UsageError: Any = typer.BadParameter.__bases__[0]


class _Root(TyperGroup):
    """The root group: it tells errors of usage as every other error, in one line and with what to type next."""

    def main(
        self,
        args: Any = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        try:
            code = super().main(
                args, prog_name, complete_var, standalone_mode=False, windows_expand_args=windows_expand_args, **extra
            )
        except _UsageError as fault:
            code = _tell(fault)
        except typer.Abort:
            code = ExitCode.INTERRUPTED
        if standalone_mode:
            sys.exit(code)
        return code

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the commands in the order people need them; those of other distributions come last."""
        ranks = {name: rank for rank, name in enumerate(ORDER)}
        return sorted(super().list_commands(ctx), key=lambda name: ranks.get(name, len(ORDER)))


def _tell(fault: Any) -> int:
    message = scrub(fault.format_message().rstrip(".")).replace(": Value error, ", ": ")  # pydantic's own words
    typer.echo(f"error: {message[:1].lower()}{message[1:]}", err=True)
    if fault.ctx is not None:
        typer.echo(f"  next: {fault.ctx.command_path} --help", err=True)
    return ExitCode.USAGE


def build_app() -> typer.Typer:
    """Return the app with all commands of this and the other installed distributions."""
    app = group("holdfast", HELP, cls=_Root, version=True)
    for part in (workflow, run, step, gate, operations, worker):
        app.add_typer(part.app)
    operations.add_info(app)
    add_plugins(app)
    return app


def program() -> None:
    """Run the command line of this process, and exit."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # not where something else stands in for the stream
            stream.reconfigure(errors="backslashreplace")  # a terminal without the character must not be a crash
    build_app()(obj=Environment(), prog_name="holdfast")
