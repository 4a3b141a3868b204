"""Schemas decide what a number is."""

import json

import pytest

from holdfast_server.engine.expressions import compile_expression
from holdfast_server.engine.number_types import number_type
from holdfast_server.engine.schemas import compile_schema
from tests.unit.expressions.fake import FakeNames

SCHEMA = {
    "$defs": {"tree": {"properties": {"kids": {"items": {"$ref": "#/$defs/tree"}}, "v": {"type": "number"}}}},
    "properties": {
        "count": {"type": "integer"},
        "rate": {"type": "number"},
        "maybe": {"anyOf": [{"type": "number"}, {"type": "null"}]},
        "or_null": {"type": ["integer", "null"]},
        "list": {"type": "array", "items": {"type": "number"}},
        "tree": {"$ref": "#/$defs/tree"},
        "both": {"allOf": [{"properties": {"v": {"type": "number"}}}]},
        "free": {},
    },
    "additionalProperties": {"type": "number"},
}
INPUT = {
    "count": 5.0,
    "rate": 5,
    "maybe": 5,
    "or_null": 5.0,
    "list": [5],
    "tree": {"v": 5, "kids": [{"kids": [{"v": 5}]}]},
    "both": {"v": 5},
    "free": 5,
    "other": 5,
}


@pytest.mark.parametrize(
    ("text", "typed", "untyped"),
    [
        ("input.count / 2", 2, 2.5),
        ("input.rate / 2", 2.5, 2),
        ("input.maybe / 2", 2.5, 2),
        ("input.or_null / 2", 2, 2.5),
        ("input.list[0] / 2", 2.5, 2),
        ("input.tree.v / 2", 2.5, 2),
        ("input.tree.kids[0].kids[0].v / 2", 2.5, 2),
        ("input.both.v / 2", 2.5, 2),
        ("input.free / 2", 2, 2),
        ("input.other / 2", 2.5, 2),
    ],
)
def test_division_follows_the_schema(text: str, typed: float, untyped: float) -> None:
    numbers = number_type(compile_schema(json.dumps(SCHEMA)))
    names = FakeNames({"input": INPUT})

    assert numbers is not None
    assert compile_expression(text, {("input",): numbers}).value(names) == typed
    assert compile_expression(text).value(names) == untyped


def test_what_is_not_a_number_is_left_as_it_is() -> None:
    numbers = number_type(compile_schema('{"properties": {"a": {"type": "integer"}, "b": {"type": "number"}}}'))
    names = FakeNames({"input": {"a": 5.5, "b": True}})

    assert numbers is not None
    assert compile_expression("[input.a, input.b]", {("input",): numbers}).value(names) == [5.5, True]


def test_a_schema_without_numbers_says_nothing() -> None:
    assert number_type(compile_schema('{"properties": {"a": {"type": "string"}}}')) is None
    assert number_type(compile_schema("true")) is None


def test_a_schema_that_refers_to_itself_ends() -> None:
    numbers = number_type(compile_schema('{"properties": {"a": {"$ref": "#"}, "n": {"type": "number"}}}'))
    names = FakeNames({"input": {"a": {"a": {"n": 5}}}})

    assert numbers is not None
    assert compile_expression("input.a.a.n / 2", {("input",): numbers}).value(names) == 2.5
