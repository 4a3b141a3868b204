"""Lists fit the terminal: some columns give way, keys never do."""

from io import StringIO

import pytest
from rich.console import Console
from rich.text import Text

from holdfast.cli.render.columns import Column, Listing

KEYED = (Column("RUN"), Column("WORKFLOW", shrinks=True), Column("AGE", right=True))


def shown(listing: Listing, width: int = 40) -> list[str]:
    console = Console(width=width, file=StringIO(), markup=False, highlight=False)
    console.print(listing)
    assert isinstance(console.file, StringIO)
    return console.file.getvalue().splitlines()


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    listing = Listing(KEYED)
    listing.add("r-1", "report", "5s")
    listing.add("run-22", "x", "12m")

    assert shown(listing) == ["RUN     WORKFLOW  AGE", "r-1     report     5s", "run-22  x         12m"]


def test_where_it_is_narrow_a_column_gives_way_and_says_so() -> None:
    listing = Listing(KEYED)
    listing.add("r-1", "a-very-long-name-of-a-workflow-indeed", "5s")

    assert shown(listing, 30)[1] == "r-1  a-very-long-name-of…   5s"


def test_a_key_that_does_not_fit_takes_a_line_of_its_own() -> None:
    listing = Listing(KEYED)
    listing.add("k" * 35, "report", "5s")
    listing.add("short", "report", "6s")

    assert shown(listing)[1:] == ["k" * 35, "       report     5s", "short  report     6s"]


def test_a_key_longer_than_the_terminal_is_folded_not_cut() -> None:
    listing = Listing(KEYED)
    listing.add("k" * 100, "report", "5s")

    assert "".join(line.strip() for line in shown(listing)[1:4]) == "k" * 100


def test_notes_are_wrapped_below_their_row() -> None:
    listing = Listing(KEYED)
    listing.add("r-1", "report", "5s", notes=[Text("one two three four five six seven eight nine ten")])

    assert shown(listing)[2:] == ["    one two three four five six seven", "    eight nine ten"]


def test_a_column_without_any_text_takes_no_room() -> None:
    listing = Listing([Column(), Column(), Column()])
    listing.add("a", "", "b")

    assert shown(listing) == ["a  b"]


def test_the_last_column_can_take_several_lines() -> None:
    listing = Listing([Column("N"), Column("WHAT", wraps=True)])
    listing.add("1", "word " * 12)

    lines = shown(listing, 30)
    assert lines[1:] == ["1  word word word word word", "   word word word word word", "   word word"]


@pytest.mark.parametrize("width", [1, 5, 12, 20])
def test_a_tiny_terminal_is_no_crash(width: int) -> None:
    listing = Listing([*KEYED, Column("WHAT", wraps=True)])
    listing.add("run-1", "report", "5s", "some words", notes=[Text("a note")])

    assert shown(listing, width)


def test_wide_characters_count_twice() -> None:
    listing = Listing(KEYED)
    listing.add("日本", "x", "1s")
    listing.add("abcd", "y", "2s")

    assert shown(listing)[1:] == ["日本  x          1s", "abcd  y          2s"]
