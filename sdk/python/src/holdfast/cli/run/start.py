"""`holdfast run start` and `wait`: begin a run, and see how it ends."""

import shlex
from typing import Annotated, Any

import typer

from holdfast.cli.completion import complete_on_conflict, complete_workflow
from holdfast.cli.context import Cli
from holdfast.cli.declaring import command
from holdfast.cli.exits import ExitCode
from holdfast.cli.options import Run
from holdfast.cli.run import app
from holdfast.cli.values import attribute, duration, json_input, moment, named_json


@command(app, "start")
async def start(
    cli: Cli,
    workflow: Annotated[
        str, typer.Argument(metavar="WORKFLOW", help="Name of the workflow.", autocompletion=complete_workflow)
    ],
    input: Annotated[
        str | None,
        typer.Option("--input", "-i", metavar="JSON", help="Its input: JSON, @FILE, or - for standard input."),
    ] = None,
    key: Annotated[
        str, typer.Option("--key", metavar="KEY", help="Business id, unique among open runs of the workflow.")
    ] = "",
    run_id: Annotated[
        str, typer.Option("--run-id", metavar="ID", help="Id of the run, never reused. Else the server makes one.")
    ] = "",
    on_conflict: Annotated[
        str,
        typer.Option(
            "--on-conflict",
            metavar="RULE",
            help="When an open run has the key: FAIL, USE_EXISTING or TERMINATE_EXISTING.",
            autocompletion=complete_on_conflict,
        ),
    ] = "FAIL",
    version: Annotated[
        int, typer.Option("--version", min=0, metavar="N", help="Version of the workflow; 0 for the latest.")
    ] = 0,
    attributes: Annotated[
        list[str] | None,
        typer.Option("--attribute", "-a", metavar="NAME=VALUE", help="Attribute for search; may be repeated."),
    ] = None,
    after: Annotated[
        str | None,
        typer.Option("--after", metavar="TIME", help="No step starts before: 10m, or 2030-01-31T09:30."),
    ] = None,
    run_timeout: Annotated[
        str | None, typer.Option("--timeout", metavar="DURATION", help="Longest time from start to end, as 90s or 24h.")
    ] = None,
    signals: Annotated[
        list[str] | None,
        typer.Option("--signal", metavar="NAME=JSON", help="Signal that is in the run from its beginning; repeatable."),
    ] = None,
    request_id: Annotated[
        str | None,
        typer.Option("--request-id", metavar="ID", help="Starts once, however often the command is repeated."),
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for its end; the exit code tells how.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Watch its steps until its end.")] = False,
) -> int | None:
    """Start a run. Once this returns, the run is on disk."""
    environment = cli.environment
    options: dict[str, Any] = {
        "run_id": run_id,
        "key": key,
        "on_conflict": one_of(on_conflict, "--on-conflict", ("FAIL", "USE_EXISTING", "TERMINATE_EXISTING")),
        "version": version,
        "attributes": dict(attribute(text) for text in attributes or ()),
        "start_after": moment(after, "--after", cli.now(), environment.zone) if after else None,
        "timeout": duration(run_timeout, "--timeout") if run_timeout else None,
        "signals": [named_json(text, "--signal", environment) for text in signals or ()],
        "request_id": request_id,
    }
    payload = json_input(input, "--input", environment)
    async with cli.client() as client:
        handle = await client.start(workflow, payload, **options)
        started = {
            "run_id": handle.run_id,
            "workflow": workflow,
            "version": handle.version,
            "namespace": cli.settings.namespace,
            "started": handle.started,
        }
        if watch:
            from holdfast.cli.run.watching import watch_run

            return await watch_run(cli, client, handle.run_id)
        if wait:
            outcome = await handle.outcome()
            return tell_outcome(cli, outcome, started)
    cli.result(lambda: started, lambda: _started(started))
    cli.next(f"holdfast run watch {shlex.quote(handle.run_id)}")
    return ExitCode.OK


@command(app, "wait")
async def wait(
    cli: Cli,
    run: Run,
    longest: Annotated[
        str | None, typer.Option("--timeout", metavar="DURATION", help="Longest wait; the run goes on after it.")
    ] = None,
) -> int:
    """Wait until a run is closed and print its output; the exit code is 0 only if it SUCCEEDED."""
    timeout_s = duration(longest, "--timeout").total_seconds() if longest else None
    async with cli.client() as client:
        outcome = await client.handle(run).outcome(timeout_s=timeout_s)
    return tell_outcome(cli, outcome)


def tell_outcome(cli: Cli, outcome: Any, more: dict[str, Any] | None = None) -> int:
    """Print how a run ended and return the exit code."""
    from holdfast.cli.render.json import plain
    from holdfast.cli.render.runs import outcome_text
    from holdfast.v1.run_pb2 import RunState

    cli.result(lambda: {**(more or {}), **plain(outcome)}, lambda: outcome_text(outcome))
    if outcome.state == RunState.RUN_STATE_SUCCEEDED:
        return ExitCode.OK
    run_id = shlex.quote(outcome.run_id)
    cli.next(f"holdfast run history {run_id}", f"holdfast run retry {run_id}")
    return ExitCode.REFUSED


def one_of(text: str, option: str, names: tuple[str, ...]) -> str:
    """Return a name in the spelling of the contract.

    Raises:
        UsageFault: It is none of them.
    """
    from holdfast.cli.faults import UsageFault

    name = text.upper().replace("-", "_")
    if name not in names:
        raise UsageFault(f"{option} {text!r}: is none of {', '.join(names)}")
    return name


def _started(started: dict[str, Any]) -> Any:
    from rich.text import Text

    from holdfast.cli.render.words import safe

    word = "started  " if started["started"] else "there already  "
    return Text(word) + safe(f"{started['run_id']}  {started['workflow']} v{started['version']}")
