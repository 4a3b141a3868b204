"""`holdfast step retry`, `skip` and `fail`: what an operator can do to a step that is not finished."""

import shlex
from typing import TYPE_CHECKING, Annotated

import typer

from holdfast.cli.context import Cli
from holdfast.cli.declaring import command, group
from holdfast.cli.options import Note, OpenStep, Run
from holdfast.cli.values import json_input

if TYPE_CHECKING:
    from rich.console import RenderableType

    from holdfast.v1.run_pb2 import Activation

__all__ = ["app"]

app = group("step", "Act on a step that is not finished, in place of its worker, signal or gate.")


@command(app, "retry")
async def retry(cli: Cli, run: Run, step: OpenStep, note: Note = "") -> None:
    """Begin the next attempt of a step now: one that waits for it, is reviewed, or runs and is given up."""
    async with cli.client() as client:
        changed = await client.handle(run).retry_step(step, note)
    _tell(cli, run, changed)


@command(app, "skip")
async def skip(
    cli: Cli,
    run: Run,
    step: OpenStep,
    payload: Annotated[
        str | None,
        typer.Option(
            "--payload", "-p", metavar="JSON", help="Its output: JSON, @FILE, or - for standard input; null without."
        ),
    ] = None,
    note: Note = "",
) -> None:
    """Let a step succeed with an output that is given; a gate's output says SKIPPED, and nobody has approved."""
    value = json_input(payload, "--payload", cli.environment)
    async with cli.client() as client:
        changed = await client.handle(run).skip_step(step, value, note)
    _tell(cli, run, changed)


@command(app, "fail")
async def fail(
    cli: Cli,
    run: Run,
    step: OpenStep,
    message: Annotated[str, typer.Option("--message", "-m", metavar="TEXT", help="What went wrong, for people.")] = "",
    type: Annotated[
        str, typer.Option("--type", metavar="TYPE", help="Type of the failure; FailedByOperator without.")
    ] = "",
    note: Note = "",
) -> None:
    """Let a step fail for good: it is not tried again and its on_error is not looked at; its edges are."""
    async with cli.client() as client:
        changed = await client.handle(run).fail_step(step, message, type, note)
    _tell(cli, run, changed)


def _tell(cli: Cli, run: str, changed: "Activation") -> None:
    """Print the step as it is afterwards."""
    from rich.text import Text

    from holdfast.cli.render.payloads import hanging
    from holdfast.cli.render.words import safe, step_state

    def line() -> "RenderableType":
        text = Text.assemble(step_state(changed.state), safe(f"  {changed.path} of {run}"))
        text.append(f"  attempt {changed.attempt}" if changed.attempt else "")
        text.append_text(safe(f"  {changed.note}" if changed.note else "", "dim"))
        return hanging(text, "")

    cli.result(lambda: changed, line)
    cli.next(f"holdfast run watch {shlex.quote(run)}")
