"""How wide columns are, and how what does not fit is cut."""

import pytest
from hypothesis import given, strategies as st
from rich.cells import cell_len

from holdfast_tui.screens.lists import GATE_COLUMNS, RUN_COLUMNS
from holdfast_tui.store.words import Span, Tone
from holdfast_tui.widgets.columns import GAP, Column, fit, fit_middle, widths


def text_of(spans: list[Span]) -> str:
    return "".join(span.text for span in spans)


def columns(*sizes: tuple[int, int | None, int]) -> list[Column[str]]:
    return [Column("X", lambda row, _: [Span(row)], least, most, keep=keep) for least, most, keep in sizes]


def test_what_is_left_goes_to_the_column_without_a_limit() -> None:
    assert widths(columns((4, 6, 1), (10, None, 2)), [5, 80], 40) == [5, 40 - GAP - 5]


def test_a_column_is_not_wider_than_what_it_shows() -> None:
    assert widths(columns((4, 20, 1), (10, None, 2)), [7, 12], 60) == [7, 51]


def test_the_least_important_column_is_left_out_first() -> None:
    assert widths(columns((10, 10, 1), (10, None, 3), (10, 10, 2)), [10, 10, 10], 25) == [0, 13, 10]
    assert widths(columns((10, 10, 1), (10, None, 3), (10, 10, 2)), [10, 10, 10], 12) == [0, 12, 0]


@pytest.mark.parametrize("shown", [GATE_COLUMNS, RUN_COLUMNS])
@given(total=st.integers(1, 300), naturals=st.lists(st.integers(3, 200), min_size=6, max_size=6))
def test_columns_always_fill_the_width_exactly(shown: list[Column[str]], total: int, naturals: list[int]) -> None:
    given_widths = widths(shown, naturals[: len(shown)], total)
    count = sum(1 for width in given_widths if width)
    if count:
        assert sum(given_widths) + GAP * (count - 1) == total


def test_at_eighty_columns_nothing_is_left_out() -> None:
    assert all(widths(GATE_COLUMNS, [36] * len(GATE_COLUMNS), 78))
    assert all(widths(RUN_COLUMNS, [36] * len(RUN_COLUMNS), 78))


@given(text=st.text(max_size=40), width=st.integers(1, 30))
def test_a_cell_is_exactly_as_wide_as_its_column(text: str, width: int) -> None:
    shown = "".join(character for character in text if character.isprintable() and cell_len(character))
    assert cell_len(text_of(fit([Span(shown)], width))) == width
    assert cell_len(text_of(fit_middle([Span(shown)], width))) == width


def test_a_long_cell_ends_with_an_ellipsis_and_keeps_its_tones() -> None:
    spans = fit([Span("GATE", Tone.LABEL), Span("  a long sentence")], 10)
    assert [span.tone for span in spans] == [Tone.LABEL, Tone.PLAIN]
    assert text_of(spans) == "GATE  a l…"


def test_a_long_id_keeps_both_ends() -> None:
    assert text_of(fit_middle([Span("01a20766-f691-7533-b9a5-eff420977975")], 13)) == "01a207…977975"


def test_numbers_stand_at_the_right() -> None:
    assert text_of(fit([Span("7m")], 5, right=True)) == "   7m"
