"""Text of others shows what it is: no escape sequence, no reordering, no markup, in whatever field it comes."""

import re
from collections.abc import Callable

import pytest
from google.protobuf.message import Message

from holdfast.errors import DecisionRefusedError, NamespaceNotFoundError
from holdfast.v1.definition_pb2 import Decision, Risk
from holdfast.v1.failure_pb2 import Failure
from holdfast.v1.gate_pb2 import Gate, Resolution
from holdfast.v1.operations_service_pb2 import GetServerInfoResponse, HealthState
from holdfast.v1.payload_pb2 import JsonValue, Payload
from holdfast.v1.run_pb2 import StepState, WaitingReason
from tests.tui.fake import Decided, FakeClient, Seat, seated, watching
from tests.tui.making import gate, json_payload, markdown, resolved, run, said, step, summary, waiting_on

HOSTILE = "\x1b[31m\x9b2J\u202eevil\u2066\x07\u200b[red]markup[/red][@click=app.quit]x[/]\r\x00"
DANGEROUS = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def fill(message: Message) -> None:
    """Put the text into every string of a message that the screens get from a server."""
    for part in (value for field, value in message.ListFields() if field.type == field.TYPE_MESSAGE):
        for one in [part] if isinstance(part, Message) else part:
            if isinstance(one, Message) and not isinstance(one, Payload):
                fill(one)
    for known in message.DESCRIPTOR.fields:
        if known.type == known.TYPE_STRING and known.is_repeated:
            getattr(message, known.name).append(HOSTILE)
        elif known.type == known.TYPE_STRING:
            setattr(message, known.name, HOSTILE)


def hostile_gate() -> Gate:
    made = gate(
        action="a", risk=Risk.RISK_MEDIUM, body=markdown("x"), subject=json_payload({HOSTILE: HOSTILE}), deadline_s=60,
        decided=[said("x", Decision.DECISION_REJECT, "x")],
    )  # fmt: skip
    made.failure.CopyFrom(Failure(type="x", cause=Failure(type="x")))
    made.approvers.roles.append("x")
    fill(made)
    made.namespace = "default"
    made.content.body.CopyFrom(markdown(f"# {HOSTILE}\n\n{HOSTILE} `{HOSTILE}`\n\n| {HOSTILE} |\n|---|\n| x |\n"))
    made.response_schema.CopyFrom(JsonValue(json='{"x": "\\u001b[31m"}'))
    return made


def assert_harmless(seat: Seat) -> None:
    for text in (seat.text(), seat.details()):
        assert DANGEROUS.search(text) is None
        assert "[red]markup[/red]" in text or "evil" not in text


@pytest.mark.parametrize("size", [(80, 24), (140, 40)])
@pytest.mark.asyncio
async def test_every_string_of_a_gate_is_shown_as_what_it_is(size: tuple[int, int]) -> None:
    async with watching(hostile_gate(), size=size) as seat:
        await seat.reads("\\x1b[31m\\x9b2J\\u202eevil\\u2066\\x07", "[red]markup[/red]", "[@click=app.quit]x[/]")
        assert_harmless(seat)
        await seat.press("m")
        await seat.reads("# \\x1b[31m")
        assert_harmless(seat)


@pytest.mark.asyncio
async def test_every_string_of_a_run_is_shown_as_what_it_is() -> None:
    of = summary(waiting=WaitingReason.WAITING_REASON_SIGNAL, message="x")
    made = run(
        of,
        step("a", StepState.STEP_STATE_FAILED, failure=Failure(type="x"), note="x"),
        step("a", StepState.STEP_STATE_PENDING, after=["x"]),
        step("a", StepState.STEP_STATE_RUNNING, worker="x"),
        waits=[
            waiting_on("a", WaitingReason.WAITING_REASON_SIGNAL, "x"),
            waiting_on("", WaitingReason.WAITING_REASON_PAUSED, "x"),
        ],
        failure=Failure(type="x"),
        input=json_payload(HOSTILE),
        output=Payload(metadata={"encoding": HOSTILE.encode()}, data=b"x"),
    )
    made.unconsumed_signals.add(name="x")
    fill(of)
    fill(made)
    made.waiting_on[1].step_path = ""
    client = FakeClient(runs={HOSTILE: made})
    client.tell_all(runs=(of,))
    async with seated(client) as seat:
        await seat.press("2")
        await seat.reads("\\x1b[31m", "Failure", "Waits for", "Steps", "Output", "Input", "Signals", "encoding \\x1b")
        assert_harmless(seat)
        await seat.press("enter")
        await seat.sees_no("Inbox")
        assert_harmless(seat)


@pytest.mark.asyncio
async def test_the_dialog_and_what_it_tells_are_harmless() -> None:
    def refuse(_made: Decided) -> Gate:
        raise DecisionRefusedError(HOSTILE, reason="NOT_AN_APPROVER")

    client = FakeClient(actor=HOSTILE, on_decide=refuse)
    client.tell_all((hostile_gate(),))
    async with seated(client) as seat:
        await seat.reads("OPEN")
        await seat.press("a")
        await seat.until(lambda: seat.app.screen.focused is not None and len(seat.app.screen_stack) == 2)
        assert_harmless(seat)
        await seat.press("enter")
        await seat.sees("NOT_AN_APPROVER")
        assert_harmless(seat)


def _resolved(client: FakeClient) -> None:
    client.tell_gates(resolved(hostile_gate(), HOSTILE, Resolution.RESOLUTION_APPROVED, HOSTILE))


def _lost(client: FakeClient) -> None:
    client.lose(HOSTILE)


def _refused(client: FakeClient) -> None:
    client.gate_stream.put_nowait(NamespaceNotFoundError(HOSTILE, reason=HOSTILE))


@pytest.mark.parametrize(
    ("happen", "words"), [(_resolved, "APPROVED by"), (_lost, "RECONNECTING"), (_refused, "REFUSED")]
)
@pytest.mark.asyncio
async def test_what_happens_later_is_harmless(happen: Callable[[FakeClient], None], words: str) -> None:
    async with watching(hostile_gate()) as seat:
        await seat.reads("OPEN")
        happen(seat.client)
        await seat.sees(words)
        assert_harmless(seat)


@pytest.mark.asyncio
async def test_server_and_place_are_harmless() -> None:
    info = GetServerInfoResponse(health=HealthState.HEALTH_STATE_READ_ONLY, health_message=HOSTILE)
    client = FakeClient(target=HOSTILE, namespace=HOSTILE, actor=HOSTILE, info=info)
    client.tell_all()
    async with seated(client, size=(200, 40)) as seat:
        await seat.sees("The server is READ_ONLY. \\x1b[31m", "No runs in namespace \\x1b[31m")
        assert_harmless(seat)


@pytest.mark.asyncio
async def test_markup_in_a_note_is_text() -> None:
    async with watching(hostile_gate()) as seat:
        await seat.reads("OPEN")
        await seat.press("a")
        await seat.until(lambda: len(seat.app.screen_stack) == 2 and seat.app.screen.focused is not None)
        await seat.press("enter")
        await seat.until(lambda: len(seat.app.screen_stack) == 1)
        await seat.sees("[red]markup[/red]")
        assert_harmless(seat)
