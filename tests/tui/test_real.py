"""The screens on a real server with a real worker: a gate is approved, and a killed server comes back."""

import asyncio
from pathlib import Path

import pytest

from holdfast import Client
from holdfast.testing.processes import ServerProcess, WorkerProcess
from holdfast_tui.client import GrpcClient
from holdfast_tui.store.times import SystemClock
from tests.tui.fake import seated

ROOT = Path(__file__).parents[2]
WORKFLOW = """
name: article
steps:
  - {name: write, task: {handler: write}, input: "${input.topic}"}
  - name: review
    after: [{step: write}]
    gate:
      title: "Publish the article on ${input.topic}?"
      body: "${steps.write.output}"
      deadline: 1h
      action: {name: publish_article, risk: HIGH, args: {topic: "${input.topic}"}}
  - name: publish
    after: [{step: review, when: "steps.review.output.resolution == 'APPROVED'"}]
    task: {handler: publish}
    input: "${steps.write.output}"
output: "${steps.publish.output}"
"""


@pytest.mark.asyncio
async def test_a_gate_is_approved_by_keys_and_the_run_succeeds(tmp_path: Path) -> None:
    async with (
        ServerProcess(tmp_path / "holdfast.db", folder=ROOT) as server,
        WorkerProcess("tests.tui.handlers", target=server.target, folder=ROOT),
        Client(server.target) as client,
        seated(GrpcClient(server.target, actor="ada"), clock=SystemClock()) as seat,
    ):
        await seat.sees("● LIVE", "Nothing waits for a decision.", "No runs in namespace default yet.")
        await client.register(WORKFLOW)
        handle = await client.start("article", {"topic": "tides"}, run_id="tides-1")
        await seat.sees("Publish the article on tides?", "in 59m", "HIGH", "▶ RUNNING")
        await seat.reads("On tides", "All of it.", '"topic": "tides"', "takes APPROVE, REJECT")
        await seat.press("a")
        await seat.until(lambda: len(seat.app.screen_stack) == 2 and seat.app.screen.focused is not None)
        await seat.type("tides-1")
        await seat.press("tab")
        await seat.type("well done")
        await seat.press("ctrl+s")
        async with asyncio.timeout(30):
            assert await handle.result(str) == "published 22 characters"
        await seat.sees("✔ SUCCEEDED", "Nothing waits for a decision.")
        await seat.reads("APPROVED by ada (unverified)", "well done")
        await seat.press("2")
        await seat.reads("✔ write", "✔ review", "✔ publish", "published 22 characters")
        gate = await client.gates.get("tides-1", "review")
        assert [(said.actor.name, said.comment) for said in gate.decided] == [("ada", "well done")]


@pytest.mark.asyncio
async def test_a_killed_server_is_told_and_when_it_is_back_everything_is_live_again(tmp_path: Path) -> None:
    async with (
        ServerProcess(tmp_path / "holdfast.db", folder=ROOT) as server,
        WorkerProcess("tests.tui.handlers", target=server.target, folder=ROOT),
        Client(server.target) as client,
        seated(GrpcClient(server.target, actor="ada"), clock=SystemClock()) as seat,
    ):
        await client.register(WORKFLOW)
        first = await client.start("article", {"topic": "tides"}, run_id="tides-1")
        await seat.sees("● LIVE", "Publish the article on tides?", "Inbox  1")
        await asyncio.to_thread(server.kill)
        await seat.sees("RECONNECTING", "No server answers", "Publish the article on tides?")
        await asyncio.to_thread(server.start)
        await seat.sees("● LIVE")
        await client.start("article", {"topic": "winds"}, run_id="winds-1")
        await seat.sees("Publish the article on winds?", "Inbox  2", "Runs  2")
        await seat.press("r")  # decided on the gate of before the kill, which is the same gate
        await seat.until(lambda: len(seat.app.screen_stack) == 2 and seat.app.screen.focused is not None)
        await seat.type("not now")
        await seat.press("ctrl+s")
        async with asyncio.timeout(30):
            assert await first.result() is None
        await seat.sees("Inbox  1", "✔ SUCCEEDED")
        await seat.reads("REJECTED by ada (unverified)", "not now")


@pytest.mark.asyncio
async def test_without_a_server_it_waits_for_one_and_then_is_live(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path / "holdfast.db", folder=ROOT)
    async with server:
        target = server.target
        await asyncio.to_thread(server.stop)
        async with seated(GrpcClient(target), clock=SystemClock()) as seat:
            await seat.sees("CONNECTING", "No server answers", "holdfast server")
            await asyncio.to_thread(server.start)
            await seat.sees("● LIVE", "Nothing waits for a decision.")
