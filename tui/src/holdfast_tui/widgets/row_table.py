"""A list of rows with headings that draws only what is seen, so that its cost does not grow with its length.

What is selected is a row, not a place: rows may come and go above it. When the selected row itself is gone nothing is
selected in its place until a person moves the cursor, so that no key ever means something that slid under it.
"""

from collections.abc import Hashable, Iterable, Sequence
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from rich.cells import cell_len
from textual import events
from textual.binding import BindingType
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip
from textual.visual import Visual

from holdfast_tui.keymap import bindings
from holdfast_tui.store.times import Moments
from holdfast_tui.store.words import Line, Span, Tone
from holdfast_tui.widgets.columns import GAP, Column, fit, fit_middle, widths
from holdfast_tui.widgets.tones import content_of

__all__ = ["RowTable"]

MARKER = "▌"


class _Keyed(Protocol):
    @property
    def key(self) -> Hashable: ...


RowT = TypeVar("RowT", bound=_Keyed)


class RowTable(ScrollView, Generic[RowT], can_focus=True):
    """A list with a cursor."""

    ALLOW_SELECT = False
    BINDINGS: ClassVar[list[BindingType]] = bindings("list")
    COMPONENT_CLASSES: ClassVar[set[str]] = {"row-table--head", "row-table--cursor", "row-table--blurred"}

    class Picked(Message):
        """Another row is selected."""

        def __init__(self, table: "RowTable[Any]") -> None:
            super().__init__()
            self.table = table

        @property
        def control(self) -> "RowTable[Any]":
            """The list."""
            return self.table

    class Opened(Message):
        """Somebody wants to see all of the selected row."""

        def __init__(self, table: "RowTable[Any]") -> None:
            super().__init__()
            self.table = table

        @property
        def control(self) -> "RowTable[Any]":
            """The list."""
            return self.table

    def __init__(self, columns: Sequence[Column[RowT]], *, id: str) -> None:
        super().__init__(id=id)
        self._columns = columns
        self._rows: Sequence[RowT] = ()
        self._naturals = [cell_len(column.title) for column in columns]
        self._moments = Moments(0.0)
        self._empty: Sequence[Line] = ()
        self._cursor = 0
        self.cursor_key: Hashable | None = None
        self.is_leading = True

    def lead(self, *, is_leading: bool) -> None:
        """Show the cursor, or hide it while something else is selected."""
        self.is_leading = is_leading
        self.refresh()

    @property
    def _seen_width(self) -> int:
        """Cells beside the scrollbar."""
        return self.scrollable_content_region.width

    @property
    def is_on_row(self) -> bool:
        """Whether the selected row is in the list."""
        return self._cursor < len(self._rows) and self._rows[self._cursor].key == self.cursor_key

    def put(self, rows: Sequence[RowT], moments: Moments, empty: Sequence[Line]) -> None:
        """Show rows, and the present time in their cells; where there are none, the lines that say why."""
        is_same = rows is self._rows and empty == self._empty and int(moments.now_s) == int(self._moments.now_s)
        self._moments = moments
        self._empty = empty
        if rows is not self._rows:
            self._take(rows)
        if not is_same:
            self.refresh()

    def _take(self, rows: Sequence[RowT]) -> None:
        is_followed = self.is_leading and self.is_on_row and self._is_cursor_seen
        self._rows = rows
        if not rows:
            self._naturals = [cell_len(column.title) for column in self._columns]
        self.virtual_size = Size(0, len(rows) + 1)
        found = next((i for i, row in enumerate(rows) if row.key == self.cursor_key), None)
        if found is not None:
            self._cursor = found
            if is_followed:
                self._scroll_to_cursor()
        elif self.cursor_key is None and rows:
            self._move_to(0)

    @property
    def _is_cursor_seen(self) -> bool:
        return 0 <= self._cursor - self.scroll_offset.y < self.size.height - 1

    def _measure(self) -> None:
        """Let the columns grow to what is seen. They never shrink, so that scrolling does not make them jump."""
        top = self.scroll_offset.y
        for row in self._rows[top : top + self.size.height]:
            for i, column in enumerate(self._columns):
                cells = sum(cell_len(span.text) for span in column.cell(row, self._moments))
                self._naturals[i] = max(self._naturals[i], cells)

    def select(self, key: Hashable) -> None:
        """Select a row by its key; one that is not in the list becomes selected once it is."""
        found = next((i for i, row in enumerate(self._rows) if row.key == key), None)
        if found is not None:
            self._move_to(found)
        else:
            self.cursor_key = key

    def _move_to(self, index: int) -> None:
        if not self._rows:
            return
        self._cursor = min(max(index, 0), len(self._rows) - 1)
        key = self._rows[self._cursor].key
        self._scroll_to_cursor()
        self.refresh()
        if key != self.cursor_key:
            self.cursor_key = key
            self.post_message(self.Picked(self))

    def _scroll_to_cursor(self) -> None:
        page, top = max(self.size.height - 1, 1), self.scroll_offset.y
        if self._cursor < top:
            self.scroll_to(y=self._cursor, animate=False, immediate=True)
        elif self._cursor >= top + page:
            self.scroll_to(y=self._cursor - page + 1, animate=False, immediate=True)

    def action_move(self, rows: int) -> None:
        """Move the cursor; where its row is gone, the next one took its place."""
        if not self.is_on_row and rows > 0:
            rows -= 1
        self._move_to(self._cursor + rows)

    def action_page(self, pages: int) -> None:
        """Move the cursor by as many rows as are seen."""
        self._move_to(self._cursor + pages * max(self.size.height - 2, 1))

    def action_first(self) -> None:
        """Move the cursor to the first row."""
        self._move_to(0)

    def action_last(self) -> None:
        """Move the cursor to the last row."""
        self._move_to(len(self._rows) - 1)

    def action_open(self) -> None:
        """Ask for all of the selected row."""
        self.post_message(self.Opened(self))

    def on_click(self, event: events.Click) -> None:
        """Select the row under the pointer; a second click opens it."""
        offset = event.get_content_offset(self)
        if offset is None or offset.y < 1 or offset.y - 1 + self.scroll_offset.y >= len(self._rows):
            return
        index = offset.y - 1 + self.scroll_offset.y
        self._move_to(index)
        if event.chain > 1:
            self.action_open()

    def on_resize(self) -> None:
        """Keep the cursor in view."""
        self._scroll_to_cursor()

    def render_lines(self, crop: Region) -> list[Strip]:
        """Return lines of the list, in columns as wide as what is seen of it needs."""
        before = list(self._naturals)
        self._measure()
        if self._naturals != before and crop.size != self.size:
            self.refresh()  # the lines outside the crop have to move with these
        return super().render_lines(crop)

    def render_line(self, y: int) -> Strip:
        """Return a line of the list: the headings on top, whatever is below them."""
        width = self._seen_width
        if not self._rows:
            return self._empty_line(y, width)
        columns = widths(self._columns, self._naturals, width - len(MARKER) - 1)
        if y == 0:
            return self._strip(self._head(columns), "row-table--head")
        index = y - 1 + self.scroll_offset.y
        if index >= len(self._rows):
            return self._strip((), "")
        is_cursor = index == self._cursor and self.is_on_row and self.is_leading
        style = ("row-table--cursor" if self.has_focus else "row-table--blurred") if is_cursor else ""
        spans = [Span(MARKER if is_cursor else " ", Tone.BUSY), Span(" "), *self._cells(self._rows[index], columns)]
        return self._strip(spans, style)

    def _empty_line(self, y: int, width: int) -> Strip:
        lines = [row for text in self._empty for row in content_of(text.spans).wrap(max(width - 2, 1))]
        if y >= len(lines):
            return self._strip((), "")
        style = self.visual_style
        return Visual.to_strips(self, (content_of([Span("  ")]) + lines[y]), width, 1, style, pad=True)[0]

    def _head(self, columns: Sequence[int]) -> Iterable[Span]:
        yield Span("  ")
        yield from self._gapped(
            fit([Span(column.title)], width, right=column.right)
            for column, width in zip(self._columns, columns, strict=True)
            if width
        )

    def _cells(self, row: RowT, columns: Sequence[int]) -> Iterable[Span]:
        yield from self._gapped(
            fit_middle(column.cell(row, self._moments), width)
            if column.ends
            else fit(column.cell(row, self._moments), width, right=column.right)
            for column, width in zip(self._columns, columns, strict=True)
            if width
        )

    def _gapped(self, cells: Iterable[list[Span]]) -> Iterable[Span]:
        for i, cell in enumerate(cells):
            if i:
                yield Span(" " * GAP)
            yield from cell

    def _strip(self, spans: Iterable[Span], component: str) -> Strip:
        style = self.visual_style
        if component:
            style += self.get_visual_style(component)
        return Visual.to_strips(self, content_of(spans), self._seen_width, 1, style, pad=True)[0]
