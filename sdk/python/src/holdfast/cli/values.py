"""Reads the values people type: JSON and where it comes from, pairs, durations, times."""

import json
import re
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any

from holdfast.cli.environment import Environment
from holdfast.cli.faults import UsageFault
from holdfast.scrub import scrub

__all__ = ["attribute", "duration", "json_input", "moment", "named_json", "parse_json", "read_source"]

UNITS = {"ms": "milliseconds", "s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)")
CONTEXT_COLUMNS = 60


def read_source(text: str, option: str, environment: Environment) -> tuple[str, str]:
    """Return the text that `TEXT`, `@FILE` or `-` stands for, and what to call it in messages.

    Raises:
        UsageFault: The file cannot be read, or is not UTF-8.
    """
    if text == "-":
        data, name = environment.read_bytes(), f"{option} (standard input)"
    elif text.startswith("@"):
        name = f"{option} {text}" if option else text[1:]
        try:
            data = Path(text[1:]).read_bytes()
        except OSError as fault:
            raise UsageFault(f"{name}: cannot be read: {fault.strerror or fault}", hint=_file_hint(text[1:])) from fault
    else:
        return text, option
    try:
        return data.decode("utf-8-sig"), name
    except UnicodeDecodeError as fault:
        raise UsageFault(f"{name}: not UTF-8 text: byte {fault.start} is 0x{data[fault.start]:02x}") from fault


def json_input(text: str | None, option: str, environment: Environment) -> Any:
    """Return what a JSON option says: JSON on the command line, in `@FILE`, or on the standard input for `-`.

    The text itself is passed on, so that numbers keep their digits; null and nothing are None.

    Returns:
        A payload, or None.

    Raises:
        UsageFault: It is not JSON; the message points at the place.
    """
    if text is None:
        return None
    source, name = read_source(text, option, environment)
    if parse_json(source, name) is None:
        return None
    from holdfast.v1.payload_pb2 import Payload

    return Payload(data=source.strip().encode())


def parse_json(source: str, name: str) -> Any:
    """Return the value of JSON text.

    Raises:
        UsageFault: It is not JSON; the message points at the place.
    """
    try:
        return json.loads(source, parse_constant=_no_constant)
    except json.JSONDecodeError as fault:
        message = f"{name}: not JSON: {fault.msg} at line {fault.lineno}, column {fault.colno}"
        raise UsageFault(message, *_pointed(source, fault.lineno, fault.colno), hint=_json_hint(source)) from fault
    except (ValueError, RecursionError) as fault:
        raise UsageFault(f"{name}: not JSON: {fault}") from fault


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON value")


def _pointed(source: str, line_number: int, column: int) -> tuple[str, str]:
    """Return the faulty line, cut around the fault, and a line that points at it."""
    line = source.split("\n")[line_number - 1].replace("\t", " ")
    start = max(0, column - 1 - CONTEXT_COLUMNS // 2)
    before = scrub(line[start : column - 1])
    after = scrub(line[column - 1 : start + CONTEXT_COLUMNS])
    lead = "… " if start else ""
    return f"{lead}{before}{after}", " " * len(lead + before) + "^"


def _file_hint(path: str) -> str:
    if Path(path).is_dir():
        return f"name the files in it, as {scrub(path).rstrip('/')}/*.yaml"
    return "give the path of a file that is there; - is standard input"


def _json_hint(source: str) -> str:
    if re.fullmatch(r"[^\s\"'{}\[\],:]+", source.strip()):
        return f"a text needs double quotes within the shell's: '\"{scrub(source.strip())}\"'; a file is named @FILE"
    return "put JSON into single quotes for the shell, or into a file and name it @FILE"


def named_json(text: str, option: str, environment: Environment) -> tuple[str, Any]:
    """Return name and payload of `NAME` or `NAME=JSON` (or `NAME=@FILE`)."""
    name, equals, value = text.partition("=")
    if not name:
        raise UsageFault(f"{option} {text!r}: write NAME or NAME=JSON")
    return name, json_input(value, f"{option} {name}", environment) if equals else None


def attribute(text: str) -> tuple[str, Any]:
    """Return name and value of `NAME=VALUE`; the value is JSON where it reads as JSON, else text."""
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise UsageFault(f"--attribute {text!r}: write NAME=VALUE, for example team=north or priority=3")
    try:
        return name, json.loads(value, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return name, value


def duration(text: str, option: str) -> timedelta:
    """Return a length of time such as `500ms`, `90s`, `10m`, `24h` or `7d`.

    Raises:
        UsageFault: It is none, or too long to be counted.
    """
    match = DURATION.fullmatch(text.strip())
    if match is None:
        raise UsageFault(f"{option} {text!r}: no duration; write for example 500ms, 90s, 10m, 24h or 7d")
    try:
        return timedelta(**{UNITS[match.group(2)]: float(match.group(1))})
    except OverflowError as fault:
        raise UsageFault(f"{option} {text!r}: too long") from fault


def moment(text: str, option: str, now: datetime, zone: tzinfo | None, *, past: bool = False) -> datetime:
    """Return a time: `YYYY-MM-DDTHH:MM` (local without an offset), or a duration from now.

    Args:
        text: What was typed.
        option: Its name, for messages.
        now: The present time.
        zone: Time zone of times without an offset; None for that of the machine.
        past: True counts a duration back from now.

    Raises:
        UsageFault: It is neither.
    """
    try:
        if DURATION.fullmatch(text.strip()):
            length = duration(text, option)
            return now - length if past else now + length
        time = datetime.fromisoformat(text.strip())
        return (time.replace(tzinfo=zone) if zone and time.tzinfo is None else time.astimezone()).astimezone(UTC)
    except (ValueError, OverflowError) as fault:
        raise UsageFault(
            f"{option} {text!r}: no time; write for example 10m, or 2030-01-31T09:30 (local), or with an offset"
        ) from fault
