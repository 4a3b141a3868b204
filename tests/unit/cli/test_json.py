"""JSON for programs: payloads decoded, numbers whole, names short, the shape always the same."""

import json
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from holdfast.cli.render.json import dumps, plain
from holdfast.v1.definition_pb2 import Decision
from holdfast.v1.failure_pb2 import Failure
from holdfast.v1.gate_pb2 import Gate
from holdfast.v1.history_pb2 import HistoryEvent
from holdfast.v1.payload_pb2 import JsonValue, Payload, PayloadRef
from holdfast.v1.run_pb2 import RunState, RunSummary
from holdfast.v1.task_pb2 import QueueSummary


@pytest.mark.parametrize(
    ("payload", "value"),
    [
        (Payload(), None),
        (Payload(data=b'{"n": 9223372036854775808123, "x": 1.5}'), {"n": 9223372036854775808123, "x": 1.5}),
        (Payload(data=b"1", metadata={"encoding": b"json/utf-8"}), 1),
        (Payload(data="ä".encode(), metadata={"encoding": b"text/markdown"}), "ä"),
        (
            Payload(data=b"\xff", metadata={"encoding": b"binary/plain"}),
            {"encoding": "binary/plain", "base64": "/w=="},
        ),
        (Payload(data=b"\xff"), {"encoding": "json/utf-8", "base64": "/w=="}),
        (Payload(data=b"\xff", metadata={"encoding": b"text/plain"}), {"encoding": "text/plain", "base64": "/w=="}),
        (
            Payload(ref=PayloadRef(sha256=b"\x01\x02", size_bytes=2**40)),
            {"ref": {"sha256": "0102", "size_bytes": 2**40}},
        ),
    ],
)
def test_payloads_are_decoded(payload: Payload, value: object) -> None:
    assert plain(payload) == value


def test_a_run_has_every_field() -> None:
    run = RunSummary(
        run_id="r", state=RunState.RUN_STATE_TIMED_OUT, last_seq=2**53 + 1, attributes={"n": JsonValue(json="[1]")}
    )

    assert plain(run) == {
        "namespace": "",
        "run_id": "r",
        "workflow": "",
        "version": 0,
        "key": "",
        "state": "TIMED_OUT",
        "start_time": None,
        "close_time": None,
        "run_epoch": 0,
        "last_seq": 2**53 + 1,
        "waiting_reason": None,
        "status_message": "",
        "attributes": {"n": [1]},
    }


def test_times_and_lengths_are_text() -> None:
    assert plain(Timestamp(seconds=1, nanos=500_000)) == "1970-01-01T00:00:01.000500Z"
    assert plain(Duration(seconds=90)) == "90s"
    assert plain(Duration(nanos=250_000_000)) == "0.25s"


def test_lists_of_enums_and_bytes() -> None:
    shown = plain(Gate(decisions=[Decision.DECISION_APPROVE, Decision.DECISION_SKIP], content_hash=b"\x00\xff"))

    assert shown["decisions"] == ["APPROVE", "SKIP"]
    assert shown["content_hash"] == "00ff"


def test_an_enum_value_of_a_newer_server_is_its_number() -> None:
    summary = RunSummary()
    summary.MergeFromString(RunSummary(state=99).SerializeToString())  # type: ignore[arg-type]

    assert plain(summary)["state"] == "99"


def test_optional_numbers_are_null_unless_said() -> None:
    assert plain(Failure())["retryable"] is None
    assert plain(Failure(retryable=False))["retryable"] is False
    assert plain(QueueSummary())["queued"] == 0


def test_an_event_has_type_and_body() -> None:
    event = HistoryEvent(seq=3, step_failed={"path": "a", "handled": True})  # type: ignore[arg-type]

    shown = plain(event)
    assert set(shown) == {"seq", "time", "actor", "request", "type", "body"}
    assert (shown["type"], shown["body"]["path"], shown["body"]["handled"]) == ("StepFailed", "a", True)
    assert plain(HistoryEvent(seq=4))["body"] is None


@pytest.mark.parametrize("text", ["\x1b[31m", "\x9b", "\u202e", "\x7f", "\ud800", "\U000e0041", "ä日"])
def test_the_text_drives_no_terminal_and_means_the_same(text: str) -> None:
    document = dumps({"text": text, text: 1})

    assert json.loads(document) == {"text": text, text: 1}
    document.encode()
    assert not any(ord(character) < 32 and character != "\n" for character in document)
    assert ("\\u" in document) == (text != "ä日")


def test_what_has_no_form_is_a_fault_of_ours() -> None:
    value: Any = object()
    with pytest.raises(TypeError, match="object has no JSON form"):
        dumps(value)
