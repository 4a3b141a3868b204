"""Reads the text of a document, YAML 1.2 or JSON, and knows the line and column of every value in it.

YAML is read by the core schema of 1.2: `on:` is a text, `NO` is a text, `12:30` is a text. Aliases, depth, number of
values and size are capped before anything is built from them.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from holdfast.v1.workflow_service_pb2 import DocumentFormat
from holdfast_server.definition.json_positions import JsonPositions
from holdfast_server.definition.positions import DocumentSyntaxError, Position, Positions
from holdfast_server.definition.yaml_values import read_yaml
from holdfast_server.engine.json_values import JSON_DEPTH_MAX, containers
from holdfast_server.engine.names import Ref

__all__ = ["DOCUMENT_BYTES_MAX", "ReadDocument", "read_document"]

DOCUMENT_BYTES_MAX: Final = 1024 * 1024
"""Longest document, in bytes of UTF-8."""
_SURROGATE: Final = re.compile(r"\\u[dD][89a-fA-F]")


@dataclass(slots=True)
class ReadDocument:
    """What a text says, and where."""

    value: object
    """The JSON value."""
    positions: Positions = field(repr=False)

    def position(self, parts: Ref, *, key: bool = False) -> Position:
        """Where the value at a path stands, or its key; the nearest value around it if the path leads nowhere."""
        return self.positions.find(parts, key=key)


def read_document(source: str, format: DocumentFormat.ValueType) -> ReadDocument:
    """Read a document.

    Raises:
        DocumentSyntaxError: it is not what `format` says, or goes over a limit.
    """
    size_bytes = len(source.encode(errors="surrogatepass"))
    if size_bytes > DOCUMENT_BYTES_MAX:
        message = f"the document has {size_bytes:,} bytes, the limit is {DOCUMENT_BYTES_MAX:,}"
        raise DocumentSyntaxError(message, Position(1, 1))
    source = source.removeprefix("\N{BYTE ORDER MARK}")
    if format == DocumentFormat.DOCUMENT_FORMAT_JSON:
        read = _read_json(source)
    else:
        read = _read_json_in_yaml(source) or ReadDocument(*read_yaml(source))
    if _SURROGATE.search(source):
        _refuse_surrogates(read, read.value, ())
    return read


def _read_json_in_yaml(source: str) -> ReadDocument | None:
    """The document if it is JSON, which YAML includes and which is read a hundred times faster; else None."""
    if not source.lstrip().startswith("{"):
        return None
    try:
        return _read_json(source)
    except DocumentSyntaxError:
        return None


def _read_json(source: str) -> ReadDocument:
    positions = JsonPositions(source)
    try:
        value = json.loads(
            source,
            object_pairs_hook=positions.members,
            parse_constant=positions.constant,
            parse_float=positions.number,
            parse_int=positions.integer,
        )
    except json.JSONDecodeError as error:
        raise DocumentSyntaxError(f"this is no JSON: {error.msg}", Position(error.lineno, error.colno)) from error
    except RecursionError as error:
        raise DocumentSyntaxError(_depth_message(), Position(1, 1)) from error
    _check_depth(value)
    positions.raise_noted()
    return ReadDocument(value, positions)


def _check_depth(value: object) -> None:
    level = containers([value])
    for _ in range(JSON_DEPTH_MAX):
        level = [inner for one in level for inner in containers(one.values() if isinstance(one, dict) else one)]
        if not level:
            return
    raise DocumentSyntaxError(_depth_message(), Position(1, 1))


def _depth_message() -> str:
    return f"the document is nested deeper than {JSON_DEPTH_MAX} levels"


def _refuse_surrogates(read: ReadDocument, value: object, path: Ref) -> None:
    """Refuse half characters, which JSON can write and UTF-8 cannot."""
    match value:
        case str():
            try:
                value.encode()
            except UnicodeEncodeError as error:
                raise DocumentSyntaxError("a \\u escape is half of a character", read.position(path)) from error
        case Mapping():
            for key, inner in value.items():
                _refuse_surrogates(read, key, path)
                _refuse_surrogates(read, inner, (*path, key))
        case list():
            for index, inner in enumerate(value):
                _refuse_surrogates(read, inner, (*path, index))
