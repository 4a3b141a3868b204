"""Builder, worker and client against a real server: what one of them writes, the others read."""

import asyncio
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest
from pydantic import BaseModel

from holdfast import (
    Client,
    Converter,
    Failure,
    Handler,
    NonRetryable,
    RunFailedError,
    RunHandle,
    TaskContext,
    Worker,
    Workflow,
    handler,
)
from holdfast.builder import Fallback, Retry, Timeouts, Value, payload, size
from holdfast.errors import (
    GateChangedError,
    GateResolvedError,
    QueryFailedError,
    RunCanceledError,
    RunClosedError,
    SchemaViolationError,
)
from holdfast.testing import ServerProcess
from holdfast.v1.gate_pb2 import Gate
from holdfast.v1.payload_pb2 import Payload

SERVER_ARGUMENTS = ("--lease-s", "1.5")


class Topic(BaseModel):
    text: str
    copies: int = 2


@handler
async def repeat(ctx: TaskContext, topic: Topic) -> list[str]:
    return [topic.text] * topic.copies


@handler(queue="tools")
def count(words: list[str]) -> int:
    return len(words)


@handler
async def third_time(ctx: TaskContext) -> dict[str, Any]:
    if ctx.attempt < 3:
        raise Failure("busy", type="RateLimited", retry_after=0.01)
    return {"attempt": ctx.attempt, "key": ctx.idempotency_key}


@handler
async def deny() -> None:
    raise NonRetryable("never", type="Denied", details={"rule": 7})


@asynccontextmanager
async def serving(client: Client, wf: Workflow, *others: Handler[..., Any]) -> AsyncIterator[Worker]:
    """Register a workflow and serve its handlers."""
    await client.register(wf)
    async with Worker(client, [*wf.handlers, *others], slots=10) as worker:
        yield worker


async def gate_of(handle: RunHandle, client: Client) -> Gate:
    """Wait until a run asks people, and return what it asks."""
    async for event in handle.watch():
        if event.WhichOneof("body") == "gate_opened":
            return await client.gates.get(handle.run_id)
    raise AssertionError("the run closed without a gate")


def report() -> Workflow:
    wf = Workflow("sdk-report", input=Topic)
    go = wf.signal("go")
    words = wf.task("words", repeat, input=wf.input)
    number = wf.task("number", count, input=words.output, after=words)
    third = wf.task("third", third_time, after=words)
    gate = wf.gate(
        "review",
        title=f"Publish {words.output[0]}?",
        body=f"{number.output} words",
        input={"words": words.output},
        after=[number, third],
        decisions=["APPROVE", "REJECT", "EDIT"],
    )
    signal = wf.wait("signal", go, match=payload.ok == True, after=gate.on_approved())  # noqa: E712 - rendered to CEL
    total = wf.compute(
        "total",
        {
            "next": number.output + 1,
            "by": gate.output.decided_by,
            "signal": signal.output,
            "third": third.output.attempt,
        },
        after=signal.on_succeeded(size(words.output) > 1),
    )
    wf.task("refused", deny, after=gate.on_rejected())
    wf.query("progress", number.state)
    wf.output(total.output)
    return wf


@pytest.mark.asyncio
async def test_a_built_workflow_goes_through_gate_and_signal_to_its_end(client: Client) -> None:
    wf = report()
    assert await client.validate(wf) == []
    async with serving(client, wf):
        handle = await client.start(wf, Topic(text="tides"), key="order-1")
        first = await gate_of(handle, client)
        assert (first.content.title, client.converter.decode(first.content.body)) == ("Publish tides?", "2 words")
        second = await client.gates.edit(first, {"words": ["edited"]})
        with pytest.raises(GateChangedError):
            await client.gates.approve(first)
        await client.gates.approve(second, comment="fine")
        with pytest.raises(GateResolvedError) as resolved:
            await client.gates.reject(second)
        assert (resolved.value.decided_by, resolved.value.resolution) == ("ann", "APPROVED")

        assert await handle.query("progress") == "SUCCEEDED"
        assert await handle.query_expression("steps.number.output", int) == 2
        with pytest.raises(QueryFailedError):
            await handle.query_expression("steps.number.output +")
        await asyncio.gather(handle.signal("go", {"ok": False}), handle.signal("go", {"ok": True}))
        assert await handle.result() == {"next": 3, "by": "ann", "signal": {"ok": True}, "third": 3}
        with pytest.raises(RunClosedError):
            await handle.signal("go")
        with pytest.raises(SchemaViolationError) as violation:
            await client.start(wf, {"text": 1})

    assert violation.value.violations
    run = await handle.get()
    assert [signal.payload.data for signal in run.unconsumed_signals] == [b'{"ok":false}']


@pytest.mark.asyncio
async def test_a_rejection_is_routed_and_a_failure_tells_everything(client: Client) -> None:
    wf = report()
    async with serving(client, wf):
        handle = await client.start(wf, Topic(text="tides"))
        await client.gates.reject(await gate_of(handle, client), comment="no")
        with pytest.raises(RunFailedError, match="step refused: Denied: never") as failed:
            await handle.result()

    failure = failed.value.failure
    assert failure is not None
    assert (failure.type, failure.step_path, failure.details.data) == ("Denied", "refused", b'{"rule":7}')


@pytest.mark.asyncio
async def test_a_fallback_and_a_value_answer_in_place(client: Client) -> None:
    @handler
    async def instead(value: Any) -> str:
        return f"instead of {value}"

    wf = Workflow("sdk-fallback")
    first = wf.task("first", deny, input="x", on_error=[Fallback(["Denied"], instead)], output_schema=None)
    second = wf.task("second", deny, on_error=[Value(["*"], {"given": True})], output_schema=None)
    wf.output([first.output, second.output])
    async with serving(client, wf):
        assert await client.run(wf) == ["instead of x", {"given": True}]


@pytest.mark.asyncio
async def test_a_cancel_reaches_the_handler_and_its_last_words_the_readers(client: Client) -> None:
    stopped = asyncio.Event()

    @handler
    async def crawl(ctx: TaskContext) -> None:
        ctx.heartbeat({"page": 3})
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()

    wf = Workflow("sdk-cancel")
    wf.task("crawl", crawl)
    async with serving(client, wf):
        handle = await client.start(wf)
        seen = Payload()
        while not seen.data:  # each call asks the server
            seen = (await handle.get()).activations[0].heartbeat_details
        await handle.cancel("enough")
        with pytest.raises(RunCanceledError):
            await handle.result()

    assert seen.data == b'{"page":3}'
    assert stopped.is_set()


@pytest.mark.asyncio
async def test_the_next_attempt_goes_on_where_the_last_one_was(client: Client) -> None:
    said = asyncio.Event()

    @handler
    async def crawl(ctx: TaskContext) -> Any:
        if ctx.attempt == 1:
            ctx.heartbeat({"page": 3})
            said.set()
            await asyncio.Event().wait()  # silent for longer than the heartbeat timeout
        return ctx.last_heartbeat()

    wf = Workflow("sdk-silence")
    once_more = Retry(max_attempts=2, initial_interval=timedelta(milliseconds=1))
    wf.output(wf.task("crawl", crawl, timeouts=Timeouts(heartbeat=timedelta(seconds=1)), retry=once_more).output)
    async with serving(client, wf):
        handle = await client.start(wf)
        assert await handle.result() == {"page": 3}
        failures = [
            e.step_attempt_failed.failure.type async for e in handle.history() if e.HasField("step_attempt_failed")
        ]

    assert said.is_set()
    assert failures == ["Timeout.Heartbeat"]


class Deflate:
    """A codec: what it makes is opaque to the server."""

    def encode(self, payload: Payload) -> Payload:
        metadata = {"encoding": b"deflate", "inner": payload.metadata.get("encoding", b"")}
        return Payload(metadata=metadata, data=zlib.compress(payload.data))

    def decode(self, payload: Payload) -> Payload:
        if payload.metadata.get("encoding") != b"deflate":
            return payload
        inner = payload.metadata["inner"]
        return Payload(metadata={"encoding": inner} if inner else {}, data=zlib.decompress(payload.data))


@pytest.mark.asyncio
async def test_what_a_codec_wrote_passes_through_the_server(server: ServerProcess) -> None:
    async with Client(server.target, converter=Converter(Deflate())) as client:
        wf = Workflow("sdk-codec")
        wf.output(wf.task("words", "repeat", input=wf.input).output)
        async with serving(client, wf, repeat):
            handle = await client.start(wf, Topic(text="ä" * 20_000))
            assert await handle.result(list[str]) == ["ä" * 20_000] * 2
            run = await handle.get()

    assert run.output.metadata["encoding"] == b"deflate"


@pytest.mark.asyncio
async def test_operators_see_the_worker(client: Client) -> None:
    wf = report()
    async with serving(client, wf) as worker:
        await gate_of(await client.start(wf, Topic(text="x")), client)  # its tasks were done, so it is connected
        found = {each.worker.id: each async for each in client.operations.workers()}[worker.worker_id]

    assert {queue.queue: sorted(queue.handlers) for queue in found.queues} == {
        "default": ["deny", "repeat", "third_time"],
        "tools": ["count"],
    }
    assert (found.slots_total, found.worker.language) == (10, "python")
