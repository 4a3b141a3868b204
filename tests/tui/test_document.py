"""`docs/tui.md` says what the screens do."""

from pathlib import Path

from holdfast_tui.keymap import KEYS
from holdfast_tui.store.books import ROWS_MAX
from holdfast_tui.store.link import STALE_AFTER_S, LinkState
from holdfast_tui.store.texts import SHOWN_MAX_CHARS

PAGE = (Path(__file__).parents[2] / "docs" / "tui.md").read_text(encoding="utf-8")


def test_every_key_is_told() -> None:
    rows = [f"| `{key.display or key.keys}` | {key.help} |" for key in KEYS]

    assert [row for row in rows if row not in PAGE] == []


def test_every_state_of_the_connection_is_told() -> None:
    assert [state for state in LinkState if f"| {state} |" not in PAGE] == []


def test_the_limits_are_told() -> None:
    assert f"{ROWS_MAX:,} rows at most" in PAGE
    assert f"longer than {SHOWN_MAX_CHARS // 1024} KiB" in PAGE
    assert f"more than {STALE_AFTER_S:g} s" in PAGE


def test_the_screens_of_the_page_fit_the_smallest_terminal() -> None:
    screens = [block for block in PAGE.split("```") if block.startswith("text\n")]

    assert len(screens) == 3
    assert max(len(line) for screen in screens for line in screen.splitlines()) == 80
