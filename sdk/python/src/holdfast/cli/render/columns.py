"""Lists that fit the terminal: columns that shrink, ids that never do, and a line of their own for what is long."""

import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

__all__ = ["Column", "Listing", "Row"]

GAP = 2
SHRUNK_MIN = 8
WRAPPED_MIN = 20
KEY_MIN = 12
NOTE_LEAD = Text("    ")


@dataclass(frozen=True)
class Column:
    """A column.

    Attributes:
        title: Its heading; all empty means that the list has no headings. A column without any text takes no room.
        right: True puts its cells to the right, for numbers.
        shrinks: True lets its cells be cut with an ellipsis where the terminal is narrow.
        wraps: True lets its cells take several lines there; for the last column only.
    """

    title: str = ""
    right: bool = False
    shrinks: bool = False
    wraps: bool = False


@dataclass(frozen=True)
class Row:
    """A row: a cell for each column, and what is said below it over the whole width, each line behind `lead`."""

    cells: Sequence[Text]
    notes: Sequence[Text] = ()
    lead: Text = field(default_factory=Text)


@dataclass
class Listing:
    """Rows under headings.

    The first column holds what people copy, so it is never cut: where it does not fit beside the others, the row takes
    two lines.
    """

    columns: Sequence[Column]
    rows: list[Row] = field(default_factory=list)

    def add(self, *cells: Text | str, notes: Iterable[Text] = (), lead: Text = NOTE_LEAD) -> None:
        """Add a row; plain strings are ours, text of others comes as `Text` from `safe`."""
        self.rows.append(Row([Text(c) if isinstance(c, str) else c for c in cells], [n for n in notes if n], lead))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        widths = self._widths(options.max_width)
        if any(column.title for column in self.columns):
            head = [Text(column.title, style="bold dim") for column in self.columns]
            yield self._line(head, widths)
        for row in self.rows:
            key, *others = row.cells
            if key.cell_len > widths[0]:
                yield _folding(key)
                yield from self._lines([Text(), *others], widths, console)
            else:
                yield from self._lines(row.cells, widths, console)
            for note in row.notes:
                yield from _indented(note, row.lead, console, options.max_width)

    def _widths(self, width_max: int) -> list[int]:
        """Return how wide each column is: as its widest cell, unless the terminal is narrower than all of them."""
        cells = [[Text(column.title) for column in self.columns], *(row.cells for row in self.rows)]
        widths = [max(row[i].cell_len for row in cells) for i in range(len(self.columns))]
        least = [
            min(width, max(_least(column), len(column.title)))
            for width, column in zip(widths, self.columns, strict=True)
        ]
        gaps = GAP * (sum(width > 0 for width in widths) - 1)
        keys = [row[0].cell_len for row in cells]
        # A key that is far longer than the others takes a line of its own and leaves the others their room.
        for room in (width_max - gaps - sum(widths[1:]), width_max - gaps - sum(least[1:]), KEY_MIN):
            fitting = [key for key in keys[1:] if key <= room]
            if fitting:
                break
        widths[0] = max([keys[0], *fitting], default=0)
        for _ in range(sum(widths) + gaps - width_max):
            widest = max(range(1, len(widths)), key=lambda i: (widths[i] > least[i], widths[i]), default=0)
            if not widest or widths[widest] <= least[widest]:
                break
            widths[widest] -= 1
        return widths

    def _lines(self, cells: Sequence[Text], widths: Sequence[int], console: Console) -> Iterator[Text]:
        """Yield the line of a row, or the lines where its last cell is wrapped."""
        *others, last = cells
        if not self.columns[-1].wraps or last.cell_len <= widths[-1]:
            yield self._line(cells, widths)
            return
        for i, part in enumerate(last.wrap(console, widths[-1], overflow="fold")):
            yield self._line([*([Text()] * len(others) if i else others), part], widths)

    def _line(self, cells: Sequence[Text], widths: Sequence[int]) -> Text:
        line = Text(no_wrap=True, overflow="ellipsis")
        for i, (cell, width, column) in enumerate(zip(cells, widths, self.columns, strict=True)):
            fitted = cell.copy()
            fitted.truncate(width, overflow="ellipsis")
            room = width - fitted.cell_len
            line.append(" " * (GAP if i and width else 0))
            line.append(" " * room if column.right else "")
            line.append_text(fitted)
            line.append("" if column.right else " " * room)
        line.rstrip()
        return line


def _least(column: Column) -> int:
    """Return how narrow a column may become."""
    if column.wraps:
        return WRAPPED_MIN
    return SHRUNK_MIN if column.shrinks else sys.maxsize


def _folding(text: Text) -> Text:
    folded = text.copy()
    folded.overflow = "fold"
    return folded


def _indented(note: Text, lead: Text, console: Console, width_max: int) -> Iterable[Text]:
    for line in note.wrap(console, max(width_max - lead.cell_len, KEY_MIN), overflow="fold"):
        line.rstrip()
        yield Text.assemble(lead, line)
