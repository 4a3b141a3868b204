"""Arguments and options that several commands share."""

from typing import Annotated

import typer

from holdfast.cli.completion import (
    complete_gate_run,
    complete_open_step,
    complete_run,
    complete_step,
    complete_workflow,
)

__all__ = ["Comment", "Full", "GateRun", "Limit", "Note", "OpenStep", "Reason", "Run", "Step", "Workflow"]

Run = Annotated[str, typer.Argument(metavar="RUN", help="Id of the run.", autocompletion=complete_run)]
GateRun = Annotated[str, typer.Argument(metavar="RUN", help="Id of the run.", autocompletion=complete_gate_run)]
Step = Annotated[
    str,
    typer.Argument(
        metavar="STEP",
        help="Path of the gate's step; not needed while the run has one open gate.",
        show_default=False,
        autocompletion=complete_step,
    ),
]
OpenStep = Annotated[str, typer.Argument(metavar="STEP", help="Path of the step.", autocompletion=complete_open_step)]
Workflow = Annotated[
    str, typer.Argument(metavar="WORKFLOW", help="Name of the workflow.", autocompletion=complete_workflow)
]
Comment = Annotated[str, typer.Option("--comment", "-m", metavar="TEXT", help="Why; kept with the decision.")]
Note = Annotated[str, typer.Option("--note", "--reason", metavar="TEXT", help="Why; kept in the history.")]
Reason = Annotated[str, typer.Option("--reason", "--note", metavar="TEXT", help="Why; kept in the history.")]
Full = Annotated[bool, typer.Option("--full", help="Show long payloads and stack traces to their end.")]
Limit = Annotated[int, typer.Option("--limit", min=0, metavar="N", help="Most entries; 0 for all.")]
