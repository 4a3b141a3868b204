"""Which numbers a schema types: what it calls `integer` reaches CEL as int, what it calls `number` as double.

JSON writes 5 and 5.0 as it pleases the producer, and CEL divides integers otherwise than doubles. Where a schema says
what a number is, an expression must not depend on how it happened to be written.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from holdfast_server.engine.names import Ref
from holdfast_server.engine.schemas import Schema

__all__ = ["NumberType", "NumberTypes", "as_members", "number_type", "typed"]

_LOCAL: Final = "#"


@dataclass(slots=True)
class NumberType:
    """What a schema says about numbers in one value."""

    kind: type[int] | type[float] | None = None
    """int or float for a number, None for anything else."""
    members: dict[str, "NumberType"] = field(default_factory=dict)
    rest: "NumberType | None" = None
    """For members that are not listed."""
    items: "NumberType | None" = None


NumberTypes = Mapping[Ref, NumberType]
"""By head: `("input",)`, `("steps", name, "output")`, `("signals", name)`, `("payload",)`."""


def number_type(schema: Schema | None) -> NumberType | None:
    """What a schema says about numbers; None if it says nothing."""
    if schema is None or not isinstance(schema.document, dict):
        return None
    return _Reader(schema.document).read(schema.document)


def as_members(members: Mapping[str, NumberType | None]) -> NumberType | None:
    """The type of an object whose members have these types; None if none of them says anything."""
    known = {name: member for name, member in members.items() if member is not None}
    return NumberType(members=known) if known else None


class _Reader:
    """Reads one schema; each target of a reference once, so that recursive schemas end."""

    def __init__(self, root: dict[str, object]) -> None:
        self._root = root
        self._targets: dict[str, NumberType] = {}

    def read(self, schema: object) -> NumberType | None:
        if not isinstance(schema, dict):
            return None
        target = schema.get("$ref")
        if isinstance(target, str) and "properties" not in schema:
            return self._follow(target)  # shared, so that a recursive schema types what it holds at any depth
        found = NumberType()
        self._fill(found, schema)
        return found if found.kind or found.members or found.rest or found.items else None

    def _fill(self, found: NumberType, schema: dict[str, object]) -> None:
        target = schema.get("$ref")
        if isinstance(target, str):
            self._merge(found, self._follow(target))
        for keyword in ("anyOf", "oneOf"):
            # `X | null`, as generators write optional members.
            choices = schema.get(keyword)
            if isinstance(choices, list):
                real = [one for one in choices if one != {"type": "null"}]
                if len(real) == 1:
                    self._merge(found, self.read(real[0]))
        for part in _list(schema.get("allOf")):
            self._merge(found, self.read(part))
        found.kind = _kind(schema.get("type")) or found.kind
        properties = schema.get("properties")
        found.rest = self.read(schema.get("additionalProperties")) or found.rest
        if isinstance(properties, dict):
            for name, inner in properties.items():
                member = self.read(inner)
                if member is not None:
                    found.members[name] = member
                elif found.rest is not None:
                    found.members.setdefault(name, NumberType())  # listed, so not one of the rest
        found.items = self.read(schema.get("items")) or found.items

    def _follow(self, target: str) -> NumberType | None:
        if target in self._targets:
            return self._targets[target]
        schema: object = self._root
        if target != _LOCAL and not target.startswith("#/"):
            return None  # an anchor: what it types is read as JSON writes it
        for part in target.removeprefix(_LOCAL).split("/")[1:]:
            key = part.replace("~1", "/").replace("~0", "~")
            schema = schema.get(key) if isinstance(schema, dict) else None
        if not isinstance(schema, dict):
            return None
        found = self._targets[target] = NumberType()
        self._fill(found, schema)
        return found

    @staticmethod
    def _merge(found: NumberType, other: NumberType | None) -> None:
        if other is None:
            return
        found.kind = found.kind or other.kind
        found.members = other.members | found.members
        found.rest = found.rest or other.rest
        found.items = found.items or other.items


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _kind(declared: object) -> type[int] | type[float] | None:
    names = {declared} if isinstance(declared, str) else set(declared) if isinstance(declared, list) else set()
    names.discard("null")
    if names == {"integer"}:
        return int
    return float if names and names <= {"integer", "number"} else None


def typed(value: object, number: NumberType) -> object:
    """The value with its numbers as they are typed; parts that do not change are shared with the original."""
    match value:
        case bool() | None | str():
            return value
        case float() if number.kind is int and value.is_integer():
            return int(value)
        case int() if number.kind is float:
            try:
                return float(value)
            except OverflowError:
                return value
        case dict() if number.members or number.rest:
            return {name: _member(name, inner, number) for name, inner in value.items()}
        case list() if number.items is not None:
            return [typed(item, number.items) for item in value]
        case _:
            return value


def _member(name: str, value: object, number: NumberType) -> object:
    member = number.members.get(name, number.rest)
    return value if member is None else typed(value, member)
