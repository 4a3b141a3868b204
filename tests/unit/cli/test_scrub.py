"""No text of others can drive a terminal; what it tried is seen."""

import json
import unicodedata

import pytest
from hypothesis import given, strategies as st

from holdfast.scrub import scrub, scrub_json

CASES = {
    "\x1b[31mred": "\\x1b[31mred",
    "\x1b]0;title\x07": "\\x1b]0;title\\x07",
    "bell\x07 back\x08space": "bell\\x07 back\\x08space",
    "nul\0": "nul\\x00",
    "del\x7f": "del\\x7f",
    "c1 \x9b31m \x85": "c1 \\x9b31m \\x85",
    "\u202egnp.exe": "\\u202egnp.exe",
    "\u2066\u2067\u2068\u2069": "\\u2066\\u2067\\u2068\\u2069",
    "\u200e\u200f\u061c": "\\u200e\\u200f\\u061c",
    "\u2028\u2029": "\\u2028\\u2029",
    "\u200b\ufeff\u2060": "\\u200b\\ufeff\\u2060",
    "tag \U000e0041": "tag \\U000e0041",
    "half \ud800": "half \\ud800",
}


@pytest.mark.parametrize(("text", "shown"), CASES.items())
def test_what_could_drive_a_terminal_is_written_out(text: str, shown: str) -> None:
    assert scrub(text) == shown
    assert scrub(text, multiline=True) == shown


def test_line_breaks_and_tabs_stay_only_where_they_are_wanted() -> None:
    assert scrub("a\nb\tc\r\nd\re") == "a\\nb\\tc\\r\\nd\\re"
    assert scrub("a\nb\tc\r\nd\re", multiline=True) == "a\nb\tc\nd\\re"


@pytest.mark.parametrize(
    "text", ["plain", "naïve façade", "日本語", "👩‍👩‍👧 family", "می‌خواهم", "[bold]x[/bold]", "\\x1b"]
)
def test_ordinary_text_is_left_alone(text: str) -> None:
    assert scrub(text) == text


@given(st.text(alphabet=st.characters()))
def test_nothing_of_it_is_a_control(text: str) -> None:
    categories = {unicodedata.category(character) for character in scrub(text)}

    assert categories & {"Cc", "Cs", "Zl", "Zp"} == set()


@given(st.text(alphabet=st.characters()))
def test_a_text_of_several_lines_keeps_its_lines(text: str) -> None:
    shown = scrub(text, multiline=True)

    assert shown.count("\n") == text.count("\n")
    assert "\x1b" not in shown
    assert "\x9b" not in shown


@given(
    st.recursive(
        st.none() | st.text(alphabet=st.characters()), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
def test_json_stays_the_same_json(value: object) -> None:
    shown = scrub_json(json.dumps(value, ensure_ascii=False, indent=1))

    assert json.loads(shown) == value
    assert scrub(shown, multiline=True) == shown
