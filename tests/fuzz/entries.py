"""Everything that reads bytes of others, as functions that take any bytes and raise only if something is wrong."""

import contextlib
from collections.abc import Callable
from typing import Final

from holdfast.scrub import scrub
from holdfast.v1.definition_pb2 import WorkflowDefinition
from holdfast.v1.failure_pb2 import Failure
from holdfast.v1.payload_pb2 import Payload
from holdfast.v1.task_pb2 import TaskResult
from holdfast.v1.workflow_service_pb2 import DocumentFormat
from holdfast_server.definition import parse
from holdfast_server.engine import commands as c, state as st
from holdfast_server.engine.compile import compile_plan
from holdfast_server.engine.durations import DurationError, parse_duration_us
from holdfast_server.engine.expressions import (
    ExpressionError,
    compile_condition,
    compile_expression,
    compile_template,
)
from holdfast_server.engine.json_values import canonical, decode_exact, encode, too_deep
from holdfast_server.engine.number_types import number_type
from holdfast_server.engine.payloads import OpaquePayloadError, PayloadBag, payload_hash
from holdfast_server.engine.refusal import Refused
from holdfast_server.engine.schemas import SchemaFaultError, compile_schema
from holdfast_server.engine.snapshot import SnapshotFormatError, read_snapshot
from holdfast_server.matching.tokens import TokenInvalidError, Tokens
from holdfast_server.rpc import paging
from holdfast_server.runtime.results import command_of
from tests.unit.engine.driver import Play
from tests.unit.expressions.fake import FakeNames

__all__ = ["ENTRIES", "Entry"]

Entry = Callable[[bytes], None]
SEPARATOR: Final = b"\x1f"
"""Between the parts of an input that has several; JSON and expressions have no use for it."""
STEPS_PLAYED: Final = 40


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogatepass") if data.isascii() else data.decode("utf-8", "replace")


def _parts(data: bytes, count: int) -> list[bytes]:
    parts = data.split(SEPARATOR, count - 1)
    return parts + [b""] * (count - len(parts))


def _value(data: bytes) -> object:
    """A JSON value as expressions get it, or the text itself where it is none."""
    try:
        return PayloadBag().decode(Payload(data=data))
    except OpaquePayloadError:
        return _text(data)


def _document(data: bytes, format: DocumentFormat.ValueType) -> None:
    source = _text(data)
    found = parse(source, format)
    assert (found.plan is None) == bool(found.diagnostics)
    for one in found.diagnostics:
        assert one.message
        assert one.line >= 1
        assert one.column >= 1
    if found.definition is not None:
        stored = WorkflowDefinition.FromString(found.definition.SerializeToString())
        again = compile_plan(stored, 0, found.definition_hash)
        assert [step.name for step in again.block.steps] == [step.name for step in stored.block.steps]


def yaml_document(data: bytes) -> None:
    """A definition in YAML."""
    _document(data, DocumentFormat.DOCUMENT_FORMAT_YAML)


def json_document(data: bytes) -> None:
    """A definition in JSON."""
    _document(data, DocumentFormat.DOCUMENT_FORMAT_JSON)


def expression(data: bytes) -> None:
    """A CEL expression and what it sees."""
    text, seen = _parts(data, 2)
    names = FakeNames({"input": _value(seen), "steps": {"a": {"output": _value(seen)}}, "run": {"id": "r"}})
    try:
        encode(compile_expression(_text(text)).value(names))
    except ExpressionError as error:
        assert error.reason
    try:
        compile_condition(_text(text)).holds(names)
    except ExpressionError as error:
        assert error.reason


def template(data: bytes) -> None:
    """A template and what it sees."""
    text, seen = _parts(data, 2)
    names = FakeNames({"input": _value(seen), "steps": {}, "run": {"id": "r"}})
    try:
        compiled = compile_template(_value(text))
        compiled.text(names)
        rendered = compiled.render(names)
    except ExpressionError as error:
        assert error.reason
        return
    if rendered is not None and rendered.data:
        assert compiled.constant or not too_deep(rendered.data)


def schema(data: bytes) -> None:
    """A schema and a value."""
    text, value = _parts(data, 2)
    try:
        compiled = compile_schema(_text(text))
    except SchemaFaultError as error:
        assert error.message
        return
    number_type(compiled)
    faults = compiled.check(_value(value), len(value))
    assert len(faults) <= 10
    assert all(fault.message for fault in faults)


def payload(data: bytes) -> None:
    """The data of a payload, and the payload itself as bytes."""
    bag = PayloadBag(None, 64)
    for encoding in (b"text/markdown", b"\xff"):
        with contextlib.suppress(OpaquePayloadError):
            bag.decode(Payload(metadata={"encoding": encoding}, data=data))
    value: object = None
    try:
        value = bag.decode(Payload(data=data))
    except OpaquePayloadError:
        pass
    else:
        assert not too_deep(data or b"0")
        assert canonical(decode_exact(canonical(value))) == canonical(value)
        assert canonical(decode_exact(encode(value).decode())) == canonical(value)
    try:
        one = Payload.FromString(data)
    except Exception as error:  # noqa: BLE001 - the library's, of whatever name
        assert type(error).__name__ == "DecodeError"
        return
    assert len(payload_hash(one)) == 32
    if not one.HasField("ref"):
        assert bag.open(bag.intern(one)).data == one.data


def result(data: bytes) -> None:
    """The result of a worker, as bytes."""
    try:
        one = TaskResult.FromString(data)
    except Exception as error:  # noqa: BLE001 - see `payload`
        assert type(error).__name__ == "DecodeError"
        return
    try:
        command_of(one, "a", 1, 10_000)
    except Refused as refused:
        assert refused.message


def snapshot(data: bytes) -> None:
    """The state of a run as it was written down."""
    try:
        read_snapshot(data)
    except SnapshotFormatError as error:
        assert str(error) is not None


def token(data: bytes) -> None:
    """A lease token."""
    tokens = Tokens(b"k" * 32, 7)
    seal = tokens.seal("default", "w")
    try:
        seal.read(data)
    except TokenInvalidError:
        pass
    else:
        raise AssertionError("a made-up token was taken for genuine")
    genuine = seal.issue(1, "a", 1, 1)
    assert seal.read(genuine).path == "a"
    if data and len(data) <= len(genuine):
        changed = bytes(left ^ right for left, right in zip(genuine, data.ljust(len(genuine), b"\0"), strict=True))
        if changed != genuine:
            try:
                seal.read(changed)
            except TokenInvalidError:
                return
            raise AssertionError("a changed token was taken for genuine")


def page_token(data: bytes) -> None:
    """A page token."""
    for kind, types in (("runs", (int, int)), ("gates", (int, int, str, str)), ("queues", (str,))):
        try:
            found = paging.decode(kind, _text(data), *types)
        except Refused as refused:
            assert refused.message
        else:
            assert found is None or [type(part) for part in found] == list(types)


def duration(data: bytes) -> None:
    """A duration."""
    try:
        assert parse_duration_us(_text(data)) >= 0
    except DurationError as error:
        assert str(error)


def scrubbed(data: bytes) -> None:
    """Text that is shown on a terminal."""
    shown = scrub(_text(data))
    assert not [one for one in shown if one != "\n" and (ord(one) < 32 or 127 <= ord(one) < 160)]


def run(data: bytes) -> None:
    """A definition, an input and what workers and people do: the engine refuses, but never breaks."""
    source, given, *said = data.split(SEPARATOR)[:STEPS_PLAYED] if SEPARATOR in data else (data, b"")
    parsed = parse(_text(source), DocumentFormat.DOCUMENT_FORMAT_UNSPECIFIED)
    if parsed.plan is None or len(parsed.plan.block.steps) > 30:
        return
    play = Play(parsed.plan)
    try:
        play.start(input=_value(given))
    except Refused as refused:
        assert refused.message
        return
    for one in said:
        try:
            _play(play, one)
        except Refused as refused:
            assert refused.message
    play.restart()


def _play(play: Play, said: bytes) -> None:
    """One thing that happens, chosen by the first byte."""
    what, data = (said[:1] or b"?"), said[1:]
    if not play.run.open:
        if what == b"R":
            play.do(c.Retry())
        return
    active = [(scope.path(step), record) for scope, step, record in play.run.activations() if record is not None]
    value = _value(data)
    for path, record in active:
        match what:
            case b"o" if record.state in st.HELD:
                play.do(c.CompleteTask(path, record.attempt, Payload(data=data)))
            case b"f" if record.state in st.HELD:
                kind = _text(data)[:64]
                play.do(c.FailTask(path, record.attempt, Failure(type=kind, message=kind), reported=True))
            case b"g" if path in play.run.open_gates:
                play.say(
                    path, ("APPROVE", "REJECT", "EDIT", "RESPOND", "SKIP", "RETRY", "FAIL")[len(data) % 7], value=value
                )
            case _:
                continue
        return
    match what:
        case b"s":
            name, _, body = data.partition(b"=")
            play.signal(_text(name), _value(body))
        case b"t":
            play.elapse(len(data) + 1)
        case b"p":
            play.do(c.Pause())
        case b"r":
            play.do(c.Resume())
        case b"c":
            play.do(c.Cancel("fuzz"))


ENTRIES: Final[dict[str, Entry]] = {
    one.__name__: one
    for one in (
        yaml_document,
        json_document,
        expression,
        template,
        schema,
        payload,
        result,
        snapshot,
        token,
        page_token,
        duration,
        scrubbed,
        run,
    )
}
