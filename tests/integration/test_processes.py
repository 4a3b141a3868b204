"""Servers and workers as processes of their own: started, stopped, killed, started again, and what they say."""

import asyncio
import os
import socket
from pathlib import Path

import pytest

from holdfast import Client
from holdfast.testing import ProcessError, ServerProcess, WorkerProcess

HANDLERS = """
import os
from holdfast import handler

@handler
def where(word: str) -> str:
    return f"{word} {os.environ['A_NAME']} {os.getcwd()}"
"""
DEFINITION = {
    "name": "where",
    "steps": [{"name": "where", "task": {"handler": "where"}, "input": "${input}"}],
    "output": "${steps.where.output}",
}


@pytest.mark.asyncio
async def test_a_server_and_a_worker_do_a_run(tmp_path: Path) -> None:
    (tmp_path / "my_handlers.py").write_text(HANDLERS, encoding="utf-8")
    async with (
        ServerProcess(tmp_path / "holdfast.db") as server,
        WorkerProcess("my_handlers", target=server.target, folder=tmp_path, environment={"A_NAME": "there"}) as worker,
        Client(server.target) as client,
    ):
        await client.register(DEFINITION)
        assert await client.run("where", "here") == f"here there {tmp_path}"
        assert (server.running, worker.running) == (True, True)

    assert (server.running, worker.running) == (False, False)


def test_a_stopped_server_ended_in_order(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "holdfast.db", log=tmp_path / "logs" / "server.log") as server:
        assert server.stop() == 0
        assert not server.running

    assert "ready" in (tmp_path / "logs" / "server.log").read_text(encoding="utf-8")


@pytest.mark.asyncio
async def test_a_killed_server_comes_back_at_the_same_address_with_what_it_had(tmp_path: Path) -> None:
    async with ServerProcess(tmp_path / "holdfast.db") as server, Client(server.target) as client:
        target, pid = server.target, server.pid
        await client.register(DEFINITION)
        assert server.kill() < 0
        await asyncio.to_thread(server.start)

        assert (server.target, server.running) == (target, True)
        assert server.pid != pid
        assert (await client.workflows.get("where")).workflow.version == 1


def test_a_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        server = ServerProcess(tmp_path / "holdfast.db", listen=listen)
        with (
            pytest.raises(ProcessError, match=r"(?s)ended with exit code 1 before it was ready.*cannot listen on"),
            server,
        ):
            pytest.fail("it started")
    assert not server.running


def test_two_servers_on_one_file_are_one_too_many(tmp_path: Path) -> None:
    with (
        ServerProcess(tmp_path / "holdfast.db"),
        pytest.raises(ProcessError, match="exit code 1"),
        ServerProcess(tmp_path / "holdfast.db"),
    ):
        pytest.fail("it started")


def test_starting_twice_and_asking_before_the_start_are_mistakes(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path / "holdfast.db")
    with pytest.raises(ProcessError, match="not started"):
        _ = server.pid
    assert (server.stop(), server.kill(), server.log_tail()) == (0, 0, "")
    with server, pytest.raises(ProcessError, match=f"runs already as process {server.pid}"):
        server.start()


@pytest.mark.asyncio
async def test_a_caller_that_is_cancelled_leaves_no_process_behind(tmp_path: Path) -> None:
    started = asyncio.Event()
    pids: list[int] = []

    async def use() -> None:
        async with ServerProcess(tmp_path / "holdfast.db") as server:
            pids.append(server.pid)
            started.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(use())
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    with pytest.raises(ProcessLookupError):
        os.kill(pids[0], 0)
