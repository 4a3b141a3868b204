"""Lines and columns of the values in a document."""

from typing import NamedTuple, Protocol

from holdfast_server.engine.names import Ref

__all__ = ["DocumentSyntaxError", "Position", "PositionMap", "Positions"]


class Position(NamedTuple):
    """A place in a text, both from 1."""

    line: int
    column: int


class DocumentSyntaxError(Exception):
    """A text that cannot be read as a document.

    Attributes:
        message: what is wrong.
        position: where.
    """

    def __init__(self, message: str, position: Position) -> None:
        super().__init__(f"line {position.line}, column {position.column}: {message}")
        self.message = message
        self.position = position


class Positions(Protocol):
    """Knows where values stand."""

    def find(self, parts: Ref, *, key: bool = False) -> Position:
        """Where the value at a path stands, or its key; the nearest value around it if the path leads nowhere."""
        ...


class PositionMap:
    """Positions by path."""

    def __init__(self) -> None:
        self.values: dict[Ref, Position] = {}
        self.keys: dict[Ref, Position] = {}

    def find(self, parts: Ref, *, key: bool = False) -> Position:
        """See `Positions.find`."""
        if key and parts in self.keys:
            return self.keys[parts]
        for length in range(len(parts), -1, -1):
            if (found := self.values.get(parts[:length])) is not None:
                return found
        return Position(1, 1)
