"""Payloads the engine cannot read, is not given, or keeps by reference."""

import orjson
import pytest

from holdfast.v1.errors_pb2 import ErrorReason
from holdfast.v1.payload_pb2 import Payload, PayloadRef
from holdfast_server.engine import commands as c, decide as engine, state as st
from holdfast_server.engine.payloads import MissingPayloadError, PayloadBag, payload_hash
from holdfast_server.engine.refusal import Refused
from holdfast_server.engine.settings import EngineSettings
from tests.unit.engine.driver import START_US, Play, actor, plan_of

OPAQUE = [
    Payload(data=b"{not json"),
    Payload(data=b"\x00\xff", metadata={"encoding": b"binary/plain"}),
]
IDS = ["no JSON", "another encoding"]


@pytest.mark.parametrize("sent", OPAQUE, ids=IDS)
def test_an_output_nobody_can_read_does_not_fit_any_schema(sent: Payload) -> None:
    play = Play("{name: w, steps: [{name: a, task: {handler: h}, output_schema: {}}]}")
    play.start()

    play.do(c.CompleteTask("a", 1, sent))

    assert play.state("a") == st.BACKING_OFF
    assert play.rejection is not None
    assert play.rejection.reason == ErrorReason.ERROR_REASON_OUTPUT_SCHEMA


@pytest.mark.parametrize("sent", OPAQUE, ids=IDS)
def test_an_output_nobody_looks_into_is_passed_through(sent: Payload) -> None:
    play = Play(
        """
        name: w
        steps:
          - {name: a, task: {handler: h}}
          - {name: b, after: [{step: a}], task: {handler: h}, input: "${steps.a.output}"}
        output: "${steps.a.output}"
        """
    )
    play.start()
    play.do(c.CompleteTask("a", 1, sent))

    assert play.record("b").input == sent
    play.complete("b")
    assert play.run.output == sent


@pytest.mark.parametrize("sent", OPAQUE, ids=IDS)
def test_who_looks_into_what_cannot_be_read_fails(sent: Payload) -> None:
    play = Play(
        """
        name: w
        on_failure: FINISH_OTHERS
        steps:
          - {name: a, task: {handler: h}}
          - {name: edge, after: [{step: a, when: "steps.a.output.x"}], compute: {}}
          - {name: input, after: [{step: a}], compute: {}, input: "${steps.a.output.x}"}
          - {name: checked, after: [{step: a}], compute: {}, input: "${steps.a.output}", input_schema: {}}
          - {name: shown, after: [{step: a}], gate: {title: Go?}, input: "${steps.a.output}"}
        """
    )
    play.start()
    play.do(c.CompleteTask("a", 1, sent))

    failures = {name: play.record(name).failure for name in ("edge", "input", "checked", "shown")}
    assert {name: failure and failure.type for name, failure in failures.items()} == {
        "edge": "ExpressionError",
        "input": "ExpressionError",
        "checked": "SchemaViolation",
        "shown": "ExpressionError",
    }


@pytest.mark.parametrize("sent", OPAQUE, ids=IDS)
def test_a_run_output_nobody_can_read_does_not_fit_its_schema(sent: Payload) -> None:
    play = Play('{name: w, steps: [{name: a, task: {handler: h}}], output: "${steps.a.output}", output_schema: {}}')
    play.start()

    play.do(c.CompleteTask("a", 1, sent))

    assert play.run.failure is not None
    assert play.run.failure.type == "SchemaViolation"


@pytest.mark.parametrize("sent", OPAQUE, ids=IDS)
def test_an_input_or_signal_nobody_can_read_is_refused_where_a_schema_is_declared(sent: Payload) -> None:
    plan = plan_of(
        "{name: w, input_schema: {}, signals: [{name: go, schema: {}}], steps: [{name: a, wait: {signal: go}}]}"
    )
    settings = EngineSettings()
    with pytest.raises(Refused) as caught:
        engine.start_run(plan, c.Start("d", "r", "", sent), START_US, lambda: 0.5, PayloadBag(), settings, actor("ann"))
    assert caught.value.reason == ErrorReason.ERROR_REASON_INPUT_SCHEMA

    play = Play(plan)
    play.start(input={})
    with pytest.raises(Refused) as caught:
        play.do(c.SendSignal("go", sent))
    assert caught.value.reason == ErrorReason.ERROR_REASON_SIGNAL_SCHEMA


def test_a_wait_whose_condition_looks_into_what_cannot_be_read_fails_and_leaves_the_signal() -> None:
    play = Play('{name: w, steps: [{name: a, wait: {signal: go, when: "payload.n > 1"}}]}')
    play.start()

    play.do(c.SendSignal("go", OPAQUE[0]))

    assert play.state("a") == st.FAILED
    assert len(play.run.signals) == 1


NEEDS = """
name: w
steps:
  - {name: a, task: {handler: h}}
  - {name: b, after: [{step: a}], task: {handler: h}, input: "${steps.a.output}"}
  - {name: c, after: [{step: b}], compute: {}, input: "${steps.b.output.text}"}
"""


def test_needed_is_only_what_some_expression_looks_into() -> None:
    play = Play(NEEDS)
    play.start(input={"text": "i" * 10_000})
    play.complete("a", {"text": "a" * 10_000})
    assert engine.needs(play.run) == []

    play.take("b")
    play.complete("b", {"text": "b" * 10_000})

    assert not play.run.open
    assert engine.needs(play.run) == [payload_hash(Payload(data=orjson.dumps({"text": "b" * 10_000})))]


def test_large_signals_are_needed_only_where_something_looks_into_signals() -> None:
    looks = {"payload.text == 'x'": 1, "true": 1, "": 0}  # a condition is read as a whole
    for condition, needed in looks.items():
        when = f', when: "{condition}"' if condition else ""
        play = Play(f"{{name: w, steps: [{{name: a, wait: {{signal: go{when}}}}}]}}")
        play.start()
        play.signal("other", {"text": "o" * 10_000})

        assert len(engine.needs(play.run)) == needed


def test_what_was_needed_and_not_loaded_is_a_fault_of_the_server() -> None:
    digest = payload_hash(Payload(data=b'"x"'))
    bag = PayloadBag()

    with pytest.raises(MissingPayloadError, match=digest.hex()):
        bag.decode(Payload(ref=PayloadRef(sha256=digest, size_bytes=3)))


def test_the_same_large_payload_is_kept_once() -> None:
    bag = PayloadBag(None, inline_bytes=10)
    first = bag.intern(Payload(data=b'"0123456789"'))
    second = bag.intern(Payload(data=b'"0123456789"'))
    other = bag.intern(Payload(data=b'"0123456789"', metadata={"encoding": b"json/utf-8"}))

    assert first == second != other
    assert first.ref.size_bytes == 12
    assert len(bag.new) == 2
    assert bag.intern(first) is first


def test_the_hash_of_a_payload_tells_metadata_from_metadata_and_from_data() -> None:
    different = [
        Payload(data=b"abc"),
        Payload(data=b"c", metadata={"a": b"b"}),
        Payload(data=b"", metadata={"a": b"bc"}),
        Payload(data=b"", metadata={"ab": b"c"}),
        Payload(data=b"c", metadata={"ab": b""}),
        Payload(data=b"", metadata={"a": b"b", "c": b""}),
        Payload(data=b"", metadata={"a": b"", "b": b"c"}),
    ]

    assert len({payload_hash(one) for one in different}) == len(different)
    assert payload_hash(Payload(metadata={"a": b"1", "b": b"2"})) == payload_hash(
        Payload(metadata={"b": b"2", "a": b"1"})
    )


@pytest.mark.parametrize("size", [8, 9])
def test_the_limit_of_inline_payloads(size: int) -> None:
    bag = PayloadBag(None, inline_bytes=8)

    assert bag.intern(Payload(data=b"x" * size)).HasField("ref") == (size > 8)
