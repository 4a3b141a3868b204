"""What a refused call held is free at once, and not only when the collector of cycles comes by, which is seldom."""

import contextlib
import gc
from collections.abc import Awaitable, Callable

import orjson
import pytest

from holdfast.v1.payload_pb2 import Payload
from holdfast.v1.run_service_pb2 import (
    QueryRunRequest,
    SignalRunRequest,
    SignalRunsRequest,
    StartRunRequest,
    StartRunsRequest,
)
from holdfast.v1.signal_pb2 import Signal
from holdfast.v1.workflow_service_pb2 import RegisterWorkflowRequest
from holdfast_server.app import Server
from holdfast_server.config import ServerConfig
from tests.integration.raw import Stubs, open_channel

SOURCE = """
name: strict
input_schema: {properties: {l: {items: {items: {type: string}}}}}
signals: [{name: s, schema: {properties: {l: {items: {type: string}}}}}]
steps: [{name: hold, wait: {signal: s}}]
"""
MANY = 20_000
GOOD = Payload(data=orjson.dumps({"l": [["x"]] * MANY}))
BAD = Payload(data=orjson.dumps({"l": [[1]] * MANY}))
"""Once decoded, so many objects that the collector looks at."""


@pytest.mark.asyncio
async def test_what_a_refused_call_held_is_free_at_once() -> None:
    server = Server(ServerConfig(listen="127.0.0.1:0", database=":memory:"))
    await server.start()
    channel = open_channel(f"127.0.0.1:{server.port}")
    stubs = Stubs(channel)
    try:
        await stubs.workflows.RegisterWorkflow(RegisterWorkflowRequest(source=SOURCE))
        run_id = (await stubs.runs.StartRun(StartRunRequest(workflow="strict", input=GOOD))).run_id
        start = StartRunRequest(workflow="strict", input=BAD)
        signal = SignalRunRequest(run_id=run_id, signal=Signal(name="s", payload=BAD))
        query = QueryRunRequest(run_id=run_id, expression="input.l.map(x, x)")
        await _leaves_nothing(lambda: stubs.runs.StartRun(start))
        await _leaves_nothing(lambda: stubs.runs.StartRuns(StartRunsRequest(starts=[start])))
        await _leaves_nothing(lambda: stubs.runs.SignalRun(signal))
        await _leaves_nothing(lambda: stubs.runs.SignalRuns(SignalRunsRequest(signals=[signal])))
        await _leaves_nothing(lambda: stubs.runs.QueryRun(query))
    finally:
        await channel.close()
        await server.stop()


async def _leaves_nothing(call: Callable[[], Awaitable[object]]) -> None:
    gc.collect()
    gc.disable()
    try:
        before = len(gc.get_objects())
        for _ in range(5):
            with contextlib.suppress(Exception):  # a refusal, or the answer of a batch
                await call()
        assert len(gc.get_objects()) - before < MANY
    finally:
        gc.enable()
