"""Runs: the list, and the page of one."""

import shlex
from collections.abc import Iterable, Iterator

from rich.console import Group, RenderableType
from rich.text import Text

from holdfast.cli.render.columns import Column, Listing
from holdfast.cli.render.json import dumps, plain
from holdfast.cli.render.payloads import LINES_SHOWN, facts, failure_text, hanging, payload_line, payload_text, section
from holdfast.cli.render.steps import CLOSED, step_tree, waiting_line
from holdfast.cli.render.times import Moments, seconds_between, span
from holdfast.cli.render.words import actor_name, run_state, safe, step_state, waiting_word
from holdfast.scrub import scrub
from holdfast.v1.run_pb2 import Activation, Run, RunOutcome, RunState, RunSummary

__all__ = ["activation_page", "outcome_text", "run_list", "run_page"]


def run_list(runs: Iterable[RunSummary], moments: Moments) -> Listing:
    """Return runs as a list; below each, what it waits for or why it failed."""
    listing = Listing([Column("RUN"), Column("STATE"), Column("WORKFLOW", shrinks=True), Column("STARTED")])
    for run in runs:
        said = Text()
        if run.waiting_reason:
            said.append_text(waiting_word(run.waiting_reason)).append(": ")
        said.append_text(safe(run.status_message))
        said.stylize_before("dim")
        listing.add(
            safe(run.run_id), run_state(run.state), safe(run.workflow), moments.when(run.start_time), notes=[said]
        )
    return listing


def run_page(run: Run, moments: Moments, *, full: bool = False) -> Group:
    """Return everything about a run on one page; long payloads cut unless all of it is wanted."""
    return Group(*_run_parts(run, moments, None if full else LINES_SHOWN, full=full))


def _run_parts(run: Run, moments: Moments, lines_max: int | None, *, full: bool) -> Iterator[RenderableType]:
    yield safe(f"Run {run.summary.run_id}", "bold")
    yield facts(_run_facts(run, moments))
    general = [waiting_line(waiting, moments) for waiting in run.waiting_on if not waiting.step_path]
    if general:
        yield section("Waiting on", *(hanging(line) for line in general))
    yield section("Steps", step_tree(run, moments))
    if run.HasField("input"):
        yield section("Input", payload_text(run.input, lines_max=lines_max))
    if run.HasField("output") or run.summary.state == RunState.RUN_STATE_SUCCEEDED:
        yield section("Output", payload_text(run.output, lines_max=lines_max))
    if run.HasField("failure"):
        yield section("Failure", failure_text(run.failure, full=full))
    if run.unconsumed_signals:
        signals = [
            hanging(safe(f"{signal.name}  {moments.full(signal.receive_time)}  {payload_line(signal.payload)}"))
            for signal in run.unconsumed_signals
        ]
        yield section("Signals that nothing has taken", *signals)


def _run_facts(run: Run, moments: Moments) -> Iterator[tuple[str, Text]]:
    summary = run.summary
    yield "workflow", safe(f"{summary.workflow} v{summary.version}")
    yield "state", run_state(summary.state)
    if summary.state in CLOSED - {RunState.RUN_STATE_SUCCEEDED} and summary.status_message:
        yield "why", safe(summary.status_message)
    if summary.key:
        yield "key", safe(summary.key)
    if summary.HasField("start_time"):
        by = Text(f"{moments.full(summary.start_time)} by ") + safe(actor_name(run.started_by))
        yield "started", by
    if summary.HasField("close_time"):
        took = span(seconds_between(summary.start_time, summary.close_time))
        yield "closed", Text(f"{moments.full(summary.close_time)}, took {took}")
    if run.HasField("deadline_time") and summary.state not in CLOSED:
        yield "times out", Text(moments.full(run.deadline_time))
    if summary.run_epoch > 1:
        retries = summary.run_epoch - 1
        yield "epoch", Text(f"{summary.run_epoch}, after {retries} {'retry' if retries == 1 else 'retries'}")
    if summary.attributes:
        values = (f"{name}={dumps(plain(value), indent=None)}" for name, value in sorted(summary.attributes.items()))
        yield "attributes", safe(" ".join(values))


def activation_page(activation: Activation, moments: Moments, *, full: bool = False) -> Group:
    """Return everything about one step of a run."""
    return Group(*_activation_parts(activation, moments, None if full else LINES_SHOWN, full=full))


def _activation_parts(
    activation: Activation, moments: Moments, lines_max: int | None, *, full: bool
) -> Iterator[RenderableType]:
    yield safe(f"Step {activation.path}", "bold")
    yield facts(_activation_facts(activation, moments))
    if activation.HasField("input"):
        yield section("Input", payload_text(activation.input, lines_max=lines_max))
    if activation.HasField("output"):
        yield section("Output", payload_text(activation.output, lines_max=lines_max))
    if activation.HasField("failure"):
        yield section("Last failure", failure_text(activation.failure, full=full))
    if activation.HasField("heartbeat_details"):
        yield section("Last heartbeat", payload_text(activation.heartbeat_details, lines_max=lines_max))


def _activation_facts(activation: Activation, moments: Moments) -> Iterator[tuple[str, Text]]:
    yield "state", step_state(activation.state)
    if activation.summary:
        yield "summary", safe(activation.summary)
    if activation.note:
        yield "note", safe(activation.note)
    if activation.handler:
        yield "handler", safe(f"{activation.handler} on queue {activation.queue}")
    if activation.attempt:
        yield "attempt", Text(str(activation.attempt))
    if activation.worker_id:
        yield "worker", safe(activation.worker_id)
    if activation.after:
        yield "after", safe(", ".join(activation.after))
    times = {"schedule_time": "queued", "start_time": "started", "finish_time": "finished", "due_time": "due"}
    for field, time in activation.ListFields():
        if field.name in times:
            yield times[field.name], Text(moments.full(time))


def outcome_text(outcome: RunOutcome, *, full: bool = True) -> Group:
    """Return how a run ended: its state, and its output or failure."""
    parts: list[RenderableType] = [Text.assemble(safe(outcome.run_id), " ", run_state(outcome.state))]
    if outcome.state == RunState.RUN_STATE_SUCCEEDED:
        parts.append(payload_text(outcome.output, lines_max=None if full else LINES_SHOWN))
    elif outcome.HasField("failure"):
        parts.append(
            failure_text(outcome.failure, more=f"holdfast run show {shlex.quote(scrub(outcome.run_id))} --full")
        )
    return Group(*parts)
