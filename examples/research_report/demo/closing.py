"""What the demonstration ends with: the report's path, the run's history with timings, and the way to look further."""

from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table

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
    screen.say("")
    screen.show(history_table(view))
    screen.show(steps_table(view))
    total_s = view.after_s(view.events[-1]) if view.events else 0.0
    screen.say("")
    screen.say(f"Run {view.run_id}: {view.state} after {total_s:.2f} s, {len(view.events)} events.", "bold")
    if output is None:
        return
    screen.say(f"{output['message']} {output['citations']} citations of {output['sources']} sources, {_by(output)}.")
    if output["path"]:
        screen.say(f"The report: {_shown(output['path'])}", "bold green")
    else:
        screen.say(f"The step publish is {view.steps['publish'].state}: no report was written.", "bold")


def history_table(view: RunView) -> Table:
    """Return all events of the run with the time after its beginning, at most 80 columns wide."""
    table = Table(title="History", box=box.SIMPLE_HEAD, width=TABLE_WIDTH, title_justify="left", pad_edge=False)
    table.add_column("seq", justify="right", width=3)
    table.add_column("after", justify="right", width=9)
    table.add_column("event", width=21, no_wrap=True)
    table.add_column("step", width=14, no_wrap=True)
    table.add_column("", overflow="ellipsis", no_wrap=True)
    for event in view.events:
        table.add_row(
            str(event.seq),
            f"{view.after_s(event):.3f} s",
            _kind(event),
            getattr(getattr(event, event.WhichOneof("body") or ""), "path", ""),
            detail_of(event),
        )
    return table


def steps_table(view: RunView) -> Table:
    """Return the steps with how long they waited and took."""
    table = Table(title="Steps", box=box.SIMPLE_HEAD, width=TABLE_WIDTH, title_justify="left", pad_edge=False)
    table.add_column("step", width=14, no_wrap=True)
    table.add_column("state", width=10)
    table.add_column("waited", justify="right", width=9)
    table.add_column("took", justify="right", width=9)
    table.add_column("tries", justify="right", width=5)
    table.add_column("", overflow="ellipsis", no_wrap=True)
    for step in view.steps.values():
        table.add_row(
            step.name,
            step.state,
            _seconds_between(step, "begun", "started"),
            _seconds_between(step, "started", "finished"),
            str(step.starts or ""),
            step.summary,
        )
    return table


def _kind(event: HistoryEvent) -> str:
    return "".join(part.capitalize() for part in (event.WhichOneof("body") or "").split("_"))


def _seconds_between(step: StepView, first: str, last: str) -> str:
    begin, end = getattr(step, first), getattr(step, last)
    return "" if begin is None or end is None else f"{(end - begin).total_seconds():.3f} s"


def _by(output: dict[str, Any]) -> str:
    revised = ", revised once" if output["revisions"] > 1 else ""
    return f"written by the {output['writer']} writer{revised}"


def _shown(path: str) -> str:
    try:
        return str(Path(path).relative_to(Path.cwd()))
    except ValueError:
        return path
