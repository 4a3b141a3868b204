"""The steps of a run as a tree: state, attempts, what each waits for, how long it took. Live while the run is open."""

from collections.abc import Iterator, Sequence

from rich.console import Group
from rich.spinner import Spinner
from rich.text import Text

from holdfast.cli.render.columns import Column, Listing
from holdfast.cli.render.payloads import failure_line
from holdfast.cli.render.times import Moments, span
from holdfast.cli.render.words import run_state, safe, step_mark, step_state
from holdfast.v1.run_pb2 import Activation, Run, RunState, StepState, WaitingOn, WaitingReason

__all__ = ["CLOSED", "run_line", "step_tree", "waiting_line"]

CLOSED = frozenset(
    {
        RunState.RUN_STATE_SUCCEEDED,
        RunState.RUN_STATE_FAILED,
        RunState.RUN_STATE_CANCELED,
        RunState.RUN_STATE_TERMINATED,
        RunState.RUN_STATE_TIMED_OUT,
    }
)
_FAILING = frozenset({StepState.STEP_STATE_FAILED, StepState.STEP_STATE_BACKING_OFF, StepState.STEP_STATE_IN_REVIEW})
# A worker at it is what the state RUNNING says already.
_SILENT = frozenset({WaitingReason.WAITING_REASON_TASK_RUNNING})
_SPINNER = Spinner("dots")


def run_line(run: Run, moments: Moments) -> Text:
    """Return the head of the tree: which run, its state, how long it takes or took."""
    summary = run.summary
    until = moments.age_s(summary.close_time) if summary.HasField("close_time") else 0.0
    line = Text.assemble(
        safe(summary.run_id, "bold"),
        "  ",
        safe(f"{summary.workflow} v{summary.version}"),
        "  ",
        run_state(summary.state),
        f"  {span(max(moments.age_s(summary.start_time) - until, 0.0))}",
        overflow="fold",
    )
    if summary.run_epoch > 1:
        line.append(f"  epoch {summary.run_epoch}", style="dim")
    return line


def step_tree(run: Run, moments: Moments, *, spin_s: float | None = None, rows_max: int | None = None) -> Group:
    """Return the tree of a run's steps.

    Args:
        run: The run.
        moments: The present time.
        spin_s: Seconds that turn the spinner of running steps; None shows a mark that stands still.
        rows_max: Most steps; finished and pending ones are counted instead where there are more. None for all.
    """
    listing = Listing([Column(), Column(), Column(), Column(right=True), Column(shrinks=True)])
    shown, left_out = _fitting(run.activations, rows_max)
    waits = _by_path(run.waiting_on)
    for i, activation in enumerate(shown):
        is_last = i == len(shown) - 1 and not left_out
        listing.add(
            Text.assemble(("└─ " if is_last else "├─ ", "dim"), _mark(activation, spin_s), " ", _name(activation)),
            step_state(activation.state),
            Text(f"attempt {activation.attempt}" if activation.attempt > 1 else "", style="yellow"),
            Text(_duration(activation, moments)),
            _detail(activation),
            notes=_notes(activation, waits.get(activation.path, ()), moments),
            lead=Text("     " if is_last else "│    ", style="dim"),
        )
    parts: list[Listing | Text] = [listing]
    if left_out:
        counts = ", ".join(f"{count} {name}" for name, count in left_out.items())
        parts.append(Text(f"└─ and {counts}", style="dim"))
    return Group(*parts)


def waiting_line(waiting: WaitingOn, moments: Moments) -> Text:
    """Return what a run waits for: the sentence, since when, until when."""
    line = safe(waiting.message)
    times = []
    if waiting.HasField("since_time"):
        times.append(f"since {moments.clock(waiting.since_time)}")
    if waiting.HasField("until_time"):
        times.append(f"until {moments.clock(waiting.until_time)}, {moments.ago(waiting.until_time)}")
    if times:
        line.append(f" ({'; '.join(times)})", style="dim")
    return line


def _mark(activation: Activation, spin_s: float | None) -> Text:
    if spin_s is not None and activation.state == StepState.STEP_STATE_RUNNING:
        frame = _SPINNER.frames[int(spin_s * 1000 / _SPINNER.interval) % len(_SPINNER.frames)]
        return Text(frame, style="bold cyan")
    return step_mark(activation.state)


def _name(activation: Activation) -> Text:
    parent, slash, last = activation.path.rpartition("/")
    return Text("  " * (parent.count("/") + 1 if slash else 0)) + safe(last or activation.step)


def _duration(activation: Activation, moments: Moments) -> str:
    if not activation.HasField("schedule_time"):
        return ""
    until = moments.age_s(activation.finish_time) if activation.HasField("finish_time") else 0.0
    return span(max(moments.age_s(activation.schedule_time) - until, 0.0))


def _detail(activation: Activation) -> Text:
    """Return what little more there is to say: what it comes after, who does it, why it was skipped."""
    if activation.state == StepState.STEP_STATE_PENDING and activation.after:
        return safe(f"after {', '.join(activation.after)}", "dim")
    if activation.state == StepState.STEP_STATE_RUNNING:
        return safe(activation.worker_id, "dim")
    return safe(activation.note, "dim")


def _notes(activation: Activation, waits: Sequence[WaitingOn], moments: Moments) -> Iterator[Text]:
    if activation.state in _FAILING and activation.HasField("failure"):
        yield failure_line(activation.failure)
    for waiting in waits:
        if waiting.reason not in _SILENT:
            yield waiting_line(waiting, moments)


def _by_path(waits: Sequence[WaitingOn]) -> dict[str, list[WaitingOn]]:
    found: dict[str, list[WaitingOn]] = {}
    for waiting in waits:
        found.setdefault(waiting.step_path, []).append(waiting)
    return found


def _fitting(activations: Sequence[Activation], rows_max: int | None) -> tuple[list[Activation], dict[str, int]]:
    """Return the steps that are shown, and how many of each state are only counted."""
    if rows_max is None or len(activations) <= rows_max:
        return list(activations), {}
    quiet = (
        StepState.STEP_STATE_SKIPPED,
        StepState.STEP_STATE_PENDING,
        StepState.STEP_STATE_SUCCEEDED,
        StepState.STEP_STATE_CANCELED,
    )
    ranks = {state: len(quiet) - i for i, state in enumerate(quiet)}
    by_rank = sorted(range(len(activations)), key=lambda i: ranks.get(activations[i].state, 0))
    kept = set(by_rank[: max(rows_max - 1, 1)])
    counts: dict[str, int] = {}
    for i, activation in enumerate(activations):
        if i not in kept:
            name = step_state(activation.state).plain
            counts[name] = counts.get(name, 0) + 1
    return [activation for i, activation in enumerate(activations) if i in kept], counts
