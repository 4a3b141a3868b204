"""From YAML events to JSON values by the core schema of YAML 1.2, with positions and caps.

The events are ruamel.yaml's; resolving them here keeps dates, octal numbers of 1.1 and language-specific tags out.
"""

import math
import re
from collections.abc import Iterator
from typing import Any, Final

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
)

from holdfast_server.definition.positions import DocumentSyntaxError, Position, PositionMap
from holdfast_server.engine.json_values import JSON_DEPTH_MAX
from holdfast_server.engine.names import Ref

__all__ = ["ALIASES_MAX", "VALUES_MAX", "read_yaml"]

ALIASES_MAX: Final = 100
"""Most aliases in a document."""
VALUES_MAX: Final = 100_000
"""Most values in a document once its aliases stand for what they name."""

_NULL: Final = frozenset({"", "~", "null", "Null", "NULL"})
_BOOLEANS: Final = {
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_INTEGER: Final = re.compile(r"[-+]?[0-9]+")
_OCTAL: Final = re.compile(r"0o[0-7]+")
_HEXADECIMAL: Final = re.compile(r"0x[0-9a-fA-F]+")
_FLOAT: Final = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE: Final = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_DIGITS_MAX: Final = 1_000
_TEXT_TAGS: Final = frozenset({"!", "tag:yaml.org,2002:str"})


def read_yaml(source: str) -> tuple[object, PositionMap]:
    """Read one YAML document.

    Raises:
        DocumentSyntaxError: it is no YAML, has no JSON meaning, or goes over a limit.
    """
    builder = _Builder(YAML(typ="safe", pure=True).parse(source))
    try:
        return builder.document(), builder.positions
    except AssertionError as error:  # the library's way to refuse a version it does not know
        raise DocumentSyntaxError("only YAML 1.2 is read; leave the %YAML line out", Position(1, 1)) from error
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        position = Position(1, 1) if mark is None else Position(mark.line + 1, mark.column + 1)
        problem = " ".join(str(part) for part in (error.context, error.problem) if part)
        raise DocumentSyntaxError(f"this is no YAML: {problem}", position) from error
    except YAMLError as error:
        at = getattr(error, "position", None)
        before = source[:at] if isinstance(at, int) else ""
        position = Position(before.count("\n") + 1, len(before) - before.rfind("\n"))
        raise DocumentSyntaxError(f"this is no YAML: {str(error).splitlines()[0]}", position) from error


class _Builder:
    """Builds one value from events."""

    def __init__(self, events: Iterator[Event]) -> None:
        self.positions = PositionMap()
        self._events = events
        self._anchors: dict[str, tuple[object, int] | None] = {}
        self._aliases = 0
        self._values = 0

    def document(self) -> object:
        event = self._next()
        while not isinstance(event, DocumentStartEvent):
            if isinstance(event, StreamEndEvent):
                raise DocumentSyntaxError("the document is empty", Position(1, 1))
            event = self._next()
        version = getattr(event, "version", None)
        if version is not None and tuple(version) != (1, 2):
            raise DocumentSyntaxError("only YAML 1.2 is read; leave the %YAML line out", _position(event))
        value = self._value(self._next(), (), 0)
        self._next()  # the end of the document
        after = self._next()
        if isinstance(after, DocumentStartEvent):
            raise DocumentSyntaxError("a second document starts here; send one at a time", _position(after))
        return value

    def _next(self) -> Event:
        return next(self._events)

    def _value(self, event: Any, path: Ref, depth: int) -> object:
        position = _position(event)
        self.positions.values[path] = position
        if isinstance(event, AliasEvent):
            return self._alias(event, position)
        self._count(1, position)
        before = self._values
        anchor = event.anchor
        if anchor is not None:
            self._anchors[anchor] = None
        value: object
        match event:
            case ScalarEvent():
                value = _scalar(event, position)
            case MappingStartEvent():
                value = self._mapping(event, path, depth + 1, position)
            case SequenceStartEvent():
                value = self._sequence(event, path, depth + 1, position)
            case _:
                raise DocumentSyntaxError("a value is missing", position)
        if anchor is not None:
            self._anchors[anchor] = (value, self._values - before + 1)
        return value

    def _alias(self, event: Any, position: Position) -> object:
        self._aliases += 1
        if self._aliases > ALIASES_MAX:
            raise DocumentSyntaxError(f"there are more than {ALIASES_MAX} aliases", position)
        if event.anchor not in self._anchors:
            raise DocumentSyntaxError(f"the alias *{event.anchor} has no anchor before it", position)
        named = self._anchors[event.anchor]
        if named is None:
            raise DocumentSyntaxError(f"the alias *{event.anchor} stands inside of what it names", position)
        value, size = named
        self._count(size, position)
        return value

    def _count(self, values: int, position: Position) -> None:
        self._values += values
        if self._values > VALUES_MAX:
            raise DocumentSyntaxError(f"there are more than {VALUES_MAX:,} values, counting aliases", position)

    def _mapping(self, event: Any, path: Ref, depth: int, position: Position) -> dict[str, object]:
        _check_collection(event, depth, position)
        found: dict[str, object] = {}
        while not isinstance(event := self._next(), MappingEndEvent):
            key_position = _position(event)
            if isinstance(event, AliasEvent):
                key = self._alias(event, key_position)
            elif isinstance(event, ScalarEvent):
                key = _scalar(event, key_position)
                if event.anchor is not None:
                    self._anchors[event.anchor] = (key, 1)
            else:
                raise DocumentSyntaxError("a key must be a text, not a list or an object", key_position)
            if not isinstance(key, str):
                raise DocumentSyntaxError("a key must be a text; put it into quotes", key_position)
            if key in found:
                raise DocumentSyntaxError(f"the key '{key[:100]}' is there twice in one object", key_position)
            inner = (*path, key)
            self.positions.keys[inner] = key_position
            found[key] = self._value(self._next(), inner, depth)
        return found

    def _sequence(self, event: Any, path: Ref, depth: int, position: Position) -> list[object]:
        _check_collection(event, depth, position)
        found: list[object] = []
        while not isinstance(event := self._next(), SequenceEndEvent):
            found.append(self._value(event, (*path, len(found)), depth))
        return found


def _position(event: Any) -> Position:
    mark = event.start_mark
    return Position(mark.line + 1, mark.column + 1)


def _check_collection(event: Any, depth: int, position: Position) -> None:
    if depth > JSON_DEPTH_MAX:
        raise DocumentSyntaxError(f"the document is nested deeper than {JSON_DEPTH_MAX} levels", position)
    tag = _tag(event)
    if tag is not None and tag not in ("tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"):
        raise DocumentSyntaxError(f"the tag {tag[:100]} is not known; leave it out", position)


def _tag(event: Any) -> str | None:
    return None if event.tag is None else str(event.tag)


def _scalar(event: Any, position: Position) -> str | int | float | bool | None:
    text = str(event.value)
    tag = _tag(event)
    if tag in _TEXT_TAGS:
        return text
    if tag is not None:
        raise DocumentSyntaxError(f"the tag {tag[:100]} is not known; leave it out", position)
    # Quoted and block scalars are texts; only plain ones have a meaning by their looks.
    return text if event.style in ("'", '"', "|", ">") else _plain(text, position)


def _plain(text: str, position: Position) -> str | int | float | bool | None:
    if text in _NULL:
        return None
    if text in _BOOLEANS:
        return _BOOLEANS[text]
    if text[0] not in "+-.0123456789":
        return text
    if _INTEGER.fullmatch(text):
        if len(text) > _DIGITS_MAX:
            raise DocumentSyntaxError(f"an integer has more than {_DIGITS_MAX:,} digits", position)
        return int(text)
    if _OCTAL.fullmatch(text):
        return int(text, 0)
    if _HEXADECIMAL.fullmatch(text):
        return int(text, 0)
    if _NOT_FINITE.fullmatch(text):
        raise DocumentSyntaxError(f"{text} is no JSON", position)
    if _FLOAT.fullmatch(text):
        number = float(text)
        if not math.isfinite(number):
            raise DocumentSyntaxError(f"the number {text[:40]} is too large", position)
        return number
    return text
