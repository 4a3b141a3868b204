"""Finds lines and columns in JSON, only once something is wrong with it.

The standard library reads JSON fast and forgets where things stood; a second, slower walk over the text finds it again.
"""

import json
import math
import re
from bisect import bisect_right
from typing import Final

from holdfast_server.definition.positions import DocumentSyntaxError, Position, PositionMap
from holdfast_server.engine.names import Ref

__all__ = ["JsonPositions"]

_SPACE: Final = re.compile(r"[ \t\n\r]*")
_TEXT: Final = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"')
_SCALAR: Final = re.compile(r"[^ \t\n\r,\]}]+")
_DIGITS_MAX: Final = 1_000


class JsonPositions:
    """Positions of the values of one JSON text, and what its reader finds wrong on the way.

    Faults are only noted while the text is read, because a place can be looked up only in a text that is JSON.
    """

    def __init__(self, source: str) -> None:
        self._source = source
        self._map: PositionMap | None = None
        self._line_starts: list[int] = []
        self._fault: tuple[str, str] | None = None
        """The scalar that is written there, empty for a key that is there twice; and what is wrong with it."""
        self._fault_at: Position | None = None

    def find(self, parts: Ref, *, key: bool = False) -> Position:
        """See `Positions.find`."""
        return self._walked().find(parts, key=key)

    def raise_noted(self) -> None:
        """Raise what was found wrong.

        Raises:
            DocumentSyntaxError: if anything was.
        """
        if self._fault is not None:
            self._walked()
            raise DocumentSyntaxError(self._fault[1], self._fault_at or Position(1, 1))

    def members(self, pairs: list[tuple[str, object]]) -> dict[str, object]:
        """An object of the text; the same key twice is noted."""
        found = dict(pairs)
        if len(found) < len(pairs):
            seen: set[str] = set()
            twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
            self._note_fault("", f"the key '{twice[:100]}' is there twice in one object")
        return found

    def constant(self, text: str) -> float:
        """A constant that JSON does not have; noted."""
        self._note_fault(text, f"{text} is no JSON")
        return math.nan

    def integer(self, text: str) -> int:
        """A whole number; one that is too long is noted."""
        if len(text) > _DIGITS_MAX:
            self._note_fault(text, f"an integer has more than {_DIGITS_MAX:,} digits")
            return 0
        return int(text)

    def number(self, text: str) -> float:
        """A number with a fraction or exponent; one that is too large is noted."""
        number = float(text)
        if not math.isfinite(number):
            self._note_fault(text, f"the number {text[:40]} is too large")
        return number

    def _note_fault(self, text: str, message: str) -> None:
        if self._fault is None:
            self._fault = (text, message)

    def _walked(self) -> PositionMap:
        if self._map is None:
            self._map = PositionMap()
            self._line_starts = [0, *(match.end() for match in re.finditer("\n", self._source))]
            self._value(self._skip(0), (), self._map)
        return self._map

    def _value(self, at: int, path: Ref, found: PositionMap) -> int:
        """Note the value at an offset and what it holds; the text is known to be JSON. Returns where it ends."""
        found.values[path] = self._position(at)
        match self._source[at]:
            case "{":
                return self._object(at, path, found)
            case "[":
                return self._array(at, path, found)
        form = _TEXT if self._source[at] == '"' else _SCALAR
        scalar = form.match(self._source, at)
        if scalar is None:
            return at + 1
        if self._fault is not None and self._fault_at is None and scalar[0] == self._fault[0]:
            self._fault_at = found.values[path]
        return scalar.end()

    def _object(self, at: int, path: Ref, found: PositionMap) -> int:
        at = self._skip(at + 1)
        while (written := _TEXT.match(self._source, at)) is not None:
            inner = (*path, str(json.loads(written[0])))
            position = self._position(at)
            if inner in found.keys and self._fault is not None and not self._fault[0]:
                self._fault_at = self._fault_at or position
            found.keys[inner] = position
            at = self._skip(self._value(self._skip(self._skip(written.end()) + 1), inner, found))
            at = self._skip(at + 1) if self._source[at] == "," else at
        return at + 1

    def _array(self, at: int, path: Ref, found: PositionMap) -> int:
        at = self._skip(at + 1)
        index = 0
        while self._source[at] != "]":
            at = self._skip(self._value(at, (*path, index), found))
            at = self._skip(at + 1) if self._source[at] == "," else at
            index += 1
        return at + 1

    def _skip(self, at: int) -> int:
        space = _SPACE.match(self._source, at)
        return space.end() if space else at

    def _position(self, at: int) -> Position:
        line = bisect_right(self._line_starts, at)
        return Position(line, at - self._line_starts[line - 1] + 1)
