"""JSON values between text and memory: exact integers, canonical text, depth."""

import json
import re
from collections.abc import Iterable
from typing import Final

import orjson
import rfc8785

__all__ = [
    "JSON_DEPTH_MAX",
    "canonical",
    "containers",
    "decode",
    "decode_exact",
    "encode",
    "nesting",
    "shown",
    "too_deep",
]

JSON_DEPTH_MAX: Final = 64
"""Deepest nesting of arrays and objects in any value."""

SHOWN_CHARS = 200
_MANY_DIGITS: Final = re.compile(rb"[0-9]{19}")
"""An integer that may not fit into 64 bits has at least as many digits."""

_NESTING: Final = re.compile(rb'"(?:[^"\\]|\\.)*"|[][{}]', re.DOTALL)
_NESTING_BYTES: Final = 20_000
_SHAPE: Final = b'"\\[]{}'
_NOT_SHAPE: Final = bytes(set(range(256)) - set(_SHAPE))
_ROUNDED: Final = bytes.maketrans(b"{}", b"[]")


def decode_exact(text: str) -> object:
    """Parse JSON text and keep integers of any size.

    Raises:
        ValueError: it is not JSON.
    """
    return json.loads(text, parse_constant=_refuse_constant)


def _refuse_constant(name: str) -> object:
    message = f"{name} is not JSON"
    raise ValueError(message)


def decode(data: bytes) -> object:
    """The value of JSON bytes, with integers of any size.

    orjson alone would turn an integer above 2^64 into a double and say nothing.

    Raises:
        ValueError: it is not JSON, or nested so deeply that it cannot be read.
    """
    value: object = orjson.loads(data)
    if _MANY_DIGITS.search(data) is None:
        return value
    try:
        return json.loads(data, parse_constant=_refuse_constant)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def encode(value: object) -> bytes:
    """JSON bytes of a value made of JSON types.

    Raises:
        TypeError: something in it is not JSON.
    """
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError:
        # Integers beyond 64 bits; anything else fails here too.
        return json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def canonical(value: object) -> str:
    """The RFC 8785 text of a value, with integers written out whatever their size.

    The RFC knows doubles only; an integer above 2^53 is kept exactly because losing digits would be worse.
    """
    match value:
        case bool() | None:
            return orjson.dumps(value).decode()
        case str():
            return orjson.dumps(value).decode()
        case int():
            return str(value)
        case float():
            return rfc8785.dumps(value).decode()
        case list() | tuple():
            return f"[{','.join(map(canonical, value))}]"
        case dict():
            names = sorted(value, key=lambda name: name.encode("utf-16-be", "surrogatepass"))
            return "{" + ",".join(f"{canonical(name)}:{canonical(value[name])}" for name in names) + "}"
        case _:
            message = f"{type(value).__name__} is not a JSON type"
            raise TypeError(message)


def shown(value: object) -> str:
    """The start of a value as JSON, for messages."""
    try:
        text = encode(value).decode()
    except (TypeError, ValueError):
        text = type(value).__name__
    return text if len(text) <= SHOWN_CHARS else f"{text[: SHOWN_CHARS - 1]}…"


def too_deep(data: bytes) -> bool:
    """Whether JSON bytes nest deeper than `JSON_DEPTH_MAX`.

    Raises:
        ValueError: they are not JSON, if that had to be found out.
    """
    if data.count(b"[") + data.count(b"{") <= JSON_DEPTH_MAX:  # nearly always, and two scans in C
        return False
    # What is left of strings without brackets is a pair of quotes; of one with brackets, a quote without its like.
    shape = data.translate(_ROUNDED, _NOT_SHAPE).replace(b'""', b"")
    if b'"' in shape or b"\\" in shape:
        return _nests_too_deep(orjson.loads(data))
    for _ in range(JSON_DEPTH_MAX):
        shape = shape.replace(b"[]", b"")
        if not shape:
            return False
    return True


def nesting(data: bytes) -> int:
    """How deeply JSON bytes that are `too_deep` nest, as far as their first 20,000 bytes tell."""
    deepest, depth = JSON_DEPTH_MAX + 1, 0
    for token in _NESTING.finditer(data, 0, _NESTING_BYTES):
        if token[0] in b"[{":
            depth += 1
            deepest = max(deepest, depth)
        elif token[0] in b"]}":
            depth -= 1
    return deepest


def _nests_too_deep(value: object) -> bool:
    level = containers([value])
    for _ in range(JSON_DEPTH_MAX):
        level = [inner for one in level for inner in containers(_children(one))]
        if not level:
            return False
    return True


def containers(values: Iterable[object]) -> list[dict[str, object] | list[object]]:
    """Those of some values that hold others."""
    return [value for value in values if type(value) is dict or type(value) is list]


def _children(value: dict[str, object] | list[object]) -> Iterable[object]:
    return value.values() if isinstance(value, dict) else value
