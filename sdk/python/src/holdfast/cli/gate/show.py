"""`holdfast gate list` and `show`: what waits for people."""

import shlex
from typing import Annotated

import typer

from holdfast.cli.completion import complete_run, complete_workflow
from holdfast.cli.context import Cli
from holdfast.cli.declaring import command
from holdfast.cli.gate import app
from holdfast.cli.options import GateRun, Limit, Step


@command(app, "list")
async def list_gates(
    cli: Cli,
    run: Annotated[
        str,
        typer.Option(
            "--run", metavar="RUN", help="Only gates of this run, resolved ones too.", autocompletion=complete_run
        ),
    ] = "",
    workflow: Annotated[
        str,
        typer.Option(
            "--workflow", metavar="NAME", help="Only gates of this workflow.", autocompletion=complete_workflow
        ),
    ] = "",
    limit: Limit = 50,
) -> None:
    """List the open gates, the nearest deadline first."""
    from holdfast.cli.render.gates import gate_list
    from holdfast.v1.gate_pb2 import GateState

    async with cli.client() as client:
        gates = client.gates.list(run_id=run, workflow=workflow, limit=limit + 1 if limit else None)
        found = [gate async for gate in gates]
    more = limit and len(found) > limit
    found = found[:limit] if limit else found
    cli.result(lambda: found, lambda: gate_list(found, cli.moments) if found else None)
    if more:
        cli.tell(f"these are {limit}; there are more: --limit 0 shows all", style="dim")
    if not found and run:
        cli.empty(f"run {run} has no gate so far", f"holdfast run show {shlex.quote(run)}")
    elif not found:
        cli.empty("nothing waits for a decision", "holdfast run list")
    still_open = next((gate for gate in found if gate.state == GateState.GATE_STATE_OPEN), None)
    if still_open is not None:
        cli.next(f"holdfast gate show {shlex.quote(still_open.run_id)} {shlex.quote(still_open.step_path)}")


@command(app, "show")
async def show(cli: Cli, run: GateRun, step: Step = "") -> None:
    """Show a gate and exactly what a decision would be on, to the last line."""
    from holdfast.cli.render.gates import gate_page
    from holdfast.cli.render.words import decision_word
    from holdfast.v1.gate_pb2 import GateState

    async with cli.client() as client:
        gate = await client.gates.get(run, step)
    cli.result(lambda: gate, lambda: gate_page(gate, cli.moments))
    if gate.state != GateState.GATE_STATE_OPEN:
        return
    where = f"{shlex.quote(gate.run_id)} {shlex.quote(gate.step_path)} --revision {gate.revision}"
    verbs = [_verb(decision_word(decision).plain) for decision in gate.decisions]
    cli.next(*(f"holdfast gate {verb} {where}" for verb in verbs[:2]))
    if verbs[2:]:
        cli.next(f"in the same way: {', '.join(verbs[2:])}")


def _verb(word: str) -> str:
    """Return the command that makes a decision."""
    return word.lower() if word in {"APPROVE", "REJECT", "EDIT", "RESPOND"} else f"decide {word}"
