"""Outputs nest as deeply as allowed, and not one level more; what is no JSON nests in nothing."""

import pytest

from holdfast.v1.payload_pb2 import Payload
from holdfast_server.engine import commands as c
from holdfast_server.engine.json_values import nesting
from holdfast_server.engine.payloads import OpaquePayloadError, PayloadBag, nests_too_deep
from tests.unit.engine.driver import Play

SOURCE = "{name: deep, steps: [{name: work, task: {handler: work}}]}"


def deep(levels: int) -> bytes:
    return b"[" * levels + b"]" * levels


def complete(data: bytes, **metadata: bytes) -> Play:
    play = Play(SOURCE)
    play.start()
    play.take("work")
    play.do(c.CompleteTask("work", 1, Payload(metadata=metadata, data=data)))
    return play


def test_an_output_as_deep_as_allowed_is_taken() -> None:
    assert complete(deep(64)).state("work") == complete(b"1").state("work")


def test_one_that_is_deeper_fails_its_attempt_for_good() -> None:
    failure = complete(deep(65)).record("work").failure

    assert failure is not None
    assert failure.type == "LimitExceeded"
    assert failure.message.endswith("is nested deeper than 64 levels; the limit json_depth is 64")


def test_what_is_not_said_to_be_json_is_not_looked_at() -> None:
    assert complete(deep(65), encoding=b"bytes").record("work").failure is None


@pytest.mark.parametrize("data", [b'"' + b"[" * 100 + b'"', b"[" * 100 + b'"', b'{"a":"\\"[[' + b"[" * 99 + b'"}'])
def test_what_is_no_json_or_has_brackets_in_texts_is_not_too_deep(data: bytes) -> None:
    assert not nests_too_deep(Payload(data=data))


def test_nesting_is_told_as_far_as_it_is_looked_at() -> None:
    assert nesting(deep(70)) == 70
    assert nesting(b'["[[", ' * 66 + b"1" + b"]" * 66) == 66
    assert nesting(deep(500_000)) == 20_000


def test_text_that_is_no_utf_8_is_opaque() -> None:
    with pytest.raises(OpaquePayloadError, match="is no UTF-8"):
        PayloadBag().decode(Payload(metadata={"encoding": b"text/markdown"}, data=b"\xff"))
