"""`holdfast run signal`, `pause`, `resume`, `cancel`, `terminate`, `retry` and `delete`: what can be done to a run."""

import shlex
from typing import TYPE_CHECKING, Annotated

import typer

from holdfast.cli.context import Cli
from holdfast.cli.declaring import command
from holdfast.cli.options import Note, Reason, Run
from holdfast.cli.run import app
from holdfast.cli.values import json_input

if TYPE_CHECKING:
    from rich.console import RenderableType

    from holdfast.v1.run_pb2 import RunSummary


@command(app, "signal")
async def signal(
    cli: Cli,
    run: Run,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the signal.")],
    payload: Annotated[
        str | None,
        typer.Option("--payload", "-p", metavar="JSON", help="What it carries: JSON, @FILE, or - for standard input."),
    ] = None,
    request_id: Annotated[
        str | None,
        typer.Option("--request-id", metavar="ID", help="Sends once, however often the command is repeated."),
    ] = None,
) -> None:
    """Send a signal into a run. It is kept until a step takes it."""
    from holdfast.cli.render.words import safe

    value = json_input(payload, "--payload", cli.environment)
    async with cli.client() as client:
        seq = await client.handle(run).signal(name, value, request_id=request_id)
    cli.result(
        lambda: {"run_id": run, "signal": name, "seq": seq}, lambda: safe(f"accepted  {name} as event {seq} of {run}")
    )


@command(app, "pause")
async def pause(cli: Cli, run: Run, note: Note = "") -> None:
    """Let nothing new start in a run; what is running goes on."""
    async with cli.client() as client:
        changed = await client.handle(run).pause(note)
    _tell(cli, changed, "holdfast run resume")


@command(app, "resume")
async def resume(cli: Cli, run: Run, note: Note = "") -> None:
    """End the pause of a run."""
    async with cli.client() as client:
        changed = await client.handle(run).resume(note)
    _tell(cli, changed, "holdfast run watch")


@command(app, "cancel")
async def cancel(cli: Cli, run: Run, reason: Reason = "") -> None:
    """Ask a run to stop: workers are told, cleanup steps still run."""
    async with cli.client() as client:
        changed = await client.handle(run).cancel(reason)
    _tell(cli, changed, "holdfast run wait")


@command(app, "terminate")
async def terminate(cli: Cli, run: Run, reason: Reason = "") -> None:
    """End a run at once, without cleanup steps; it cannot be retried."""
    async with cli.client() as client:
        changed = await client.handle(run).terminate(reason)
    _tell(cli, changed, "holdfast run history")


@command(app, "retry")
async def retry(cli: Cli, run: Run, note: Note = "") -> None:
    """Let a run that failed, was cancelled or timed out go on from what failed; what succeeded stays."""
    async with cli.client() as client:
        changed = await client.handle(run).retry(note)
    _tell(cli, changed, "holdfast run watch")


@command(app, "delete")
async def delete(cli: Cli, run: Run) -> None:
    """Delete a closed run with its history, for ever. Its id stays taken."""
    from holdfast.cli.render.words import safe

    async with cli.client() as client:
        deleted = await client.handle(run).delete()
    cli.result(
        lambda: {"run_id": run, "delete_time": deleted.isoformat().replace("+00:00", "Z")},
        lambda: safe(f"deleted  {run} with its history"),
    )


def _tell(cli: Cli, changed: "RunSummary", next_command: str) -> None:
    """Print the run as it is afterwards."""
    from rich.text import Text

    from holdfast.cli.render.payloads import hanging
    from holdfast.cli.render.words import run_state, safe

    def line() -> "RenderableType":
        text = Text.assemble(safe(changed.run_id), "  ", run_state(changed.state))
        text.append_text(safe(f"  {changed.status_message}" if changed.status_message else "", "dim"))
        return hanging(text, "")

    cli.result(lambda: changed, line)
    cli.next(f"{next_command} {shlex.quote(changed.run_id)}")
