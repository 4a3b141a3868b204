"""What an expression may name: references, how they are looked up, and the error when an expression fails."""

import re
from typing import Final, Protocol

from holdfast.v1.payload_pb2 import Payload

__all__ = [
    "NOT_A_PAYLOAD",
    "ROOTS",
    "ExpressionError",
    "Names",
    "NotAPayload",
    "Ref",
    "head_of",
    "parse_reference",
    "ref_text",
]

Ref = tuple[str | int, ...]
"""A path such as `("steps", "plan", "output", "queries", 0)`."""

ROOTS: Final = ("input", "steps", "signals", "run", "payload")
"""First members of all references; `payload` exists in a wait's `when` only."""

VALUE_SHOWN_CHARS = 200


class NotAPayload:
    """The type of `NOT_A_PAYLOAD`."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "NOT_A_PAYLOAD"


NOT_A_PAYLOAD: Final = NotAPayload()
"""Answer of `Names.payload` for a reference at which no whole payload is held."""


class Names(Protocol):
    """The values one evaluation sees."""

    def lookup(self, ref: Ref) -> object:
        """The decoded JSON value at `ref`, None where anything on the way is missing or null.

        Expressions never change what they get. An encrypted or undecodable payload may raise `OpaquePayloadError`.
        """
        ...

    def payload(self, ref: Ref) -> Payload | NotAPayload | None:
        """The undecoded payload held exactly at `ref`; None for null; `NOT_A_PAYLOAD` if `ref` is not a payload."""
        ...


class ExpressionError(Exception):
    """An expression does not compile, or cannot be evaluated on the values at hand.

    Attributes:
        expression: its text.
        position: offset of the fault in characters from 0; None if unknown.
        reason: what is wrong and, where known, what to do.
        value: the start of the offending value as JSON; None if there is none.
    """

    def __init__(self, expression: str, reason: str, position: int | None = None, value: str | None = None) -> None:
        super().__init__(f"{reason} in `{expression[:VALUE_SHOWN_CHARS]}`")
        self.expression = expression
        self.position = position
        self.reason = reason
        self.value = None if value is None else value[:VALUE_SHOWN_CHARS]


_NAME = r"[A-Za-z_][A-Za-z0-9_]*"
_PLAIN = re.compile(rf"\s*({_NAME})((?:\.{_NAME}|\[(?:0|[1-9][0-9]{{0,8}}|\"[^\"\\\n]*\"|'[^'\\\n]*')\])*)\s*")
_PART = re.compile(rf"\.({_NAME})|\[([0-9]+)\]|\[\"([^\"]*)\"\]|\['([^']*)'\]")
_CONSTANTS = frozenset({"true", "false", "null"})


def parse_reference(text: str) -> Ref | None:
    """The path if `text` is one plain reference such as `steps.a.output.b[0]["c d"]`, else None."""
    match = _PLAIN.fullmatch(text)
    if match is None or match[1] in _CONSTANTS:
        return None
    parts: list[str | int] = [match[1]]
    for part in _PART.finditer(match[2]):
        name, index, double_quoted, single_quoted = part.groups()
        if index is not None:
            parts.append(int(index))
        else:
            parts.append(next(text for text in (name, double_quoted, single_quoted) if text is not None))
    return tuple(parts)


def head_of(ref: Ref) -> Ref:
    """The part of a reference that names one value of the run; the rest leads into that value."""
    match ref[0]:
        case "steps":
            return ref[:3]
        case "signals" | "run":
            return ref[:2]
        case _:
            return ref[:1]


def ref_text(ref: Ref) -> str:
    """A reference as it is written."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in ref).removeprefix(".")
