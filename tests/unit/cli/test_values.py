"""What people type as values, and what they are told when it is none."""

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from holdfast.cli.environment import Environment
from holdfast.cli.faults import UsageFault
from holdfast.cli.values import attribute, duration, json_input, moment, named_json

NOW = datetime(2026, 11, 23, 14, 0, tzinfo=UTC)
BERLIN = timezone(timedelta(hours=1))
HERE = Environment(read_bytes=lambda: b'{"from": "stdin"}')


@pytest.mark.parametrize(
    ("text", "seconds"), [("500ms", 0.5), ("90s", 90), ("1.5m", 90), ("10m", 600), ("24h", 86_400), ("7d", 604_800)]
)
def test_durations(text: str, seconds: float) -> None:
    assert duration(text, "--after") == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "5", "5x", "s", "-5s", "1h30m", "99999999999d"])
def test_what_is_no_duration_says_what_would_be(text: str) -> None:
    with pytest.raises(UsageFault, match="--after") as caught:
        duration(text, "--after")

    assert repr(text) in caught.value.message


@pytest.mark.parametrize(
    ("text", "past", "expected"),
    [
        ("10m", False, NOW + timedelta(minutes=10)),
        ("10m", True, NOW - timedelta(minutes=10)),
        ("2026-11-24T09:30", False, datetime(2026, 11, 24, 8, 30, tzinfo=UTC)),
        ("2026-11-24T09:30Z", False, datetime(2026, 11, 24, 9, 30, tzinfo=UTC)),
        ("2026-11-24T09:30+02:00", True, datetime(2026, 11, 24, 7, 30, tzinfo=UTC)),
    ],
)
def test_times_are_local_or_from_now(text: str, past: bool, expected: datetime) -> None:
    assert moment(text, "--after", NOW, BERLIN, past=past) == expected


def test_what_is_no_time_says_what_would_be() -> None:
    with pytest.raises(UsageFault, match="--since 'yesterday': no time"):
        moment("yesterday", "--since", NOW, None)


def test_json_comes_from_the_line_a_file_or_standard_input(tmp_path: Path) -> None:
    file = tmp_path / "input.json"
    file.write_bytes(b'\xef\xbb\xbf{"from": "file"}\n')

    assert json_input('{"n": 9007199254740993, "x": 1.0}', "--input", HERE).data == b'{"n": 9007199254740993, "x": 1.0}'
    assert json_input(f"@{file}", "--input", HERE).data == b'{"from": "file"}'
    assert json_input("-", "--input", HERE).data == b'{"from": "stdin"}'
    assert json_input(" null ", "--input", HERE) is None
    assert json_input(None, "--input", HERE) is None


@pytest.mark.parametrize(
    ("text", "message", "pointer"),
    [
        ('{"who": x}', "Expecting value at line 1, column 9", "        ^"),
        ('{"a": 1,}', "at line 1, column", "^"),
        ('{\n  "a": 1\n  "b": 2\n}', "line 3, column 3", "  ^"),
        ("hello", "line 1, column 1", "^"),
        ("", "line 1, column 1", "^"),
    ],
)
def test_bad_json_points_at_the_place(text: str, message: str, pointer: str) -> None:
    with pytest.raises(UsageFault) as caught:
        json_input(text, "--input", HERE)

    assert caught.value.message.startswith("--input: not JSON: ")
    assert message in caught.value.message
    assert caught.value.details[1].endswith(pointer)


def test_the_pointer_stands_below_the_fault_in_a_long_line_with_hostile_text() -> None:
    with pytest.raises(UsageFault) as caught:
        json_input('{"' + "a" * 500 + '\u202e\x9b": 1, oops}', "--input", HERE)

    line, pointer = caught.value.details
    assert len(line) < 100
    assert "\u202e" not in line
    assert line[pointer.index("^")] == "o"


@pytest.mark.parametrize("text", ["NaN", "[Infinity]", "-Infinity", "[" * 100_000])
def test_what_only_looks_like_json_is_refused(text: str) -> None:
    with pytest.raises(UsageFault, match="not JSON"):
        json_input(text, "--input", HERE)


def test_a_bare_word_is_told_about_quotes() -> None:
    with pytest.raises(UsageFault) as caught:
        json_input("hello", "--payload", HERE)

    assert "'\"hello\"'" in caught.value.hint


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageFault, match="cannot be read: No such file"):
        json_input(f"@{tmp_path}/none.json", "--input", HERE)
    (tmp_path / "latin.json").write_bytes(b'{"name": "Andr\xe9"}')
    with pytest.raises(UsageFault, match="not UTF-8 text: byte 14 is 0xe9"):
        json_input(f"@{tmp_path}/latin.json", "--input", HERE)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("team=north", "north"), ("n=3", 3), ("on=true", True), ("x=a=b", "a=b"), ("e=", ""), ("q=NaN", "NaN")],
)
def test_attributes_are_json_where_they_read_as_json(text: str, expected: object) -> None:
    assert attribute(text) == (text.partition("=")[0], expected)


@pytest.mark.parametrize("text", ["team", "=north", ""])
def test_an_attribute_without_a_name_or_value_is_refused(text: str) -> None:
    with pytest.raises(UsageFault, match="NAME=VALUE"):
        attribute(text)


def test_signals_have_a_name_and_perhaps_json() -> None:
    assert named_json("go", "--signal", HERE) == ("go", None)
    assert named_json('go={"x": 1}', "--signal", HERE)[1].data == b'{"x": 1}'
    with pytest.raises(UsageFault, match="--signal go: not JSON"):
        named_json("go=x", "--signal", HERE)
    with pytest.raises(UsageFault, match="NAME or NAME=JSON"):
        named_json("=1", "--signal", HERE)
