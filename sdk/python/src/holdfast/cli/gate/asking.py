"""Before a decision: fetch the gate, show it, and make sure that it is meant."""

import shlex
from typing import TYPE_CHECKING

from holdfast.cli.context import Cli
from holdfast.cli.faults import Refusal, UsageFault

if TYPE_CHECKING:
    from holdfast.v1.gate_pb2 import Gate

__all__ = ["ask_to_confirm", "fetch", "show_for_decision"]

# Decisions that let the action happen.
_ALLOWING = frozenset({"APPROVE", "RESPOND"})


def fetch(cli: Cli, run: str, step: str, revision: int | None) -> "Gate":
    """Return the gate that is decided on.

    Raises:
        Refusal: It is resolved, or shows another revision than the one named.
    """
    from holdfast.cli.render.gates import resolved_by
    from holdfast.cli.render.words import gate_state, resolution_word
    from holdfast.v1.gate_pb2 import GateState

    async def get() -> "Gate":
        async with cli.client() as client:
            return await client.gates.get(run, step)

    gate = cli.run(get())
    if gate.state != GateState.GATE_STATE_OPEN:
        told = {"run_id": gate.run_id, "step_path": gate.step_path}
        if gate.state == GateState.GATE_STATE_RESOLVED:
            outcome = f"{resolution_word(gate.resolution).plain} by {resolved_by(gate)}"
            message = f"the gate is resolved: {outcome} at {cli.moments.full(gate.resolve_time)} (GATE_RESOLVED)"
        else:
            message = f"the gate is closed: {gate_state(gate.state).plain} (GATE_RESOLVED)"
        raise Refusal(message, cli.hint("GATE_RESOLVED", told))
    if revision is not None and gate.revision != revision:
        told = {"run_id": gate.run_id, "step_path": gate.step_path}
        message = f"the gate shows revision {gate.revision} by now, not {revision} (GATE_REVISION)"
        raise Refusal(message, cli.hint("GATE_REVISION", told))
    return gate


def show_for_decision(cli: Cli, gate: "Gate") -> None:
    """Show, beside the results, what is decided on."""
    from holdfast.cli.render.gates import gate_page

    cli.err.print(gate_page(gate, cli.moments))
    cli.err.print()


def ask_to_confirm(cli: Cli, gate: "Gate", decision: str, *, asked: bool, meant: str | None = None) -> None:
    """Show what is decided on and make sure that it is meant.

    Somebody at a terminal is asked, for an action of high risk by typing the run id. Without a terminal the command
    counts as meant, but an action of high risk needs the run id on the command line.

    Args:
        cli: The command.
        gate: The gate as fetched; the decision is on this revision and hash.
        decision: What is about to be decided.
        asked: False leaves out the question, except for high risk.
        meant: The run id given to confirm high risk.

    Raises:
        Refusal: It is not meant.
        UsageFault: It must be confirmed and nobody can be asked.
    """
    from holdfast.v1.definition_pb2 import Risk

    show_for_decision(cli, gate)
    is_person = cli.environment.is_person()
    if gate.content.action.risk == Risk.RISK_HIGH and decision in _ALLOWING:
        _confirm_high_risk(cli, gate, decision, meant, is_person=is_person)
    elif asked and is_person and _answer(cli, f"{decision} this? [y/N] ").lower() not in {"y", "yes"}:
        raise Refusal("nothing was decided")


def _confirm_high_risk(cli: Cli, gate: "Gate", decision: str, meant: str | None, *, is_person: bool) -> None:
    if meant is None and is_person:
        meant = _answer(cli, f"The action is of HIGH risk. To {decision} it, type the run id: ")
        if meant != gate.run_id:
            raise Refusal("that is not the run id; nothing was decided")
    if meant is None:
        confirmation = f"--yes-i-mean {shlex.quote(gate.run_id)}"
        raise UsageFault("the action is of HIGH risk and must be confirmed", hint=f"add {confirmation}")
    if meant != gate.run_id:
        raise UsageFault(f"--yes-i-mean {meant!r}: the gate is one of run {gate.run_id}; nothing was decided")


def _answer(cli: Cli, question: str) -> str:
    from rich.text import Text

    cli.err.print(Text(question, style="bold"), end="", soft_wrap=True)
    line = cli.environment.read_line()
    if not line:
        cli.err.print()
    return line.strip()
