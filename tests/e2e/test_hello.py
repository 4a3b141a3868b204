"""The first workflow of the README, with a server and a worker of their own."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from holdfast import Client, RunHandle
from holdfast.testing import ServerProcess, WorkerProcess
from holdfast.v1.gate_pb2 import Gate

ROOT = Path(__file__).resolve().parents[2]


@pytest_asyncio.fixture
async def client(tmp_path: Path) -> AsyncIterator[Client]:
    async with (
        ServerProcess(tmp_path / "holdfast.db") as server,
        WorkerProcess("examples.hello.hello", target=server.target, folder=ROOT),
        Client(server.target) as client,
    ):
        await client.register(ROOT / "examples" / "hello" / "hello.yaml")
        yield client


async def _gate_of(handle: RunHandle, client: Client) -> Gate:
    async for event in handle.watch():
        if event.WhichOneof("body") == "gate_opened":
            return await client.gates.get(handle.run_id)
    raise AssertionError("the run ended without a gate")


@pytest.mark.asyncio
async def test_approved_the_greeting_is_sent(client: Client) -> None:
    handle = await client.start("hello", {"name": "Ada"})
    gate = await _gate_of(handle, client)
    assert (gate.content.title, gate.content.body.data) == ("Send this to Ada?", b"Hello, Ada!")

    await client.gates.approve(gate)
    sent = await handle.result(str)
    assert sent.startswith("sent to Ada as ")
    assert sent.endswith(": Hello, Ada!")


@pytest.mark.asyncio
async def test_rejected_it_is_not_sent(client: Client) -> None:
    handle = await client.start("hello", {"name": "Ada"})
    await client.gates.reject(await _gate_of(handle, client), comment="not today")

    assert await handle.result() is None
