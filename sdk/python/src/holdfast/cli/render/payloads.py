"""Payloads and failures as people read them: indented JSON or plain text, cut where it gets long, and saying so."""

import json
from collections.abc import Iterable, Iterator

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.text import Text

from holdfast.cli.render.json import dumps, payload_value
from holdfast.cli.render.words import safe
from holdfast.scrub import scrub
from holdfast.v1.failure_pb2 import Failure
from holdfast.v1.payload_pb2 import JsonValue, Payload

__all__ = [
    "LINES_SHOWN",
    "block",
    "facts",
    "failure_line",
    "failure_text",
    "hanging",
    "json_text",
    "payload_line",
    "payload_text",
    "section",
]

LINES_SHOWN = 20
LINE_CHARS = 120
INDENT = "  "
LABEL_WIDTH = 12


def section(title: str, *bodies: RenderableType) -> Group:
    """Return a part of a page: an empty line, a heading, and what is below it."""
    return Group(Text(), Text(title, style="bold"), *bodies)


def facts(pairs: Iterable[tuple[str, Text]]) -> Group:
    """Return labels and values, one pair a line; a long value goes on where it began."""
    return Group(*(hanging(value, f"{INDENT}{label:<{LABEL_WIDTH}}") for label, value in pairs))


def hanging(text: Text, lead: str = INDENT) -> RenderableType:
    """Return text behind a lead whose lines all begin below each other."""
    return _Hanging(lead, text)


class _Hanging:
    def __init__(self, lead: str, text: Text) -> None:
        self._lead = lead
        self._text = text

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = max(options.max_width - len(self._lead), 8)
        for i, line in enumerate(self._text.wrap(console, width, overflow="fold")):
            line.rstrip()
            yield Text.assemble((" " * len(self._lead) if i else self._lead, "dim"), line)


def block(text: str, *, lines_max: int | None = LINES_SHOWN, more: str = "all of it: --full") -> Text:
    """Return text of others, indented, its lines kept; what is cut is counted.

    Args:
        text: The text.
        lines_max: Most lines; None for all.
        more: How to see the rest.
    """
    lines = scrub(text, multiline=True).expandtabs(4).split("\n")
    shown = lines if lines_max is None or len(lines) <= lines_max + 1 else lines[:lines_max]
    result = Text("\n".join(INDENT + line if line else "" for line in shown), overflow="fold")
    if len(shown) < len(lines):
        result.append("\n" if shown else "")
        result.append(f"{INDENT}… {len(lines) - len(shown)} more lines; {more}", style="dim")
    return result


def payload_text(payload: Payload, *, lines_max: int | None = LINES_SHOWN) -> Text:
    """Return a payload as a block: JSON indented, text as it is."""
    if payload.HasField("ref"):
        return Text(f"{INDENT}{payload.ref.size_bytes:,} bytes, not loaded", style="dim")
    value = payload_value(payload)
    is_text = isinstance(value, str) and payload.metadata.get("encoding", b"").startswith(b"text/")
    return block(value if is_text else dumps(value), lines_max=lines_max)


def json_text(value: JsonValue, *, lines_max: int | None = LINES_SHOWN) -> Text:
    """Return free JSON of a definition as a block."""
    return block(dumps(json.loads(value.json)) if value.json else "", lines_max=lines_max)


def payload_line(payload: Payload, chars_max: int = LINE_CHARS) -> str:
    """Return a payload on one line, cut with its size where it is long."""
    if payload.HasField("ref"):
        return f"({payload.ref.size_bytes:,} bytes)"
    text = dumps(payload_value(payload), indent=None)
    return text if len(text) <= chars_max else f"{text[:chars_max]}… ({len(text):,} characters)"


def failure_line(failure: Failure) -> Text:
    """Return a failure on one line: where, type, message."""
    where = f"{failure.step_path}: " if failure.step_path else ""
    return Text.assemble(
        safe(where), safe(failure.type, "red"), safe(f": {failure.message}" if failure.message else "")
    )


def failure_text(failure: Failure, *, full: bool = False, more: str = "--full") -> Group:
    """Return a failure with its details and causes; with its stack traces if all of it is wanted.

    Args:
        failure: The failure.
        full: True shows everything.
        more: What to add or type to see everything.
    """
    return Group(*_failure_parts(failure, more, full=full))


def _failure_parts(failure: Failure, more: str, *, full: bool) -> Iterator[RenderableType]:
    lead, current = INDENT, failure
    while True:
        yield hanging(failure_line(current), lead)
        if current.HasField("details"):
            yield payload_text(current.details, lines_max=None if full else LINES_SHOWN)
        if current.stack_trace:
            yield block(current.stack_trace.rstrip(), lines_max=None if full else 0, more=f"the stack trace: {more}")
        if not current.HasField("cause"):
            return
        lead, current = INDENT + "caused by ", current.cause
