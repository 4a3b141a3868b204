"""How much work it can be to check a value against a schema, known before any of it is done.

References make a small schema stand for an exponentially large one, and alternatives that descend into the same member
multiply with the depth of the value. So what one check may cost is bounded by counting, for schemas once when they are
compiled and for a value by how many values and characters it has. Nothing here looks at a clock.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote

from holdfast_server.engine.json_values import JSON_DEPTH_MAX

__all__ = ["WORK_MAX", "Extent", "Work", "WorkFaultError", "extent", "schema_work"]

WORK_MAX: Final = 5_000_000
"""Most evaluations of keywords that checking one value may take; some hundredth of a microsecond each."""
PATTERNS_MAX: Final = 50_000
"""Most characters of all regular expressions of one schema, written out without their counted repetitions."""
ENDLESS: Final = 1 << 62
"""Stands for more than anybody could do."""

_FORMAT_WORK: Final = 10
_CONTAINER_WORK: Final = 20
"""Comparing with a list or an object costs so many times what comparing with a scalar does."""
_AGAIN: Final = 3
"""Keywords for what is unevaluated look at everything beside them again."""
_APPLY_ALL: Final = ("allOf", "anyOf", "oneOf")
_APPLY_ONE: Final = ("not", "if", "then", "else")
_COUNTED: Final = re.compile(r"\{([0-9]{1,9})(?:,([0-9]{0,9}))?\}")
_REFERENCES: Final = ("$ref", "$dynamicRef")
_ANCHORS: Final = ("$anchor", "$dynamicAnchor")


class WorkFaultError(Exception):
    """A schema that no value could be checked against within the limit."""


@dataclass(frozen=True, slots=True)
class Extent:
    """How large a value is."""

    values: int
    chars: int
    depth: int


@dataclass(frozen=True, slots=True)
class Work:
    """What checking costs at most.

    Attributes:
        per_value: evaluations for each value inside the one that is checked, by how deep that one is.
        per_char: evaluations for each character, by the same.
        branching: alternatives look inside of lists or objects, so that telling what is wrong can cost as much again.
    """

    per_value: tuple[int, ...]
    per_char: tuple[int, ...]
    branching: bool

    @property
    def per_byte(self) -> int:
        """Evaluations for each byte of JSON, whatever the value."""
        return max(self.per_value[-1], self.per_char[-1])

    def of(self, value: Extent) -> int:
        """Evaluations for a value."""
        values = self.per_value[min(value.depth, len(self.per_value) - 1)]
        chars = self.per_char[min(value.depth, len(self.per_char) - 1)]
        return values * value.values + chars * value.chars


def extent(value: object) -> Extent:
    """Measures a value."""
    values = chars = depth = 0
    level = [value]
    while level:
        deeper: list[object] = []
        values += len(level)
        for one in level:
            kind = type(one)  # JSON has no others, and asking for them takes longer
            if kind is str:
                chars += len(one)  # type: ignore[arg-type] # it is a str
            elif kind is dict:
                chars += sum(map(len, one))  # type: ignore[call-overload] # keys are text
                deeper.extend(one.values())  # type: ignore[attr-defined] # it is a dict
            elif kind is list:
                deeper.extend(one)  # type: ignore[arg-type] # it is a list
        depth += bool(deeper)
        level = deeper
    return Extent(values, chars, depth)


def schema_work(document: object) -> Work:
    """Counts what checking against a schema costs.

    Raises:
        WorkFaultError: it refers to itself without looking inside of the value, or costs too much for any value.
    """
    graph = _Graph(document)
    order = graph.order()
    values = dict.fromkeys(range(len(graph.nodes)), 0)
    chars = dict(values)
    per_value: list[int] = []
    per_char: list[int] = []
    for _ in range(JSON_DEPTH_MAX + 2):  # a value of depth 0, and one level more than allowed
        values, before_values = _level(graph, order, values, by_char=False), values
        chars, before_chars = _level(graph, order, chars, by_char=True), chars
        per_value.append(values[0])
        per_char.append(chars[0])
        if values == before_values and chars == before_chars:
            break
    if per_value[0] > WORK_MAX:
        message = f"its references multiply: any value would take more than {WORK_MAX:,} evaluations of its keywords"
        raise WorkFaultError(message)
    return Work(tuple(per_value), tuple(per_char), any(node.branching for node in graph.nodes))


@dataclass(slots=True)
class _Node:
    """One schema inside of the document, by the numbers of others."""

    own_values: int = 1
    own_chars: int = 0
    here: tuple[int, ...] = ()
    """Applied to the same value."""
    again: int = 1
    groups: tuple[tuple[tuple[int, ...], ...], ...] = ()
    """Applied to members. A value is an object or a list, so one of the groups counts; all parts of it, one of each."""
    branching: bool = False


class _Graph:
    """The schemas of a document and how they apply each other."""

    def __init__(self, document: object) -> None:
        self._document = document
        self._numbers: dict[int, int] = {}
        self._schemas: list[object] = []
        self._anchors: dict[str, list[object]] = {}
        self._patterns = 0
        for name, schema in _anchored(document):
            self._anchors.setdefault(name, []).append(schema)
        self._number(document)
        self.nodes: list[_Node] = []
        while len(self.nodes) < len(self._schemas):
            self.nodes.append(self._node(self._schemas[len(self.nodes)]))
        if self._patterns > PATTERNS_MAX:
            message = f"its regular expressions have {self._patterns:,} parts, the limit is {PATTERNS_MAX:,}"
            raise WorkFaultError(message)

    def order(self) -> list[int]:
        """Nodes, each after those it applies to the same value."""
        done: dict[int, bool] = {}
        found: list[int] = []
        for start in range(len(self.nodes)):
            stack = [(start, iter(self.nodes[start].here))] if start not in done else []
            if stack:
                done[start] = False
            while stack:
                number, rest = stack[-1]
                inner = next(rest, None)
                if inner is None:
                    stack.pop()
                    done[number] = True
                    found.append(number)
                elif inner not in done:
                    done[inner] = False
                    stack.append((inner, iter(self.nodes[inner].here)))
                elif not done[inner]:
                    raise WorkFaultError("it refers to itself without looking inside of the value, so it never ends")
        return found

    def _number(self, schema: object) -> int:
        number = self._numbers.get(id(schema))
        if number is None:
            number = self._numbers[id(schema)] = len(self._schemas)
            self._schemas.append(schema)
        return number

    def _numbered(self, schemas: object) -> tuple[int, ...]:
        if isinstance(schemas, dict):
            schemas = list(schemas.values())
        return tuple(map(self._number, schemas)) if isinstance(schemas, list) else ()

    def _node(self, schema: object) -> _Node:
        if not isinstance(schema, dict):
            return _Node()
        node = _Node()
        self._count_own(schema, node)
        here: list[int] = []
        for keyword in _APPLY_ALL:
            alternatives = self._numbered(schema.get(keyword))
            here += alternatives
        for keyword in _APPLY_ONE:
            if keyword in schema:
                here.append(self._number(schema[keyword]))
        here += self._numbered(schema.get("dependentSchemas"))
        for keyword in _REFERENCES:
            here += map(self._number, self._targets(schema.get(keyword)))
        node.here = tuple(here)
        if "unevaluatedProperties" in schema or "unevaluatedItems" in schema:
            node.again = _AGAIN
        node.groups = self._groups(schema)
        node.branching = "anyOf" in schema or "oneOf" in schema
        return node

    def _groups(self, schema: dict[str, object]) -> tuple[tuple[tuple[int, ...], ...], ...]:
        members = [self._numbered(schema.get("properties"))]
        members += [(one,) for one in self._numbered(schema.get("patternProperties"))]
        others = ("additionalProperties", "unevaluatedProperties", "propertyNames")
        members += [(self._number(schema[name]),) for name in others if name in schema]
        items = [self._numbered(schema.get("prefixItems"))]
        if "items" in schema:
            items[0] = (*items[0], self._number(schema["items"]))
        items += [(self._number(schema[name]),) for name in ("contains", "unevaluatedItems") if name in schema]
        return tuple(tuple(part for part in group if part) for group in (members, items))

    def _count_own(self, schema: dict[str, object], node: _Node) -> None:
        values = len(schema) or 1
        for keyword in ("properties", "required", "dependentRequired", "dependentSchemas"):
            values += _length(schema.get(keyword))
        lists = schema.get("dependentRequired")
        if isinstance(lists, dict):
            values += sum(map(_length, lists.values()))
        if "const" in schema:
            values += _comparing(schema["const"])
        enum = schema.get("enum")
        if isinstance(enum, list):
            values += sum(map(_comparing, enum))
        chars = 0
        pattern = schema.get("pattern")
        if isinstance(pattern, str):
            chars += self._pattern(pattern)
        patterns = schema.get("patternProperties")
        if isinstance(patterns, dict):
            chars += sum(map(self._pattern, patterns))
            values += len(patterns)
        if "format" in schema:
            chars += _FORMAT_WORK
        chars += ("minLength" in schema) + ("maxLength" in schema)
        node.own_values, node.own_chars = values, chars

    def _pattern(self, pattern: str) -> int:
        length = written_out(pattern)
        self._patterns += length
        return length

    def _targets(self, reference: object) -> list[object]:
        if not isinstance(reference, str):
            return []
        fragment = unquote(reference.removeprefix("#"))
        if fragment and not fragment.startswith("/"):
            return self._anchors.get(fragment, [])
        found: object = self._document
        for part in fragment.split("/")[1:]:
            key = part.replace("~1", "/").replace("~0", "~")
            if isinstance(found, dict) and key in found:
                found = found[key]
            elif isinstance(found, list) and key.isdecimal() and int(key) < len(found):
                found = found[int(key)]
            else:
                return []  # it leads nowhere, which the library refuses
        return [found]


def _level(graph: _Graph, order: list[int], below: dict[int, int], *, by_char: bool) -> dict[int, int]:
    """What each schema costs per value (or character) on values one level deeper than those of `below`."""
    found: dict[int, int] = {}
    for number in order:
        node = graph.nodes[number]
        own = node.own_chars if by_char else node.own_values
        inside = max(
            (sum(max(below[one] for one in part) for part in group) for group in node.groups if group), default=0
        )
        total = node.again * sum(found[one] for one in node.here) + max(own, inside)
        found[number] = min(total, ENDLESS)
    return found


def _anchored(value: object) -> Iterator[tuple[str, object]]:
    stack = [value]
    while stack:
        one = stack.pop()
        if isinstance(one, dict):
            for keyword in _ANCHORS:
                name = one.get(keyword)
                if isinstance(name, str):
                    yield name, one
            stack.extend(one.values())
        elif isinstance(one, list):
            stack.extend(one)


def _length(value: object) -> int:
    return len(value) if isinstance(value, list | dict) else 0


def _comparing(value: object) -> int:
    return _CONTAINER_WORK * extent(value).values if isinstance(value, list | dict) else 1


def written_out(pattern: str) -> int:
    """About how many parts a regular expression has once counted repetitions are written out."""
    outer: list[int] = []
    total = last = at = 0
    while at < len(pattern):
        repeated = _COUNTED.match(pattern, at)
        if repeated is not None:
            last *= max(int(repeated[1]), int(repeated[2] or 0), 1)
            at = repeated.end()
            continue
        character = pattern[at]
        if character == ")" and outer:
            total, last = outer.pop(), total + last
        elif character not in "*+?":
            total, last = total + last, 1
            if character == "(":
                outer.append(total)
                total = last = 0
            elif character == "[":
                at = max(at, pattern.find("]", at + 2))
        at += 1 + (character == "\\")
        if total > PATTERNS_MAX:
            break
    return total + last + sum(outer)
