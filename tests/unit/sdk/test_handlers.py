"""Which functions are handlers, what their signatures say, and what values become on the wire."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Any

import pytest
from pydantic import BaseModel, Field

from holdfast import Converter, Handler, TaskContext, handler
from holdfast.context import Held
from holdfast.converter import json_value
from holdfast.errors import ConverterError, HandlerError
from holdfast.handlers import NO_INPUT
from holdfast.v1.payload_pb2 import Payload
from holdfast.v1.task_pb2 import Task

CONVERTER = Converter()


class Query(BaseModel):
    word: str
    limit: Annotated[int, Field(ge=1)] = 3


async def both(ctx: TaskContext, query: Query) -> str:
    return query.word


async def context_only(ctx: TaskContext) -> None:
    return None


def input_only(query: Query) -> int:
    return query.limit


def untyped(ctx, query):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    return query


def nothing() -> None:
    return None


class Callable_:  # noqa: N801 - a class whose objects are handlers
    async def __call__(self, query: Query) -> str:
        return query.word


class Methods:
    async def method(self, ctx: TaskContext, query: Query) -> str:
        return query.word


def optional(query: Query | None = None) -> str:
    return query.word if query else "default"


@pytest.mark.parametrize(
    ("function", "takes_context", "input_type", "output_type", "is_async"),
    [
        (both, True, Query, str, True),
        (context_only, True, NO_INPUT, type(None), True),
        (input_only, False, Query, int, False),
        (untyped, True, Any, Any, False),
        (nothing, False, NO_INPUT, type(None), False),
        (Methods().method, True, Query, str, True),
        (optional, False, Query | None, str, False),
    ],
)
def test_a_signature_says_what_a_handler_takes(
    function: Callable[..., Any], takes_context: bool, input_type: Any, output_type: Any, is_async: bool
) -> None:
    made = handler(function)
    seen = (made.takes_context, made.input_type, made.output_type, made.is_async)
    assert seen == (takes_context, input_type, output_type, is_async)
    assert made.name == function.__name__


def test_objects_and_partials_are_handlers_when_they_are_named() -> None:
    made: Handler[..., Any] = Handler(Callable_(), name="callable")
    assert (made.is_async, made.input_type) == (True, Query)
    part: Handler[..., Any] = Handler(partial(both, query=Query(word="x")), name="part")
    assert part.name == "part"


def test_a_handler_is_called_like_its_function() -> None:
    made = handler(name="other", queue="tools")(input_only)
    assert made(Query(word="x", limit=7)) == 7
    assert (made.name, made.queue, made.function) == ("other", "tools", input_only)


def test_wrong_signatures_are_refused() -> None:
    def two(first: int, second: int) -> None: ...

    def three(ctx: TaskContext, first: int, second: int) -> None: ...

    def keyword(ctx: TaskContext, *, must: int) -> None: ...

    def unreadable(query: "Missing") -> None: ...  # type: ignore[name-defined]  # noqa: F821

    def unknown(query: Held) -> None: ...

    expected: dict[Callable[..., Any], str] = {
        lambda: None: "name '<lambda>'",
        two: "two inputs",
        three: r"takes \['second'\]",
        keyword: r"takes \['must'\]",
        unreadable: "Missing",
        unknown: "input of handler unknown",
    }
    for function, message in expected.items():
        with pytest.raises(HandlerError, match=message):
            Handler(function)


def test_schemas_come_from_the_types() -> None:
    made = handler(both)
    assert made.input_schema == Query.model_json_schema()
    assert made.output_schema == {"type": "string"}
    assert handler(untyped).input_schema is None
    assert handler(nothing).input_schema is None
    assert handler(nothing).output_schema == {"type": "null"}


def _arguments(function: Callable[..., Any], payload: Payload | None) -> tuple[Any, ...]:
    context = TaskContext(Held(Task()), CONVERTER)
    return Handler(function).arguments(context, payload, CONVERTER)


def test_a_default_stands_in_for_null() -> None:
    assert _arguments(optional, None) == ()
    assert _arguments(optional, Payload(data=b"null")) == ()
    assert _arguments(optional, Payload(data=b'{"word": "x"}')) == (Query(word="x"),)
    assert _arguments(untyped, None)[1] is None


@dataclass
class Point:
    x: int
    at: datetime


@pytest.mark.parametrize(
    ("value", "data", "type_"),
    [
        (None, b"null", Any),
        ({"ä": [1, 2.5, True, None]}, '{"ä":[1,2.5,true,null]}'.encode(), Any),
        (2**63 + 1, b"9223372036854775809", Any),
        (-(2**63), b"-9223372036854775808", int),
        ("NaN and Infinity", b'"NaN and Infinity"', str),
        (Query(word="x"), b'{"word":"x","limit":3}', Query),
        (Point(1, datetime(2030, 1, 1, tzinfo=UTC)), b'{"x":1,"at":"2030-01-01T00:00:00Z"}', Point),
        ({1, 2}, b"[1,2]", set[int]),
    ],
)
def test_values_come_back_as_they_went(value: Any, data: bytes, type_: Any) -> None:
    payload = CONVERTER.encode(value)
    assert (payload.data, dict(payload.metadata)) == (data, {})
    assert CONVERTER.decode(payload, type_) == value


def test_bytes_and_payloads_travel_as_they_are() -> None:
    payload = CONVERTER.encode(b"\xff\x00")
    assert (payload.data, payload.metadata["encoding"]) == (b"\xff\x00", b"binary/plain")
    assert CONVERTER.decode(payload) == CONVERTER.decode(payload, bytes) == b"\xff\x00"
    assert CONVERTER.encode(payload) is payload
    assert CONVERTER.decode(Payload(metadata={"encoding": b"text/markdown"}, data=b"# T")) == "# T"
    assert CONVERTER.decode(None) is None
    assert CONVERTER.decode(Payload()) is None


@pytest.mark.parametrize(
    ("payload", "type_", "message"),
    [
        (Payload(data=b"{"), Any, "not JSON"),
        (Payload(data=b"NaN"), Any, "not JSON"),
        (Payload(data=b'{"word": 1}'), Query, "does not fit Query: word: Input should be a valid string"),
        (Payload(metadata={"encoding": b"zip"}), Any, "encoding 'zip'"),
        (Payload(metadata={"encoding": b"binary/plain"}, data=b"x"), Query, "does not fit Query"),
    ],
)
def test_what_cannot_be_read_is_a_typed_error(payload: Payload, type_: Any, message: str) -> None:
    with pytest.raises(ConverterError, match=message):
        CONVERTER.decode(payload, type_)


def test_a_reference_is_not_mistaken_for_data() -> None:
    payload = Payload()
    payload.ref.size_bytes = 10_000
    with pytest.raises(ConverterError, match="PAYLOAD_VIEW_FULL"):
        CONVERTER.decode(payload)


@pytest.mark.parametrize("value", [float("nan"), [float("inf")], object(), {"a": b"\xff"}])
def test_what_has_no_json_form_is_refused(value: Any) -> None:
    with pytest.raises(ConverterError, match="no JSON form"):
        json_value(value)


class Reverse:
    def encode(self, payload: Payload) -> Payload:
        return Payload(
            metadata={"encoding": b"reverse", "inner": payload.metadata["encoding"]}, data=payload.data[::-1]
        )

    def decode(self, payload: Payload) -> Payload:
        if payload.metadata["encoding"] != b"reverse":
            return payload
        inner = payload.metadata["inner"]
        return Payload(metadata={"encoding": inner} if inner else {}, data=payload.data[::-1])


@pytest.mark.parametrize("value", [{"a": 1}, b"\x00\x01"])
def test_a_codec_stands_between(value: Any) -> None:
    converter = Converter(Reverse())
    payload = converter.encode(value)
    assert payload.metadata["encoding"] == b"reverse"
    assert converter.decode(payload) == value
    assert converter.decode(CONVERTER.encode(value)) == value
