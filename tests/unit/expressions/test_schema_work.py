"""Schemas that would take ages, or all the memory, are refused; how large the value may be is counted, not timed."""

import json

import pytest

from holdfast_server.engine.schema_work import PATTERNS_MAX, WORK_MAX, Extent, extent, schema_work, written_out
from holdfast_server.engine.schemas import Schema, SchemaFaultError, compile_schema

SELF = "it refers to itself without looking inside of the value, so it never ends"


def compiled(document: object) -> Schema:
    return compile_schema(json.dumps(document))


def doubling(levels: int, keyword: str = "anyOf", last: object = True) -> dict[str, object]:
    """A schema in which each definition applies the next one twice."""
    definitions = {f"a{n}": {keyword: [{"$ref": f"#/$defs/a{n + 1}"}] * 2} for n in range(levels)}
    return {"$defs": {**definitions, f"a{levels}": last}, "$ref": "#/$defs/a0"}


def nested(levels: int) -> object:
    found: object = 1
    for _ in range(levels):
        found = {"a": found}
    return found


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        ({"$ref": "#"}, SELF),
        ({"allOf": [{"$ref": "#"}]}, SELF),
        ({"$anchor": "a", "not": {"$ref": "#a"}}, SELF),
        ({"$dynamicAnchor": "a", "$dynamicRef": "#a"}, SELF),
        ({"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"}, SELF),
        ({"$defs": {"a b": {"if": {"$ref": "#/$defs/a%20b"}}}, "$ref": "#/$defs/a%20b"}, SELF),
        (doubling(40), "its references multiply"),
        (doubling(40, "allOf", {"type": "string"}), "its references multiply"),
        ({"$defs": {"x": {"$id": "y"}}}, "$defs.x.$id: only the whole schema can have an `$id`"),
        (
            {"pattern": f"a{{{PATTERNS_MAX + 1}}}"},
            f"its regular expressions have 50,001 parts, the limit is {PATTERNS_MAX:,}",
        ),
        ({"pattern": "(a{1000}){1000}"}, "its regular expressions have 1,000,000 parts"),
        ({"pattern": r"\w{3000}"}, "is not a"),
    ],
)
def test_refused_when_compiled(document: object, reason: str) -> None:
    with pytest.raises(SchemaFaultError) as caught:
        compiled(document)

    assert reason in str(caught.value)


def test_a_schema_that_descends_may_refer_to_itself() -> None:
    tree = compiled({"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["v"]})

    assert tree.check({"v": 1, "a": {"v": 1, "a": {"v": 1}}}) == ()
    assert [fault.path for fault in tree.check({"v": 1, "a": {"v": 1, "a": {}}})] == ["a.a"]


def test_alternatives_that_descend_into_the_same_member_are_bounded_by_depth() -> None:
    branches = {"type": "object", "required": ["a"], "properties": {"a": {"$ref": "#/$defs/a"}}}
    schema = compiled({"$defs": {"a": {"anyOf": [branches, branches]}}, "$ref": "#/$defs/a"})

    assert schema.check(nested(8))
    (fault,) = schema.check(nested(40))
    assert f"the limit is {WORK_MAX:,}" in fault.message


def test_a_check_takes_as_much_work_as_allowed_and_not_one_step_more() -> None:
    schema = compiled({"items": {"enum": list(range(998))}})
    per_value = schema_work({"items": {"enum": list(range(998))}}).per_value[-1]
    most = WORK_MAX // per_value - 1  # the list itself is a value too

    assert schema.check([1] * most) == ()
    (fault,) = schema.check([1] * (most + 1))
    steps = per_value * (most + 2)
    assert fault.message == f"it cannot be checked: that would take {steps:,} steps, the limit is {WORK_MAX:,}"


def test_text_is_counted_by_the_regular_expressions_that_look_at_it() -> None:
    schema = compiled({"type": "string", "pattern": "(a|b)*a(a|b){500}c"})

    assert schema.check("ab" * 1_000)[0].message.startswith('"abab')
    assert "it cannot be checked" in schema.check("ab" * 1_000_000)[0].message
    assert compiled({"type": "string", "pattern": "^[ab]*$"}).check("ab" * 100_000) == ()


def test_a_small_value_need_not_be_measured() -> None:
    schema = compiled({"enum": list(range(1_000))})

    assert schema.check(999, size_bytes=3) == ()


@pytest.mark.parametrize(
    "document",
    [
        {"items": {"type": "integer"}},
        {"propertyNames": {"pattern": "^[0-9]+$"}},
        {"additionalProperties": {"type": "integer"}},
    ],
)
def test_a_large_value_that_does_not_fit_is_told_by_its_first_fault(document: object) -> None:
    value: object = (
        ["x"] * 200_000 if "items" in json.dumps(document) else dict.fromkeys(map("k{}".format, range(50_000)), "x")
    )

    assert len(compiled(document).check(value)) == 1


def test_a_large_value_and_alternatives_that_descend_are_not_told_apart() -> None:
    schema = compiled({"anyOf": [{"items": {"type": "string"}}, {"type": "null"}]})

    assert schema.check([1, 2])[0].path == ""
    (fault,) = schema.check([1] * 100_000)
    assert fault.message == "it does not fit; it has too many values, 100,001, to say where"


def test_keywords_for_the_unevaluated_count_what_is_beside_them_again() -> None:
    plain = {"anyOf": [{"properties": {"a": True}}]}

    assert schema_work({**plain, "unevaluatedProperties": False}).per_value[0] > schema_work(plain).per_value[0]


@pytest.mark.parametrize(
    ("pattern", "parts"),
    [
        ("", 0),
        ("abc", 3),
        ("a{3}", 3),
        ("a{2,5}b", 6),
        ("a{4,}", 4),
        ("(ab){10}", 20),
        ("((a{10}){10}){10}", 1_000),
        (r"\d{3}-[a-z]{2}", 6),
        ("[]a{9}]{2}", 2),
        ("(a", 1),
        ("a)", 2),
        ("x{", 2),
        ("\\", 1),
        ("[", 1),
    ],
)
def test_parts_of_a_regular_expression(pattern: str, parts: int) -> None:
    assert written_out(pattern) == parts


def test_an_extent_is_values_characters_and_depth() -> None:
    assert extent({"ab": [1, "xyz"], "c": None}) == Extent(values=5, chars=6, depth=2)
    assert extent([]) == Extent(values=1, chars=0, depth=0)
