"""The package as a whole: what it exports, and that tracing costs nothing where nobody traces."""

import subprocess
import sys

import pytest
from opentelemetry import context, trace
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

import holdfast
from holdfast import handler
from holdfast.client.requests import current_traceparent
from holdfast.testing import running_handler


@pytest.mark.parametrize("name", holdfast.__all__)
def test_every_exported_name_is_there(name: str) -> None:
    assert getattr(holdfast, name) is getattr(holdfast, name)
    assert name in dir(holdfast)


def test_every_error_is_exported_in_order() -> None:
    import holdfast.errors as errors  # noqa: PLC0415, PLR0402 - as a module, next to the package above

    defined = {
        name for name, value in vars(errors).items() if isinstance(value, type) and value.__module__ == errors.__name__
    }
    assert set(errors.__all__) == defined
    assert list(errors.__all__) == sorted(errors.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Holdslow'"):
        _ = holdfast.Holdslow  # type: ignore[attr-defined]


def test_the_decorator_is_exported_whichever_module_is_loaded_first() -> None:
    program = "import holdfast.handlers, holdfast.worker; from holdfast import handler; print(callable(handler))"
    command = [sys.executable, "-W", "error", "-c", program]
    assert subprocess.run(command, check=True, capture_output=True, text=True).stdout == "True\n"


def test_a_client_loads_no_opentelemetry() -> None:
    program = "import sys; from holdfast import Client, Worker; print('opentelemetry.trace' in sys.modules)"
    command = [sys.executable, "-W", "error", "-c", program]
    assert subprocess.run(command, check=True, capture_output=True, text=True).stdout == "False\n"


def test_the_trace_of_the_caller_is_told() -> None:
    assert current_traceparent() == ""
    span = NonRecordingSpan(SpanContext(0xABC, 0xDEF, is_remote=False, trace_flags=TraceFlags(1)))
    token = context.attach(trace.set_span_in_context(span))
    try:
        assert current_traceparent() == f"00-{0xABC:032x}-{0xDEF:016x}-01"
    finally:
        context.detach(token)


@pytest.mark.asyncio
async def test_a_handler_works_in_the_trace_of_its_step(monkeypatch: pytest.MonkeyPatch) -> None:
    @handler
    async def look() -> str:
        return f"{trace.get_current_span().get_span_context().trace_id:032x}"

    traceparent = f"00-{0xABC:032x}-{0xDEF:016x}-01"
    async with running_handler(look, traceparent=traceparent) as running:
        assert await running.output() == f"{0:032x}"  # nobody traces, so nobody pays
    monkeypatch.setattr(trace, "get_tracer_provider", trace.NoOpTracerProvider)
    async with running_handler(look, traceparent=traceparent) as running:
        assert await running.output() == f"{0xABC:032x}"
