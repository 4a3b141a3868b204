"""JSON Schema: faults with paths, and nothing from outside."""

import json

import pytest

from holdfast_server.engine.schemas import SchemaFaultError, compile_schema


def faults(schema: object, value: object) -> list[tuple[str, str]]:
    return [(fault.path, fault.message) for fault in compile_schema(json.dumps(schema)).check(value)]


def test_a_value_that_fits_has_no_faults() -> None:
    assert faults({"type": "object", "required": ["a"], "properties": {"a": {"type": "integer"}}}, {"a": 1}) == []


def test_faults_have_paths() -> None:
    schema = {"properties": {"a": {"items": {"type": "integer"}}, "b": {"required": ["c"]}}}

    assert faults(schema, {"a": [1, "x"], "b": {}}) == [
        ("a[1]", '"x" is not of type "integer"'),
        ("b", '"c" is a required property'),
    ]


def test_at_most_ten_faults_are_reported() -> None:
    assert len(faults({"items": {"type": "integer"}}, ["x"] * 50)) == 10


def test_a_message_shows_only_the_start_of_a_value() -> None:
    ((_, message),) = faults({"type": "integer"}, "secret " * 1000)

    assert "secret" in message
    assert len(message) < 300


def test_formats_are_checked() -> None:
    assert faults({"format": "date-time"}, "yesterday") == [("", '"yesterday" is not a "date-time"')]


def test_integers_of_any_size_are_integers() -> None:
    assert faults({"type": "integer"}, 2**80) == []


@pytest.mark.parametrize(
    ("text", "path", "message"),
    [
        ('{"type": "objekt"}', "type", '"objekt"'),
        ('{"properties": {"a": {"minimum": "1"}}}', "properties.a.minimum", 'is not of type "number"'),
        ('{"$ref": "https://example.com/s"}', "$ref", "leads outside of the schema"),
        ('{"items": {"$ref": "other.json#/a"}}', "items.$ref", "leads outside of the schema"),
        ('{"anyOf": [{"$dynamicRef": "x"}]}', "anyOf[0].$dynamicRef", "leads outside of the schema"),
        ('{"$ref": "#/nope"}', "", "does not exist"),
        ('{"$schema": "http://json-schema.org/draft-07/schema#"}', "$schema", "only draft 2020-12 is known"),
        ('{"$defs": {"a": {"$schema": "http://json-schema.org/draft-04/schema#"}}}', "$defs.a.$schema", "only draft"),
        ('{"pattern": "("}', "pattern", "regex"),
        ('{"pattern": "(?=a)b"}', "pattern", "regex"),
        ("[]", "", "a schema is an object or a boolean"),
        ("{", "", "the schema is no JSON"),
        ("[" * 100_000, "", "the schema is no JSON"),
        ('{"items":' * 300 + "{}" + "}" * 300, "", "deeper than 64 levels"),
    ],
)
def test_a_schema_that_cannot_be_used_says_why(text: str, path: str, message: str) -> None:
    with pytest.raises(SchemaFaultError) as caught:
        compile_schema(text)

    assert caught.value.path == path
    assert message in caught.value.message


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object"}, {}),
        ({"properties": {"$ref": {"type": "string"}, "$schema": {"type": "string"}}}, {"$ref": "x"}),
        ({"const": {"$ref": "https://example.com/data"}}, {"$ref": "https://example.com/data"}),
        ({"$defs": {"a": {"$anchor": "x", "type": "integer"}}, "$ref": "#x"}, 1),
        ({"items": {"$ref": "#"}}, [[1]]),
        (True, 1),
    ],
)
def test_what_only_looks_like_it_leads_outside_is_fine(schema: object, value: object) -> None:
    assert faults(schema, value) == []


def test_a_value_too_deep_to_check_is_a_fault_not_a_crash() -> None:
    deep: object = 1
    for _ in range(500):
        deep = [deep]

    ((path, message),) = faults({"type": "integer"}, deep)

    assert path == ""
    assert message.startswith("it cannot be checked")
