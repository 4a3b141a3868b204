"""What the demonstration ends with: the report's path, the run's history with timings, and the way to look further."""

from pathlib import Path
from typing import Any

from examples.research_report.demo.screen import Screen
from examples.research_report.demo.view import RunView, StepView, detail_of
from holdfast.v1.history_pb2 import HistoryEvent

TABLE_WIDTH = 80


def close(screen: Screen, view: RunView, output: dict[str, Any] | None) -> None:
    """Print the ending.

    Args:
        screen: Where.
        view: The closed run with all its events.
        output: The run's output; None if it did not succeed.
    """
    for title, lines in (("History", history_table(view)), ("Steps", steps_table(view))):
        screen.say("")
        screen.say(title, "bold")
        for number, line in enumerate(lines):
            screen.say(line, "dim" if number == 0 else "")
    total_s = view.after_s(view.events[-1]) if view.events else 0.0
    screen.say("")
    screen.say(f"Run {view.run_id}: {view.state} after {total_s:.2f} s, {len(view.events)} events.", "bold")
    if output is None:
        return
    screen.say(output["message"])
    screen.say(f"{output['citations']} citations of {output['sources']} sources, {_by(output)}.")
    if output["path"]:
        screen.say(f"The report: {_shown(output['path'])}", "bold green")
    else:
        screen.say(f"The step publish is {view.steps['publish'].state}: no report was written.", "bold")


def history_table(view: RunView) -> list[str]:
    """Return all events of the run with the time after its beginning, at most 80 columns wide; names first."""
    lines = [f"{'seq':>4} {'after':>10}  {'event':<22} {'step':<14}"]
    for event in view.events:
        path = getattr(getattr(event, event.WhichOneof("body") or ""), "path", "")
        after = f"{view.after_s(event):.3f} s"
        lines.append(f"{event.seq:>4} {after:>10}  {_kind(event):<22} {path:<14} {detail_of(event)}")
    return [_fitting(line) for line in lines]


def steps_table(view: RunView) -> list[str]:
    """Return the steps with how long they waited and took, at most 80 columns wide; names first."""
    lines = [f"{'step':<14} {'state':<10} {'waited':>9} {'took':>9} {'tries':>5}"]
    for step in view.steps.values():
        waited, took = _between(step, "begun", "started"), _between(step, "started", "finished")
        lines.append(f"{step.name:<14} {step.state:<10} {waited:>9} {took:>9} {step.starts or '':>5}  {step.summary}")
    return [_fitting(line) for line in lines]


def _fitting(line: str) -> str:
    return line.rstrip() if len(line) <= TABLE_WIDTH else line[: TABLE_WIDTH - 1] + "…"


def _kind(event: HistoryEvent) -> str:
    return "".join(part.capitalize() for part in (event.WhichOneof("body") or "").split("_"))


def _between(step: StepView, first: str, last: str) -> str:
    begin, end = getattr(step, first), getattr(step, last)
    return "" if begin is None or end is None else f"{(end - begin).total_seconds():.3f} s"


def _by(output: dict[str, Any]) -> str:
    revised = ", revised once" if output["revisions"] > 1 else ""
    return f"written by {output['writer']}{revised}"


def _shown(path: str) -> str:
    try:
        return str(Path(path).relative_to(Path.cwd()))
    except ValueError:
        return path
