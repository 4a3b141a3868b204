"""`holdfast gate approve`, `reject`, `edit`, `respond`, `decide`: one person's decision on exactly what was shown."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from holdfast.cli.completion import complete_decision
from holdfast.cli.context import Cli
from holdfast.cli.declaring import command
from holdfast.cli.exits import ExitCode
from holdfast.cli.faults import UsageFault
from holdfast.cli.gate import app
from holdfast.cli.gate.asking import ask_to_confirm, fetch, show_for_decision
from holdfast.cli.gate.editing import edited_subject
from holdfast.cli.options import Comment, GateRun, Step
from holdfast.cli.values import json_input

if TYPE_CHECKING:
    from holdfast.v1.definition_pb2 import Approvers
    from holdfast.v1.gate_pb2 import Gate

Revision = Annotated[
    int | None,
    typer.Option(
        "--revision",
        min=1,
        metavar="N",
        help="Decide only if the gate still shows this revision; nobody is asked then.",
    ),
]
Yes = Annotated[
    bool, typer.Option("--yes", "-y", help="Do not ask; an action of high risk is asked about all the same.")
]
Meant = Annotated[
    str | None,
    typer.Option("--yes-i-mean", metavar="RUN", help="The run id once more: confirms an action of high risk."),
]
Payload = Annotated[
    str | None, typer.Option("--payload", "-p", metavar="JSON", help="Data: JSON, @FILE, or - for standard input.")
]


@command(app, "approve")
def approve(
    cli: Cli,
    run: GateRun,
    step: Step = "",
    payload: Payload = None,
    comment: Comment = "",
    revision: Revision = None,
    yes: Yes = False,
    yes_i_mean: Meant = None,
) -> int:
    """Allow what a gate proposes."""
    value = json_input(payload, "--payload", cli.environment)
    gate = fetch(cli, run, step, revision)
    ask_to_confirm(cli, gate, "APPROVE", asked=not (yes or revision), meant=yes_i_mean)
    return _send(cli, gate, "APPROVE", value, comment)


@command(app, "reject")
def reject(
    cli: Cli, run: GateRun, step: Step = "", comment: Comment = "", revision: Revision = None, yes: Yes = False
) -> int:
    """Refuse what a gate proposes."""
    gate = fetch(cli, run, step, revision)
    ask_to_confirm(cli, gate, "REJECT", asked=not (yes or revision))
    return _send(cli, gate, "REJECT", None, comment)


@command(app, "edit")
def edit(
    cli: Cli,
    run: GateRun,
    step: Step = "",
    payload: Payload = None,
    comment: Comment = "",
    revision: Revision = None,
) -> int:
    """Change what a gate proposes, with --payload or in $VISUAL or $EDITOR; the gate stays open as a new revision."""
    value = json_input(payload, "--payload", cli.environment)
    gate = fetch(cli, run, step, revision)
    if payload is None:
        value = edited_subject(cli, gate)
        if value is None:
            return ExitCode.OK
    else:
        show_for_decision(cli, gate)
    return _send(cli, gate, "EDIT", value, comment, changed=value)


@command(app, "respond")
def respond(
    cli: Cli,
    run: GateRun,
    step: Step = "",
    payload: Payload = None,
    comment: Comment = "",
    revision: Revision = None,
    yes: Yes = False,
    yes_i_mean: Meant = None,
) -> int:
    """Answer a gate with data instead of allowing or refusing."""
    if payload is None:
        raise UsageFault("an answer needs --payload", hint=cli.hint("DECISION_SCHEMA"))
    value = json_input(payload, "--payload", cli.environment)
    gate = fetch(cli, run, step, revision)
    ask_to_confirm(cli, gate, "RESPOND", asked=not (yes or revision), meant=yes_i_mean)
    return _send(cli, gate, "RESPOND", value, comment)


@command(app, "decide")
def decide(
    cli: Cli,
    decision: Annotated[
        str,
        typer.Argument(
            metavar="DECISION",
            help="RETRY, SKIP or FAIL of a review; DELEGATE; or any other.",
            autocompletion=complete_decision,
        ),
    ],
    run: GateRun,
    step: Step = "",
    payload: Payload = None,
    to: Annotated[
        list[str] | None, typer.Option("--to", metavar="NAME", help="DELEGATE: who shall decide; may be repeated.")
    ] = None,
    comment: Comment = "",
    revision: Revision = None,
    yes: Yes = False,
    yes_i_mean: Meant = None,
) -> int:
    """Make any decision a gate takes, for example at the review of a failed step: RETRY, SKIP with an output, FAIL."""
    from holdfast.cli.run.start import one_of
    from holdfast.v1.definition_pb2 import Approvers, Decision

    names = tuple(name.removeprefix("DECISION_") for name in Decision.keys()[1:])
    word = one_of(decision, "DECISION", names)
    if (word == "DELEGATE") != bool(to):
        raise UsageFault("DELEGATE needs --to NAME, and only DELEGATE takes it")
    value = json_input(payload, "--payload", cli.environment)
    gate = fetch(cli, run, step, revision)
    ask_to_confirm(cli, gate, word, asked=not (yes or revision), meant=yes_i_mean)
    return _send(cli, gate, word, value, comment, delegate_to=Approvers(principals=to) if to else None)


def _send(
    cli: Cli,
    gate: "Gate",
    decision: str,
    payload: Any,
    comment: str,
    *,
    delegate_to: "Approvers | None" = None,
    changed: Any = None,
) -> int:
    """Record the decision on exactly the gate that was shown, and tell what the gate is now."""
    from holdfast.cli.render.gates import difference, gate_result
    from holdfast.cli.render.json import payload_value

    async def send() -> "Gate":
        async with cli.client() as client:
            return await client.gates.decide(gate, decision, payload, comment=comment, delegate_to=delegate_to)

    after = cli.run(send())
    cli.result(lambda: after, lambda: gate_result(after, cli.moments))
    if changed is not None and not cli.json:
        cli.err.print(difference(gate.content.subject, payload_value(changed)))
    _tell_next(cli, after)
    return ExitCode.OK


def _tell_next(cli: Cli, gate: "Gate") -> None:
    import shlex

    from holdfast.v1.gate_pb2 import GateState

    run_id = shlex.quote(gate.run_id)
    if gate.state == GateState.GATE_STATE_OPEN:
        cli.next(f"holdfast gate show {run_id} {shlex.quote(gate.step_path)}")
    else:
        cli.next(f"holdfast run watch {run_id}")
