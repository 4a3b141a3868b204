"""Lines that are wrapped below where their text began, so that a tree stays a tree in a narrow terminal."""

from collections.abc import Sequence

from textual.content import Content
from textual.css.styles import RulesMap
from textual.selection import Selection
from textual.strip import Strip
from textual.style import Style
from textual.visual import RenderOptions, Visual
from textual.widget import Widget

from holdfast_tui.store.words import Line
from holdfast_tui.widgets.tones import content_of

__all__ = ["Lines"]

TEXT_WIDTH_MIN = 16
"""Where fewer cells than these are left beside the indent, lines go on from the left edge."""


class _Hanging(Visual):
    """Lines, wrapped for whatever width they are drawn in."""

    def __init__(self, lines: Sequence[Line]) -> None:
        self._contents = [(content_of(line.spans), line.hang) for line in lines]
        self._width = -1
        self._rows: list[Content] = []

    def rows(self, width: int) -> list[Content]:
        """Return the rows for a width."""
        if width != self._width:
            self._width = width
            self._rows = [row for content, hang in self._contents for row in _hung(content, hang, width)]
        return self._rows

    def render_strips(self, width: int, height: int | None, style: Style, options: RenderOptions) -> list[Strip]:
        """Return the rows as they are drawn."""
        rows = self.rows(width)
        return Content("\n").join(rows).render_strips(width, height, style, options) if rows else []

    def get_optimal_width(self, rules: RulesMap, container_width: int) -> int:  # noqa: ARG002 - the library's own
        """Return the width of the longest line."""
        return max((content.cell_length for content, _ in self._contents), default=0)

    def get_height(self, rules: RulesMap, width: int) -> int:  # noqa: ARG002 - the library's own
        """Return how many rows the lines take."""
        return len(self.rows(width))


class Lines(Widget):
    """Lines of text below each other."""

    def __init__(self, lines: Sequence[Line] = (), *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self._lines = tuple(lines)
        self._visual = _Hanging(self._lines)

    def put(self, lines: Sequence[Line]) -> None:
        """Show other lines."""
        if self._lines != tuple(lines):
            self._lines = tuple(lines)
            self._visual = _Hanging(self._lines)
            self.refresh(layout=True)

    def render(self) -> Visual:
        """Return the rows."""
        return self._visual

    def get_selection(self, selection: Selection) -> tuple[str, str] | None:
        """Return the selected part of what is drawn."""
        text = "\n".join(row.plain for row in self._visual.rows(self.size.width))
        return selection.extract(text), "\n"


def _hung(content: Content, hang: int, width: int) -> list[Content]:
    if content.cell_length <= width:
        return [content]
    rows = content.wrap(max(width, 1))
    if not hang or width - hang < TEXT_WIDTH_MIN:
        return rows
    rest = content[len(rows[0].plain) :]
    rest = rest[len(rest.plain) - len(rest.plain.lstrip(" ")) :]
    return [rows[0], *(Content(" " * hang) + row for row in rest.wrap(width - hang))]
