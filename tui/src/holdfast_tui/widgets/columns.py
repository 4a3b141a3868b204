"""How wide the columns of a list are: ids keep their ends, what matters least is left out first."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from rich.cells import cell_len, chop_cells, set_cell_size

from holdfast_tui.store.times import Moments
from holdfast_tui.store.words import Span

__all__ = ["GAP", "Column", "fit", "fit_middle", "widths"]

GAP = 2
RowT = TypeVar("RowT")


@dataclass(frozen=True)
class Column(Generic[RowT]):
    """A column of a list.

    Attributes:
        title: Its heading.
        cell: What it shows of a row.
        width_min: Fewest cells it is of use with.
        width_max: Most cells it is given; None for all that is left.
        right: True puts its cells to the right.
        ends: True cuts in the middle, for ids, whose ends tell them apart.
        waits: True gives it more than its fewest cells only when every other column has what it needs.
        keep: The columns with the smallest number are left out first where there is no room.
    """

    title: str
    cell: Callable[[RowT, Moments], Iterable[Span]]
    width_min: int
    width_max: int | None = None
    right: bool = False
    ends: bool = False
    waits: bool = False
    keep: int = 1


def widths(columns: Sequence[Column[RowT]], naturals: Sequence[int], total: int) -> list[int]:
    """Return the width of each column in cells; 0 for one that is left out.

    Args:
        columns: The columns.
        naturals: Width of the longest cell of each.
        total: Cells there are for all of them.
    """
    # What shows less than it might gets no more than it shows.
    least = [min(column.width_min, natural) for column, natural in zip(columns, naturals, strict=True)]
    shown = list(range(len(columns)))
    while len(shown) > 1 and _needed(least, shown) > total:
        shown.remove(min(shown, key=lambda i: (columns[i].keep, -i)))
    result = [least[i] if i in shown else 0 for i in range(len(columns))]
    spare = total - _needed(least, shown)
    flexible = next((i for i in shown if columns[i].width_max is None), shown[-1])
    # What is short is shown whole before long texts are.
    for i in sorted(shown, key=lambda i: (columns[i].waits, i == flexible, -columns[i].keep)):
        most = columns[i].width_max
        wanted = naturals[i] if most is None else min(naturals[i], most)
        given = min(max(wanted - result[i], 0), max(spare, 0))
        result[i] += given
        spare -= given
    result[flexible] += spare
    return result


def _needed(least: Sequence[int], shown: Sequence[int]) -> int:
    return sum(least[i] for i in shown) + GAP * (len(shown) - 1)


def fit(spans: Iterable[Span], width: int, *, right: bool = False) -> list[Span]:
    """Return spans that are exactly so many cells wide: cut with an ellipsis, or filled with spaces."""
    fitted: list[Span] = []
    room = width
    for span in spans:
        cells = cell_len(span.text)
        if cells > room:
            cut = set_cell_size(span.text, room - 1) + "…" if room > 0 else ""
            fitted.append(Span(cut, span.tone))
            room = 0
            break
        fitted.append(span)
        room -= cells
    if room > 0:
        fitted.insert(0 if right else len(fitted), Span(" " * room))
    return fitted


def fit_middle(spans: Iterable[Span], width: int) -> list[Span]:
    """Return the first span, exactly so many cells wide, cut in its middle."""
    span = next(iter(spans), Span(""))
    if cell_len(span.text) <= width:
        return fit([span], width)
    tail_cells = (width - 1) // 2
    head = set_cell_size(span.text, width - 1 - tail_cells)
    tail = chop_cells(span.text[::-1], tail_cells)[0][::-1] if tail_cells else ""
    return fit([Span(f"{head}…{tail}", span.tone)], width)
