"""`holdfast run list`, `show`, `history` and `query`: what can be read about runs."""

import shlex
from typing import TYPE_CHECKING, Annotated, Any

import typer

from holdfast.cli.completion import complete_run_state, complete_waiting, complete_workflow
from holdfast.cli.context import Cli
from holdfast.cli.declaring import command
from holdfast.cli.exits import ExitCode
from holdfast.cli.faults import Refusal, UsageFault
from holdfast.cli.options import Full, Limit, Run
from holdfast.cli.run import app
from holdfast.cli.values import moment

if TYPE_CHECKING:
    from holdfast.client import RunHandle
    from holdfast.v1 import run_pb2
    from holdfast.v1.run_service_pb2 import RunFilter


@command(app, "list")
async def list_runs(
    cli: Cli,
    states: Annotated[
        list[str] | None,
        typer.Option(
            "--state",
            metavar="STATE",
            help="Only runs in this state, as RUNNING; may be repeated.",
            autocompletion=complete_run_state,
        ),
    ] = None,
    workflow: Annotated[
        str,
        typer.Option(
            "--workflow", metavar="NAME", help="Only runs of this workflow.", autocompletion=complete_workflow
        ),
    ] = "",
    key: Annotated[str, typer.Option("--key", metavar="KEY", help="Only runs with this business id.")] = "",
    waiting: Annotated[
        list[str] | None,
        typer.Option(
            "--waiting",
            metavar="REASON",
            help="Only runs that wait for this, as GATE or NO_WORKER.",
            autocompletion=complete_waiting,
        ),
    ] = None,
    since: Annotated[
        str | None, typer.Option("--since", metavar="TIME", help="Only runs started since: 2h, or 2030-01-31T09:30.")
    ] = None,
    before: Annotated[
        str | None, typer.Option("--before", metavar="TIME", help="Only runs started before: 1d, or a time.")
    ] = None,
    limit: Limit = 50,
) -> None:
    """List runs, latest first, each with what it waits for or why it failed."""
    from holdfast.cli.render.runs import run_list

    filter_ = _filter(cli, states, workflow, key, waiting, since, before)
    async with cli.client() as client:
        found = [run async for run in client.runs.list(filter_, limit=limit + 1 if limit else None)]
    more = limit and len(found) > limit
    found = found[:limit] if limit else found
    cli.result(lambda: found, lambda: run_list(found, cli.moments) if found else None)
    if more:
        cli.tell(f"these are the latest {limit}; there are more: --limit 0 shows all", style="dim")
    elif not found and (states or workflow or key or waiting or since or before):
        cli.empty("no run matches", "holdfast run list")
    elif not found:
        cli.empty("there are no runs yet", "holdfast run start WORKFLOW")


def _filter(
    cli: Cli,
    states: list[str] | None,
    workflow: str,
    key: str,
    waiting: list[str] | None,
    since: str | None,
    before: str | None,
) -> "RunFilter":
    from holdfast.client import run_filter

    now, zone = cli.now(), cli.environment.zone
    option = "--state"
    try:
        made = run_filter(
            states=states or (),
            workflow=workflow,
            key=key,
            started_from=moment(since, "--since", now, zone, past=True) if since else None,
            started_before=moment(before, "--before", now, zone, past=True) if before else None,
        )
        option = "--waiting"
        made.waiting_reasons.extend(run_filter(waiting=waiting or ()).waiting_reasons)
    except ValueError as fault:
        raise UsageFault(f"{option}: {fault}") from fault
    return made


@command(app, "show")
async def show(
    cli: Cli,
    run: Run,
    step: Annotated[
        str | None, typer.Option("--step", metavar="PATH", help="Show only this step, with its input and output.")
    ] = None,
    full: Full = False,
) -> None:
    """Show a run: its steps, what it waits for, its input, output or failure."""
    from holdfast.cli.render.runs import activation_page, run_page

    async with cli.client() as client:
        shown = await _whole(cli, client.handle(run))
    if step is not None:
        found = next((one for one in shown.activations if one.path == step), None)
        if found is None:
            paths = ", ".join(one.path for one in shown.activations) or "none"
            raise Refusal(f"run {run} has no step {step}; it has: {paths}")
        cli.result(lambda: found, lambda: activation_page(found, cli.moments, full=full))
        return
    cli.result(lambda: shown, lambda: run_page(shown, cli.moments, full=full))
    cli.next(*_next_of(shown))


async def _whole(cli: Cli, handle: "RunHandle") -> "run_pb2.Run":
    """Return a run with all its data, or without the large ones where one message does not hold them."""
    from holdfast.errors import LimitExceededError
    from holdfast.v1.run_service_pb2 import PayloadView

    try:
        return await handle.get()
    except LimitExceededError as fault:
        cli.tell(f"without the payloads above 8 KiB: {fault.message}")
        return await handle.get(payload_view=PayloadView.PAYLOAD_VIEW_REFS)


def _next_of(run: Any) -> list[str]:
    """Return what the state of a run suggests to type."""
    from holdfast.cli.render.steps import CLOSED
    from holdfast.v1.run_pb2 import RunState, WaitingReason

    run_id = shlex.quote(run.summary.run_id)
    for waiting in run.waiting_on:
        if waiting.reason in (WaitingReason.WAITING_REASON_GATE, WaitingReason.WAITING_REASON_ERROR_REVIEW):
            return [f"holdfast gate show {run_id} {shlex.quote(waiting.step_path)}"]
        if waiting.reason == WaitingReason.WAITING_REASON_NO_WORKER:
            queue = next((one.queue for one in run.activations if one.path == waiting.step_path), "")
            return [f"holdfast worker MODULE --queue {shlex.quote(queue)}" if queue else "holdfast worker MODULE"]
        if waiting.reason == WaitingReason.WAITING_REASON_PAUSED:
            return [f"holdfast run resume {run_id}"]
        if waiting.reason == WaitingReason.WAITING_REASON_SIGNAL:
            return [f"holdfast run signal {run_id} NAME --payload JSON"]
    if run.summary.state == RunState.RUN_STATE_SUCCEEDED:
        return []
    if run.summary.state in CLOSED:
        return [f"holdfast run history {run_id}", f"holdfast run retry {run_id}"]
    return [f"holdfast run watch {run_id}"]


@command(app, "history")
async def history(cli: Cli, run: Run) -> None:
    """Show the history of a run: every event, when it happened, and how long things took."""
    from holdfast.cli.render.history import HistoryLines, history_list
    from holdfast.v1.run_service_pb2 import PayloadView

    view = PayloadView.PAYLOAD_VIEW_FULL if cli.json else PayloadView.PAYLOAD_VIEW_REFS
    async with cli.client() as client:
        events = [event async for event in client.handle(run).history(payload_view=view)]

    def table() -> Any:
        listing, lines = history_list(cli.out.width), HistoryLines(cli.moments)
        for event in events:
            lines.add(listing, event)
        return listing

    cli.result(lambda: events, table)


@command(app, "query")
async def query(
    cli: Cli,
    run: Run,
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="A query of the definition.", show_default=False)
    ] = None,
    expression: Annotated[
        str | None,
        typer.Option("--expression", "-e", metavar="CEL", help="Ask freely instead, as 'steps.plan.output'."),
    ] = None,
) -> int:
    """Ask a run something, also a closed one; no worker is needed. The answer is printed as JSON."""
    if (name is None) == (expression is None):
        raise UsageFault(
            "give either the NAME of a query or --expression", hint=f"holdfast run query {run} --expression 'input'"
        )
    async with cli.client() as client:
        handle = client.handle(run)
        answer = await (handle.query(name) if name is not None else handle.query_expression(expression or ""))
    cli.document(answer)
    return ExitCode.OK
