"""Reading documents: YAML 1.2 by its core schema, JSON, positions, caps."""

import json

import pytest
from hypothesis import given, settings, strategies as st

from holdfast_server.definition import parse
from holdfast_server.definition.positions import DocumentSyntaxError, Position
from holdfast_server.definition.reader import read_document
from tests.unit.definition.documents import JSON, YAML

MIB = 1024 * 1024
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=15,
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("on: no", {"on": "no"}),
        ("a: NO", {"a": "NO"}),
        ("a: yes", {"a": "yes"}),
        ("a: 12:30", {"a": "12:30"}),
        ("a: 2026-12-24", {"a": "2026-12-24"}),
        ("a: 0777", {"a": 777}),
        ("a: 0o17", {"a": 15}),
        ("a: 0xff", {"a": 255}),
        ("a: 1_000", {"a": "1_000"}),
        ("a: +12", {"a": 12}),
        ("a: -.5e1", {"a": -5.0}),
        ("a: 1.", {"a": 1.0}),
        ("a: 9007199254740993", {"a": 9007199254740993}),
        ("a: 123456789012345678901234567890", {"a": 123456789012345678901234567890}),
        ("a: True", {"a": True}),
        ("a: ~", {"a": None}),
        ("a:", {"a": None}),
        ("a: 'null'", {"a": "null"}),
        ('a: "1"', {"a": "1"}),
        ("a: !!str 1", {"a": "1"}),
        ("a: |\n  1\n  2\n", {"a": "1\n2\n"}),
        ("a: &x [1]\nb: *x", {"a": [1], "b": [1]}),
        ("&k a: 1\nb: *k", {"a": 1, "b": "a"}),
        ("\ufeffa: 1", {"a": 1}),
        ("# nothing but\n--- # a comment\na: 1\n...\n", {"a": 1}),
        ('{"a": [1, 2.5, true, null, "\\u00e9"]}', {"a": [1, 2.5, True, None, "\N{LATIN SMALL LETTER E WITH ACUTE}"]}),
        ("{a: 1, 'b': [x, y]}", {"a": 1, "b": ["x", "y"]}),
    ],
)
def test_yaml_means_what_1_2_says(text: str, value: object) -> None:
    read = read_document(text, YAML).value

    assert read == value
    assert repr(read) == repr(value)


def test_an_edge_of_a_document_is_not_a_truth_value() -> None:
    document = (
        "name: x\nsteps:\n  - {name: a, compute: {}}\n  - {name: b, after: [{step: a, on: FAILED}], compute: {}}\n"
    )

    assert parse(document, YAML).diagnostics == ()


SOURCES = {
    "yaml": (YAML, "name: x\nsteps:\n  - name: a\n    input: {q: [1,\n      2]}\n"),
    "json": (JSON, '{"name": "x",\n "steps": [\n  {"name": "a", "input":\n    {"q": [1,\n      2]}}]}'),
}


@pytest.mark.parametrize(
    ("kind", "path", "key", "position"),
    [
        ("yaml", ("name",), False, (1, 7)),
        ("yaml", ("name",), True, (1, 1)),
        ("yaml", ("steps",), False, (3, 3)),
        ("yaml", ("steps", 0), False, (3, 5)),
        ("yaml", ("steps", 0, "input", "q", 1), False, (5, 7)),
        ("yaml", ("steps", 0, "input", "q", 1, "beyond"), False, (5, 7)),
        ("yaml", ("nowhere",), True, (1, 1)),
        ("json", ("name",), False, (1, 10)),
        ("json", ("name",), True, (1, 2)),
        ("json", ("steps", 0), False, (3, 3)),
        ("json", ("steps", 0, "input", "q"), False, (4, 11)),
        ("json", ("steps", 0, "input", "q", 1), False, (5, 7)),
        ("json", ("steps", 0, "input", "z"), False, (4, 5)),
    ],
)
def test_positions(kind: str, path: tuple[str | int, ...], key: bool, position: tuple[int, int]) -> None:
    format_, source = SOURCES[kind]

    assert read_document(source, format_).position(path, key=key) == Position(*position)


@pytest.mark.parametrize(
    ("source", "line", "column", "message"),
    [
        ('{"a": 1,\n}', 2, 1, "this is no JSON"),
        ('{"a": 1,\n "a": 2}', 2, 2, "the key 'a' is there twice"),
        ('{"a": {"b": "b", "b": 2}}', 1, 18, "the key 'b' is there twice"),
        ('{"a": NaN}', 1, 7, "NaN is no JSON"),
        ('{"a": "NaN",\n "b": -Infinity}', 2, 7, "-Infinity is no JSON"),
        ('{"a": [1e999]}', 1, 8, "the number 1e999 is too large"),
        ('{"a": ' + "1" * 1_001 + "}", 1, 7, "an integer has more than 1,000 digits"),
        ('{"a": "\\udc00 \\ud800"}', 1, 7, "half of a character"),
        ("[" * 65 + "]" * 65, 1, 1, "nested deeper than 64 levels"),
        ("[" * 100_000 + "]" * 100_000, 1, 1, "nested deeper than 64 levels"),
        ("", 1, 1, "this is no JSON"),
        ("name: x", 1, 1, "this is no JSON"),
    ],
)
def test_json_faults_have_places(source: str, line: int, column: int, message: str) -> None:
    with pytest.raises(DocumentSyntaxError) as caught:
        read_document(source, JSON)

    assert message in caught.value.message
    assert caught.value.position == (line, column)


def _laughs(levels: int) -> str:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, levels)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (_laughs(6), "there are more than 100,000 values, counting aliases"),
        ("a: &a x\nb: [" + "*a, " * 101 + "]", "there are more than 100 aliases"),
        ("[" * 65 + "]" * 65, "nested deeper than 64 levels"),
        ("- " * 70 + "x", "nested deeper than 64 levels"),
        ("[" + "x," * 100_001 + "]", "there are more than 100,000 values"),
        ("a: " + "1" * 1_001, "an integer has more than 1,000 digits"),
        ("a: " + "x" * MIB, "the document has 1,048,579 bytes, the limit is 1,048,576"),
        ("a: " + "\N{SNOWMAN}" * (MIB // 2), "the limit is 1,048,576"),
    ],
    ids=["laughs", "aliases", "flow depth", "block depth", "values", "digits", "size", "bytes"],
)
def test_caps(source: str, message: str) -> None:
    with pytest.raises(DocumentSyntaxError) as caught:
        read_document(source, YAML)

    assert message in caught.value.message


@settings(deadline=None)
@given(VALUES)
def test_json_reads_as_json_does(value: object) -> None:
    text = json.dumps({"it": value})

    assert read_document(text, JSON).value == json.loads(text)


@settings(deadline=None)
@given(VALUES)
def test_every_place_of_a_json_text_is_found(value: object) -> None:
    source = json.dumps({"it": value}, indent=1, ensure_ascii=False)
    read = read_document(source, JSON)
    line, column = read.position(("it",))
    at = sum(len(one) + 1 for one in source.split("\n")[: line - 1]) + column - 1

    assert json.JSONDecoder().raw_decode(source, at)[0] == value


@settings(deadline=None)
@given(st.text(max_size=200))
def test_no_text_breaks_the_reader(text: str) -> None:
    for format_ in (YAML, JSON):
        parsed = parse(text, format_)
        assert parsed.diagnostics


@settings(deadline=None)
@given(
    st.recursive(
        st.sampled_from(["name", "steps", "a", 1, None, {}, []]),
        lambda x: (
            st.lists(x)
            | st.dictionaries(
                st.sampled_from(
                    [
                        "name",
                        "steps",
                        "after",
                        "step",
                        "task",
                        "gate",
                        "wait",
                        "sleep",
                        "handler",
                        "input",
                        "join",
                        "queries",
                        "on_error",
                        "match",
                    ]
                ),
                x,
            )
        ),
        max_leaves=20,
    )
)
def test_no_document_breaks_the_checks(value: object) -> None:
    assert parse(json.dumps(value), JSON).diagnostics
