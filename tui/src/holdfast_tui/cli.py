"""Adds `tui` to the command line `holdfast`."""

import os
from typing import Annotated

import typer

from holdfast.cli.context import Cli
from holdfast.cli.declaring import command
from holdfast.cli.faults import UsageFault

__all__ = ["commands"]


def commands(app: typer.Typer) -> None:
    """Entry point of the group `holdfast.commands`."""
    command(app, "tui")(tui)


async def tui(
    cli: Cli,
    read_only: Annotated[
        bool, typer.Option("--read-only", help="Leave out everything that changes something.")
    ] = False,
) -> int | None:
    """Watch runs and decide at gates, live, on the whole terminal."""
    if cli.json:
        raise UsageFault("the screens have no JSON", hint="holdfast gate list --output json")
    if not cli.environment.is_person():
        raise UsageFault("the screens need a terminal", hint="holdfast gate list")
    settings = cli.settings
    if settings.no_color:
        os.environ["NO_COLOR"] = "1"  # where the terminal library looks for it
    from holdfast_tui.app import HoldfastApp
    from holdfast_tui.client import GrpcClient

    client = GrpcClient(settings.target, namespace=settings.namespace, actor=settings.actor)
    app = HoldfastApp(client, is_read_only=read_only)
    await app.run_async()
    return app.return_code
