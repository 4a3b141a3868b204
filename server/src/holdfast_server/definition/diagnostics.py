"""Faults of a document against the document schema, said so that an author knows what to do."""

import re
from collections.abc import Iterator
from typing import Any, Final

from jsonschema_rs import Draft202012Validator, ValidationError

from holdfast_server.definition.document_schema import DOCUMENT_SCHEMA, LATER_KINDS, STEP_KINDS
from holdfast_server.engine.faults import FAULTS_MAX, Fault, did_you_mean
from holdfast_server.engine.json_values import shown
from holdfast_server.engine.names import Ref, ref_text

__all__ = ["schema_faults"]

_VALIDATOR: Final = Draft202012Validator(DOCUMENT_SCHEMA, offline=True, mask="\N{NULL}")

_TYPES: Final = {
    "object": "an object",
    "array": "a list",
    "string": "a text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
}


ENTRIES_MAX: Final = 1_000
"""Most steps, edges, signals, queries, attributes and the like, each."""
NAME_SHOWN_CHARS: Final = 100
NESTING: Final = 8
"""No part of a document that is not the author's data is deeper."""
_OF_THE_AUTHOR: Final = frozenset(
    {"input", "output", "value", "args", "input_schema", "output_schema", "schema", "response_schema", "args_schema"}
)
SOUND: Final = {"name": "a", "compute": {}}
"""A step without a fault."""


def schema_faults(document: object) -> list[Fault]:
    """All faults of a document against its schema, at most a thousand."""
    if _VALIDATOR.is_valid(document):
        return []
    too_long = list(_too_long(document, (), 0))
    if too_long:
        return too_long[:FAULTS_MAX]
    faults: dict[Fault, None] = {}
    for part, index in _parts(document):
        for error in _VALIDATOR.iter_errors(part):
            for fault in _faults(error, index):
                faults[fault] = None
        if len(faults) >= FAULTS_MAX:
            break
    explained = {fault.parts[:-1] for fault in faults if fault.parts and fault.message.startswith("unknown field")}
    # "exactly one of task, gate, …" says nothing new where a misspelled or later kind was just named.
    return [fault for fault in faults if not (fault.parts in explained and fault.message.startswith(_ONE_OF))]


_ONE_OF: Final = "it needs exactly one of"


def _too_long(value: object, path: Ref, depth: int) -> Iterator[Fault]:
    """Lists and objects that are longer than any has to be. What holds data of the author's is not looked into."""
    if depth > NESTING or not isinstance(value, dict | list):
        return
    if len(value) > ENTRIES_MAX:
        yield _fault(path, f"it has {len(value):,} entries, the limit is {ENTRIES_MAX:,}")
        return
    for part, inner in value.items() if isinstance(value, dict) else enumerate(value):
        if part not in _OF_THE_AUTHOR:
            yield from _too_long(inner, (*path, part), depth + 1)


def _parts(document: object) -> Iterator[tuple[object, int]]:
    """A document without its steps, then with each alone, and the index of that one.

    The library makes all errors before it hands out the first, and nothing else can happen meanwhile.
    """
    steps = document.get("steps") if isinstance(document, dict) else None
    if not isinstance(document, dict) or not isinstance(steps, list) or len(steps) < 2:  # noqa: PLR2004 - nothing to part
        yield document, 0
        return
    yield {**document, "steps": [SOUND]}, 0
    for index, step in enumerate(steps):
        part = {"name": "a", "steps": [step]}
        if not _VALIDATOR.is_valid(part):
            yield part, index


def _faults(error: ValidationError, index: int) -> Iterator[Fault]:
    parts: Ref = tuple(error.instance_path)
    if parts[:2] == ("steps", 0):
        parts = ("steps", index, *parts[2:])
    match error.kind.name:
        case "additionalProperties":
            for name in error.kind.as_dict()["unexpected"]:
                yield _fault((*parts, name), _unknown(name, _properties(error)))
        case "required":
            name = error.kind.as_dict()["property"]
            yield _fault(parts, f"the field '{name}' is missing")
        case "oneOf":
            yield _fault(parts, f"{_ONE_OF} {', '.join(_choices(error))}{_given(error)}")
        case "propertyNames":
            inner = error.kind.as_dict()["error"]
            yield _fault(parts, f"a key is not {_described(error)}: {inner.message.replace('  ', '').strip()}")
        case _:
            yield _fault(parts, _value_message(error))


def _fault(parts: Ref, message: str) -> Fault:
    return Fault(ref_text(parts), message, parts)


def _subschema(error: ValidationError) -> dict[str, Any]:
    """The schema whose last keyword failed."""
    at: Any = DOCUMENT_SCHEMA
    for part in error.schema_path[:-1]:
        at = at[part]
    return at if isinstance(at, dict) else {}


def _properties(error: ValidationError) -> list[str]:
    return list(_subschema(error).get("properties", {}))


def _unknown(name: str, known: list[str]) -> str:
    if name in LATER_KINDS and "task" in known:
        return f"unknown field '{name}': this version does not run {name} steps; step kinds are {', '.join(STEP_KINDS)}"
    if name == "<<":
        return "unknown field '<<': YAML 1.2 has no merge keys; repeat the members"
    return f"unknown field '{name[:NAME_SHOWN_CHARS]}'{did_you_mean(name[:NAME_SHOWN_CHARS], known)}"


def _choices(error: ValidationError) -> list[str]:
    return [choice["required"][0] for choice in _subschema(error)["oneOf"]]


def _given(error: ValidationError) -> str:
    given = [name for name in _choices(error) if isinstance(error.instance, dict) and name in error.instance]
    return f", not {' and '.join(given)}" if given else ""


def _described(error: ValidationError) -> str:
    return str(_subschema(error).get("description", "what is expected"))


def _value_message(error: ValidationError) -> str:
    instance: Any = error.instance
    value = shown(instance)
    schema = _subschema(error)
    facts = error.kind.as_dict()
    match error.kind.name:
        case "type":
            return _type_message(error, value, schema)
        case "pattern":
            return f"{value} is not {_described(error)}"
        case "enum":
            options = [str(option) for option in facts["options"]]
            close = did_you_mean(str(error.instance), options) if isinstance(error.instance, str) else ""
            hint = close if close.startswith("; did") else ""
            return f"{value} is not one of {', '.join(options)}{hint}"
        case "minLength" | "minItems":
            return "it is empty"
        case "maxLength":
            return f"it has {len(instance):,} characters, the limit is {facts['limit']:,}"
        case "maxItems":
            return f"it has {len(instance):,} entries, the limit is {facts['limit']:,}"
        case "minimum":
            return f"it is at least {facts['limit']}, not {value}"
        case "maximum":
            return f"it is at most {facts['limit']:,}, not {value}"
    return re.sub("\N{NULL}", lambda _: value, error.message)


def _type_message(error: ValidationError, value: str, schema: dict[str, Any]) -> str:
    if not error.instance_path:
        return "a definition is an object with the fields name and steps"
    if "description" in schema:
        hint = ""
        if error.instance_path[-2:-1] == ["after"] and isinstance(error.instance, str):
            hint = f"; write {{step: {error.instance}}}"
        return f"{value} is not {schema['description']}{hint}"
    declared = error.kind.as_dict()["types"]
    expected = " or ".join(_TYPES.get(one, one) for one in declared)
    hint = ""
    if error.instance_path[-1] == "after":
        hint = " of edges, such as [{step: plan}]"
    return f"{value} is not {expected}{hint}"
