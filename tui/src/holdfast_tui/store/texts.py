"""Payloads and failures as text that is safe to show; what is cut says how much and where the rest is."""

import json
from base64 import b64encode
from collections.abc import Iterator
from typing import NamedTuple

from holdfast.scrub import scrub, scrub_json
from holdfast.v1.failure_pb2 import Failure
from holdfast.v1.payload_pb2 import JsonValue, Payload
from holdfast_tui.store.words import Line, Span, Tone, line, safe

__all__ = ["SHOWN_MAX_CHARS", "Shown", "failure_lines", "has_reference", "json_shown", "left_out_line", "payload_shown"]

SHOWN_MAX_CHARS = 64 * 1024
"""Longest text of one payload on the screen; laying out more would stall the keys."""
_TABS = 4


class Shown(NamedTuple):
    """A payload as text.

    Attributes:
        text: Safe to show, with line breaks.
        is_json: Whether it is JSON, indented.
        left_out_chars: How much is not in the text.
    """

    text: str
    is_json: bool = False
    left_out_chars: int = 0


def has_reference(*payloads: Payload) -> bool:
    """Return whether the bytes of a payload were left on the server."""
    return any(payload.HasField("ref") for payload in payloads)


def payload_shown(payload: Payload) -> Shown:
    """Return a payload as text: JSON indented, text as it is, other bytes by what they say about themselves."""
    if payload.HasField("ref"):
        return Shown(f"{payload.ref.size_bytes:,} bytes, left on the server")
    encoding = payload.metadata["encoding"].decode(errors="replace") if "encoding" in payload.metadata else "json/utf-8"
    try:
        if encoding == "json/utf-8":
            return _cut(_indented(payload.data.decode()), is_json=True)
        if encoding.startswith("text/"):
            return _cut(scrub(payload.data.decode(), multiline=True).expandtabs(_TABS), is_json=False)
    except (ValueError, RecursionError):
        pass  # not what it says it is: shown as the bytes it is
    head = b64encode(payload.data[:SHOWN_MAX_CHARS]).decode()
    return _cut(f"{len(payload.data):,} bytes, encoding {scrub(encoding)}, base64:\n{head}", is_json=False)


def json_shown(value: JsonValue) -> Shown:
    """Return free JSON of a definition, indented."""
    try:
        return _cut(_indented(value.json), is_json=True)
    except (ValueError, RecursionError):
        return _cut(scrub(value.json, multiline=True), is_json=False)


def _indented(text: str) -> str:
    return scrub_json(json.dumps(json.loads(text), indent=2, ensure_ascii=False)) if text.strip() else "null"


def _cut(text: str, *, is_json: bool) -> Shown:
    left_out = max(len(text) - SHOWN_MAX_CHARS, 0)
    return Shown(text[:SHOWN_MAX_CHARS], is_json, left_out)


def failure_lines(failure: Failure, indent: int = 2) -> Iterator[Line]:
    """Yield a failure: where, type and message, and below it what caused it."""
    lead, current = " " * indent, failure
    while True:
        where = f"{current.step_path}: " if current.step_path else ""
        message = f": {current.message}" if current.message else ""
        yield line(lead, safe(where), safe(current.type, Tone.BAD), safe(message), hang=indent)
        if not current.HasField("cause"):
            return
        lead, current = f"{' ' * indent}caused by ", current.cause


def left_out_line(shown: Shown, command: str) -> Line:
    """Return the line that says how much of a text is not shown, and what to type to see it."""
    return line(Span(f"… {shown.left_out_chars:,} characters more: {command}", Tone.WARN))
