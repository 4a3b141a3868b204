"""Shows the run while it happens: a live tree of steps on a terminal, a line for each change elsewhere."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from rich.console import Console, RenderableType
from rich.live import Live
from rich.markdown import Markdown
from rich.text import Text
from rich.tree import Tree

from examples.research_report.demo.view import RunView, StepView

WIDTH_MAX = 100
WIDTH_PLAIN = 80
SHOWN_LINES_PLAIN = 14
STYLES = {
    "PENDING": ("·", "dim"),
    "QUEUED": ("◌", "cyan"),
    "RUNNING": ("●", "bold yellow"),
    "BACKING_OFF": ("↻", "yellow"),
    "WAITING": ("◆", "bold magenta"),
    "SUCCEEDED": ("✔", "green"),
    "FAILED": ("✘", "bold red"),
    "SKIPPED": ("–", "dim"),
    "CANCELED": ("✘", "red"),
}


class Screen:
    """Where the demonstration speaks.

    Attributes:
        console: The console behind it.
    """

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(highlight=False)
        self._terminal = self.console.is_terminal
        if self._terminal:
            self.console.width = min(self.console.width, WIDTH_MAX)
        else:
            self.console.width = WIDTH_PLAIN
        self._live: Live | None = None
        self._view: RunView | None = None

    def say(self, text: str, style: str = "") -> None:
        """Print a line for the person who watches."""
        self.console.print(Text(text, style=style), soft_wrap=True)

    def show(self, renderable: RenderableType) -> None:
        """Print something richer than a line."""
        self.console.print(renderable)

    @contextmanager
    def live(self, view: RunView) -> Iterator[None]:
        """Keep the tree of steps up to date while the context lasts."""
        self._view = view
        self._begin()
        try:
            yield
        finally:
            self._end()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Take the live tree off the screen while the context lasts, so that other things can be printed and asked."""
        self._end()
        yield
        self._begin()

    def _begin(self) -> None:
        if self._terminal:
            # A new one each time: a display that is started again draws over what was printed meanwhile.
            self._live = Live(get_renderable=self._tree, console=self.console, refresh_per_second=10)
            self._live.start(refresh=True)

    def _end(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def changed(self, step: StepView, after_s: float, detail: str) -> None:
        """Tell that a step changed; the live tree shows it by itself."""
        if not self._terminal:
            self.say(f"{after_s:7.2f} s  {step.name:<14} {step.state:<11} {detail}".rstrip())

    def draft(self, title: str, markdown: str) -> None:
        """Show what waits for a decision: all of it on a terminal, its beginning elsewhere."""
        self.say("")
        if self._terminal:
            self.console.rule(title)
            self.console.print(Markdown(markdown))
            self.console.rule()
            return
        self.say(f"    {title}")
        lines = markdown.splitlines()
        for line in lines[:SHOWN_LINES_PLAIN]:
            self.say(f"    | {line}")
        if len(lines) > SHOWN_LINES_PLAIN:
            self.say(f"    | … {len(lines) - SHOWN_LINES_PLAIN} more lines")
        self.say("")

    def _tree(self) -> Tree:
        assert self._view is not None  # noqa: S101 - for the type checker: live() sets it
        now = datetime.now(UTC)
        tree = Tree(Text.assemble(("research-report ", "bold"), (self._view.run_id, "dim"), f"  {self._view.state}"))
        for step in self._view.steps.values():
            tree.add(_line(step, now))
        return tree


def _line(step: StepView, now: datetime) -> Text:
    mark, style = STYLES.get(step.state, ("?", ""))
    took = "" if step.started is None else f"{((step.finished or now) - step.started).total_seconds():6.2f} s"
    return Text.assemble(
        (f"{mark} ", style),
        f"{step.name:<14}",
        (f"{step.state:<11}", style),
        f"{took:>9}  ",
        (step.summary, "dim"),
        (f"  {step.note}" if step.note and not step.note.startswith("by ") else "", "italic"),
        no_wrap=True,
        overflow="ellipsis",
    )
