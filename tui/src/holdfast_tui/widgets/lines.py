"""Lines that are wrapped below where their text began, so that a tree stays a tree in a narrow terminal."""

from collections.abc import Sequence

from textual.content import Content
from textual.geometry import Size
from textual.widget import Widget

from holdfast_tui.store.words import Line
from holdfast_tui.widgets.tones import content_of

__all__ = ["Lines"]

TEXT_WIDTH_MIN = 16


class Lines(Widget):
    """Lines of text below each other."""

    def __init__(self, lines: Sequence[Line] = (), *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self._lines = tuple(lines)
        self._wrapped: tuple[int, list[Content]] = (-1, [])

    def put(self, lines: Sequence[Line]) -> None:
        """Show other lines."""
        if self._lines != tuple(lines):
            self._lines = tuple(lines)
            self._wrapped = (-1, [])
            self.refresh(layout=True)

    def _rows(self, width: int) -> list[Content]:
        if self._wrapped[0] != width:
            self._wrapped = (width, [row for line in self._lines for row in _hung(line, width)])
        return self._wrapped[1]

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:  # noqa: ARG002 - the library's own
        """Return how many rows the lines take."""
        return len(self._rows(width))

    def render(self) -> Content:
        """Return the rows."""
        return Content("\n").join(self._rows(self.size.width))


def _hung(line: Line, width: int) -> list[Content]:
    content = content_of(line.spans)
    if content.cell_length <= width or not line.hang or width - line.hang < TEXT_WIDTH_MIN:
        return content.wrap(max(width, 1)) if content.cell_length > width else [content]
    first = content.wrap(width)[0]
    rest = content[len(first.plain) :]
    lead = Content(" " * line.hang)
    stripped = rest[len(rest.plain) - len(rest.plain.lstrip(" ")) :]
    return [first, *(lead + row for row in stripped.wrap(width - line.hang))]
