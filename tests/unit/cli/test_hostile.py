"""Text of others in every field of every answer: no command lets a control character through to the terminal."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from google.protobuf.message import Message

from holdfast.v1.payload_pb2 import JsonValue, Payload
from tests.unit.cli.samples import RUN_ID
from tests.unit.cli.stage import Refusal, Stage
from tests.unit.cli.test_golden import CASES, fill

EVIL = "[bold]x[/bold] \x1b[31m \x1b]0;t\x07 \x9b2J \u202e \u2066 \u200f \r \x08 \U000e0041 :smile:"
CONTROLS = re.compile(
    "[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\U000e0000-\U000e007f]"
)
MORE = {
    "workflow_json": ("workflow", "show", "w", "-o", "json"),
    "run_json": ("run", "show", RUN_ID, "-o", "json"),
    "history_json": ("run", "history", RUN_ID, "-o", "json"),
    "watch_json": ("run", "watch", RUN_ID, "-o", "json"),
    "gate_approve": ("gate", "approve", RUN_ID, "--yes-i-mean", EVIL),
    "gate_edit": ("gate", "edit", RUN_ID, "--payload", "{}"),
    "query": ("run", "query", RUN_ID, "x"),
    "register": ("workflow", "register", "-"),
}
ALL = {**CASES, **MORE}
COLOUR = {"FORCE_COLOR": "1", "TERM": "xterm"}


def spoil(message: Message) -> None:
    """Put hostile text into every field that takes text, as deep as it goes."""
    if isinstance(message, JsonValue):
        message.json = json.dumps({EVIL: [EVIL]}, ensure_ascii=False)
        return
    if isinstance(message, Payload):
        if not message.metadata:
            message.data = json.dumps({EVIL: [EVIL]}, ensure_ascii=False).encode()
        else:
            message.data = EVIL.encode()
        return
    for field, value in list(message.ListFields()):
        for inner in _messages(value):
            spoil(inner)
        if field.type == field.TYPE_STRING and field.message_type is None:
            if field.is_repeated:
                value[:] = [EVIL for _ in value]
            else:
                setattr(message, field.name, EVIL)


def _messages(value: Any) -> Iterator[Message]:
    if isinstance(value, Message):
        yield value
    elif hasattr(value, "values"):
        yield from (each for each in value.values() if isinstance(each, Message))
    elif hasattr(value, "append"):
        yield from (each for each in value if isinstance(each, Message))


@pytest.fixture
def spoilt(stage: Stage) -> Stage:
    """A stage on which every answer is hostile."""
    fill(stage)
    for answer in stage.answers.values():
        for message in answer if isinstance(answer, list) else [answer]:
            spoil(message)
    # A run is waited for by the id that was asked for.
    stage.answers["WaitRuns"][0].outcomes[0].run_id = RUN_ID
    stage.answers["GetRun"].run.activations[1].path = "search"
    return stage


Case = tuple[str, tuple[str, ...], dict[str, str]]
# The live tree draws with control sequences of its own; `test_watch` reads it.
LINES: list[Case] = [(name, arguments, {}) for name, arguments in ALL.items()]
COLOURED: list[Case] = [(name, arguments, COLOUR) for name, arguments in ALL.items() if "watch" not in arguments]


@pytest.mark.parametrize(("name", "arguments", "colour"), [*LINES, *COLOURED])
def test_no_command_lets_a_control_character_through(
    spoilt: Stage, name: str, arguments: tuple[str, ...], colour: dict[str, str]
) -> None:
    result = spoilt.call(*arguments, input=b"name: x\n", also=colour)

    ours = re.compile(r"\x1b\[[0-9;]*m")  # the colours rich gives
    shown = ours.sub("", result.output)
    assert result.exit_code in (0, 1), result.output
    assert CONTROLS.findall(shown) == []
    assert "[31m" not in ours.sub("", result.output).replace("\\x1b[31m", "").replace("\\u001b[31m", "")


def test_markup_and_emoji_codes_are_text(spoilt: Stage) -> None:
    shown = spoilt.call("run", "list").output

    assert "[bold]x[/bold]" in shown
    assert ":smile:" in shown


def test_hostile_errors(stage: Stage) -> None:
    stage.answers["GetRun"] = Refusal(
        "RUN_CLOSED",
        message="see \x9b2J",
        violations={"a\x9bb": "c\u202ed"},
        metadata={"detail": "x\x07", "run_id": "\x1b[A"},
    )

    result = stage.call("run", "show", "r\x1b[2J")

    assert CONTROLS.findall(result.output) == []
    assert "r\\x1b[2J" in result.stderr
