"""Clients that do not read what they asked for: the server keeps a bounded amount for them, and loses nothing."""

from pathlib import Path
from typing import Any

import pytest
from grpc import aio

from holdfast import Client
from holdfast.testing.processes import ServerProcess
from holdfast.v1.payload_pb2 import Payload
from holdfast.v1.run_service_pb2 import (
    GetRunRequest,
    SignalRunRequest,
    SignalRunsRequest,
    StartRunRequest,
    StartRunsRequest,
    WatchRunRequest,
    WatchRunsRequest,
)
from holdfast.v1.signal_pb2 import Signal
from tests.integration.raw import Stubs, cancelled_at_end

KIB_PER_MIB = 1024
SOURCE = """
name: talkative
signals: [{name: more}, {name: end}]
steps:
  - {name: end, wait: {signal: end}}
  - {name: listen, wait: {signal: more, when: "payload == 'never'"}}
"""
TEXT = Payload(data=b'"' + b"x" * 8_000 + b'"')


def rss_mib(server: ServerProcess) -> float:
    status = Path(f"/proc/{server.pid}/status").read_text(encoding="ascii")
    return int(status.partition("VmRSS:")[2].split()[0]) / KIB_PER_MIB


@pytest.mark.asyncio
async def test_a_watcher_that_does_not_read_gets_every_event_once_it_does(
    server: ServerProcess, client: Client, stubs: Stubs
) -> None:
    await client.register(SOURCE)
    run_id = (await stubs.runs.StartRun(StartRunRequest(workflow="talkative"))).run_id
    watchers = [stubs.runs.WatchRun(WatchRunRequest(run_id=run_id)) for _ in range(20)]
    first = [await watcher.read() for watcher in watchers]
    assert all(first)
    signals = [SignalRunRequest(run_id=run_id, signal=Signal(name="more", payload=TEXT))] * 900
    results = (await stubs.runs.SignalRuns(SignalRunsRequest(signals=signals))).results
    assert all(one.HasField("accepted") for one in results)
    before = rss_mib(server)
    handle = client.handle(run_id)
    for _ in range(600):
        await handle.pause()
        await handle.resume()
    assert rss_mib(server) - before < 60
    last_seq = (await stubs.runs.GetRun(GetRunRequest(run_id=run_id))).run.summary.last_seq
    await handle.terminate()
    for watcher, begun in zip(watchers, first, strict=True):
        seqs = []
        answer: Any = begun
        while answer is not aio.EOF:
            seqs += [event.seq for event in answer.events]
            answer = await watcher.read()
        assert seqs == list(range(1, last_seq + 2))


@pytest.mark.asyncio
async def test_a_list_that_is_not_read_shows_the_latest_once_it_is(client: Client, stubs: Stubs) -> None:
    await client.register(SOURCE)
    stream = stubs.runs.WatchRuns(WatchRunsRequest())
    async with cancelled_at_end(stream):
        shown: dict[str, int] = {}
        live = False
        while not live:
            answer: Any = await stream.read()
            shown |= {run.run_id: run.last_seq for run in answer.runs}
            live = answer.live
        ids = []
        for _ in range(5):
            starts = [StartRunRequest(workflow="talkative", input=TEXT)] * 200
            results = (await stubs.runs.StartRuns(StartRunsRequest(starts=starts))).results
            ids += [one.accepted.run_id for one in results]
        last = client.handle(ids[-1])
        await last.terminate()
        closed = (await last.get()).summary
        while shown.get(ids[-1]) != closed.last_seq or not set(ids) <= shown.keys():
            answer = await stream.read()
            shown |= {run.run_id: run.last_seq for run in answer.runs}
