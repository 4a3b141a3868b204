"""Signals that are never lost, waits that take them, and queries that need no worker."""

import asyncio
from uuid import uuid4

import pytest

from holdfast import Client
from holdfast.errors import (
    LimitExceededError,
    QueryFailedError,
    QueryNotFoundError,
    RequestIdReusedError,
    RunClosedError,
    RunFailedError,
    RunNotFoundError,
    SchemaViolationError,
)
from holdfast.testing.processes import ServerProcess
from holdfast.v1.run_pb2 import WaitingReason
from holdfast.v1.run_service_pb2 import SignalRunRequest, SignalRunsRequest
from holdfast.v1.signal_pb2 import Signal
from tests.integration.raw import Stubs, json_payload, refused_item, value_of

WAITS = """
name: two-waits
signals: [{name: item, schema: {type: object, required: [n], properties: {n: {type: integer}}}}, {name: extra}]
steps:
  - {name: big, wait: {signal: item, when: "payload.n >= 10"}}
  - {name: any, after: [{step: big}], wait: {signal: item}}
output: ["${steps.big.output.n}", "${steps.any.output.n}"]
queries:
  - {name: numbers, expression: "signals.item.map(one, one.n)"}
  - {name: waiting, expression: "steps.big.state == 'WAITING'"}
  - {name: broken, expression: "steps.big.output.n + 1"}
"""
HOLD = """
name: hold
steps: [{name: hold, wait: {signal: go}}]
output: "${steps.hold.output}"
"""
TIMED = """
name: timed
steps: [{name: hold, wait: {signal: go, timeout: 200ms}}, {name: late, after: [{step: hold, on: FAILED}], compute: {}}]
output: "${steps.hold.failure.type}"
"""


@pytest.mark.asyncio
async def test_early_signals_wait_in_the_run_and_go_to_the_wait_they_fit(client: Client) -> None:
    await client.register(WAITS)
    handle = await client.start("two-waits")
    for number in (1, 2):
        await handle.signal("item", {"n": number})
    run = await handle.get()
    assert [value_of(one.payload)["n"] for one in run.unconsumed_signals] == [1, 2]
    assert [(one.reason, one.step_path) for one in run.waiting_on] == [(WaitingReason.WAITING_REASON_SIGNAL, "big")]
    await handle.signal("item", {"n": 30})
    assert await handle.result() == [30, 1]
    closing = [event async for event in handle.history()][-1]
    assert closing.run_succeeded.unconsumed_signal_seqs == [4]


@pytest.mark.asyncio
async def test_one_signal_goes_to_one_wait(client: Client) -> None:
    definition = """
name: rivals
steps: [{name: a, wait: {signal: go}}, {name: b, wait: {signal: go}}]
output: ["${steps.a.output}", "${steps.b.output}"]
"""
    await client.register(definition)
    handle = await client.start("rivals")
    await handle.signal("go", 1)
    assert {one.step_path for one in (await handle.get()).waiting_on} == {"b"}
    await handle.signal("go", 2)
    assert await handle.result() == [1, 2]


@pytest.mark.asyncio
async def test_a_wait_times_out(client: Client) -> None:
    await client.register(TIMED)
    assert await client.run("timed") == "Timeout.Wait"
    await client.register(TIMED.replace(", {name: late, after: [{step: hold, on: FAILED}], compute: {}}", ""))
    with pytest.raises(RunFailedError) as caught:
        await client.run("timed")
    assert caught.value.failure_type == "Timeout.Wait"


@pytest.mark.asyncio
async def test_a_signal_is_checked_before_it_is_taken(client: Client) -> None:
    await client.register(WAITS)
    handle = await client.start("two-waits")
    with pytest.raises(SchemaViolationError) as caught:
        await handle.signal("item", {"n": "one"})
    assert (caught.value.reason, caught.value.violations[0].field) == ("SIGNAL_SCHEMA", "signal.payload.n")
    with pytest.raises(SchemaViolationError) as caught:
        await handle.signal("unknown", 1)
    assert (caught.value.reason, caught.value.violations[0].field) == ("SIGNAL_UNDECLARED", "signal.name")
    assert "item, extra" in caught.value.message
    with pytest.raises(RunNotFoundError):
        await client.handle("nowhere").signal("item", {"n": 1})
    assert not (await handle.get()).unconsumed_signals


@pytest.mark.asyncio
async def test_a_signal_that_was_accepted_outlives_a_kill(client: Client, server: ServerProcess) -> None:
    await client.register(WAITS)
    handle = await client.start("two-waits")
    request_id = uuid4().hex
    seq = await handle.signal("item", {"n": 5}, request_id=request_id)
    server.kill()
    await asyncio.to_thread(server.start)
    assert await handle.signal("item", {"n": 5}, request_id=request_id) == seq
    assert len((await handle.get()).unconsumed_signals) == 1
    await handle.signal("item", {"n": 11})
    assert await handle.result() == [11, 5]


@pytest.mark.asyncio
async def test_a_repeated_signal_counts_once_also_when_the_run_is_closed(client: Client) -> None:
    await client.register(HOLD)
    handle = await client.start("hold")
    request_id = uuid4().hex
    seqs = await asyncio.gather(*(handle.signal("go", 1, request_id=request_id) for _ in range(20)))
    assert len(set(seqs)) == 1
    assert await handle.result() == 1
    assert await handle.signal("go", 1, request_id=request_id) == seqs[0]
    with pytest.raises(RequestIdReusedError):
        await handle.signal("go", 2, request_id=request_id)
    with pytest.raises(RunClosedError) as caught:
        await handle.signal("go", 1)
    assert caught.value.metadata == {"run_id": handle.run_id}


@pytest.mark.asyncio
async def test_signals_in_a_batch_are_refused_one_by_one(client: Client, stubs: Stubs) -> None:
    await client.register(WAITS)
    await client.register(HOLD)
    open_run = await client.start("two-waits")
    closed_run = await client.start("hold", signals=[("go", 1)])
    await closed_run.result()
    good = Signal(name="item", payload=json_payload({"n": 12}))
    requests = [
        SignalRunRequest(run_id=open_run.run_id, signal=good),
        SignalRunRequest(run_id=closed_run.run_id, signal=Signal(name="go")),
        SignalRunRequest(run_id="nowhere", signal=good),
        SignalRunRequest(run_id=open_run.run_id, signal=Signal(name="Not A Name")),
        SignalRunRequest(run_id=open_run.run_id, signal=Signal(name="item", payload=json_payload({}))),
        SignalRunRequest(run_id=open_run.run_id, signal=good),
    ]
    results = (await stubs.runs.SignalRuns(SignalRunsRequest(signals=requests))).results
    refused_item(results[1].error, "RUN_CLOSED")
    refused_item(results[2].error, "RUN_NOT_FOUND")
    refused_item(results[3].error, "INVALID_REQUEST", "signal.name")
    refused_item(results[4].error, "SIGNAL_SCHEMA", "signal.payload")
    assert results[0].accepted.seq < results[5].accepted.seq
    assert await open_run.result() == [12, 12]


@pytest.mark.asyncio
async def test_a_run_holds_so_many_signals_and_not_more(client: Client) -> None:
    await client.register(WAITS)
    handle = await client.start("two-waits")
    await asyncio.gather(*(handle.signal("extra", number) for number in range(1_000)))
    with pytest.raises(LimitExceededError) as caught:
        await handle.signal("extra", 1_000)
    error = caught.value
    assert (error.code, error.limit, error.value, error.actual) == (
        "RESOURCE_EXHAUSTED",
        "unconsumed_signals",
        1_000,
        1_001,
    )
    await handle.signal("item", {"n": 10})  # one that is waited for is not held
    assert [one.name for one in (await handle.get()).unconsumed_signals] == ["extra"] * 1_000
    with pytest.raises(LimitExceededError):
        await handle.signal("extra")
    await handle.terminate()


@pytest.mark.asyncio
async def test_queries_are_answered_from_the_state(client: Client, server: ServerProcess) -> None:
    await client.register(WAITS)
    handle = await client.start("two-waits", {"who": "ann"})
    await handle.signal("item", {"n": 3})
    assert await handle.query("numbers") == [3]
    assert await handle.query("waiting") is True
    assert await handle.query_expression("input.who + '!'") == "ann!"
    assert await handle.query_expression("{'run': run.id, 'steps': [steps.big.state, steps.any.state]}") == {
        "run": handle.run_id,
        "steps": ["WAITING", "PENDING"],
    }
    with pytest.raises(QueryNotFoundError) as caught:
        await handle.query("nothing")
    assert "numbers, waiting, broken" in caught.value.message
    assert [one.field for one in caught.value.violations] == ["name"]
    with pytest.raises(QueryFailedError) as failed:
        await handle.query("broken")
    assert failed.value.code == "INVALID_ARGUMENT"
    for expression in ("1 +", "nonsense.x", "steps.missing.output", "1 / 0", "[1][5]"):
        with pytest.raises(QueryFailedError):
            await handle.query_expression(expression)

    await handle.signal("item", {"n": 10})
    await handle.result()
    server.kill()
    await asyncio.to_thread(server.start)
    assert await handle.query_expression("steps.big.output.n") == 10
    assert await handle.query("broken") == 11
    assert await handle.query("waiting") is False


@pytest.mark.asyncio
async def test_queries_look_into_large_payloads(client: Client, server: ServerProcess) -> None:
    await client.register(HOLD)
    handle = await client.start("hold", {"text": "x" * 100_000, "n": 2**53 + 1})
    assert await handle.query_expression("size(input.text)") == 100_000
    assert await handle.query_expression("input.n") == 2**53 + 1
    server.kill()
    await asyncio.to_thread(server.start)
    assert await handle.query_expression("size(input.text) + 1") == 100_001
    await handle.signal("go", "y" * 50_000)
    assert await handle.query_expression("size(steps.hold.output)") == 50_000


@pytest.mark.asyncio
async def test_signals_and_results_flow_while_others_ask(client: Client) -> None:
    """Reads beside writes: every answer is of a state that was on disk, so what is read never goes back."""
    definition = """
name: counting
steps: [{name: hold, wait: {signal: stop}}]
queries: [{name: count, expression: "has(signals.item) ? size(signals.item) : 0"}]
"""
    await client.register(definition)
    handle = await client.start("counting")
    done = asyncio.Event()

    async def ask() -> int:
        seen = 0
        while not done.is_set():
            count = await handle.query("count")
            assert count >= seen
            seen = count
        return seen

    asking = [asyncio.create_task(ask()) for _ in range(3)]
    for number in range(100):
        await handle.signal("item", number)
    done.set()
    await asyncio.gather(*asking)
    assert await handle.query("count") == 100
    await handle.signal("stop")
    await handle.result()
