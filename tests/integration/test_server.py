"""The server as a process: how it starts, what it says of itself, how it goes down."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from holdfast import Client
from holdfast.testing.processes import ServerProcess
from holdfast.v1 import operations_service_pb2 as operations
from holdfast_server.app import SERVICES
from tests.integration.raw import RawWorker, Stubs, open_channel

HELLO = (
    "{name: hello, steps: [{name: only, compute: {}, input: {said: '${input.word}'}}], output: '${steps.only.output}'}"
)
BUF = Path(sys.executable).with_name("buf")


def holdfast(*arguments: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    """One command of the command line, run to its end."""
    return subprocess.run(
        [sys.executable, "-m", "holdfast", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=os.environ | variables,
    )


def curl(*arguments: str) -> str:
    """A call by somebody who knows nothing but the address."""
    done = subprocess.run(
        [BUF, "curl", "--protocol", "grpc", "--http2-prior-knowledge", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.asyncio
async def test_a_run_can_be_started_and_read_by_reflection_alone(server: ServerProcess, client: Client) -> None:
    await client.register(HELLO)
    service = f"http://{server.target}/holdfast.v1.RunService"
    data = "eyJ3b3JkIjoiaGkifQ=="  # {"word":"hi"}
    call = {"workflow": "hello", "input": {"data": data}}
    started = json.loads(await asyncio.to_thread(curl, "-d", json.dumps(call), f"{service}/StartRun"))
    assert started["started"] is True
    asked = json.dumps({"runId": started["runId"]})
    told = await asyncio.to_thread(curl, "-d", asked, f"{service}/GetHistory")
    bodies = [
        next(name for name in event if name not in {"seq", "time", "actor"}) for event in json.loads(told)["events"]
    ]
    assert bodies == ["runStarted", "stepSucceeded", "runSucceeded"]


@pytest.mark.asyncio
async def test_reflection_lists_every_service_under_both_names(server: ServerProcess) -> None:
    listed = await asyncio.to_thread(curl, "--list-services", f"http://{server.target}")
    assert set(SERVICES) < set(listed.split())
    channel = open_channel(server.target)
    try:
        make_stub: Any = reflection_pb2_grpc.ServerReflectionStub
        stub = make_stub(channel)
        call = stub.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(list_services="")]))
        async for answer in call:
            names = {one.name for one in answer.list_services_response.service}
            assert set(SERVICES) < names
            assert {"grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection"} < names
    finally:
        await channel.close()


@pytest.mark.asyncio
async def test_health_is_told_per_service(server: ServerProcess) -> None:
    channel = open_channel(server.target)
    try:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        for service in ("", *SERVICES):
            answer = await stub.Check(health_pb2.HealthCheckRequest(service=service))
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
    finally:
        await channel.close()


@pytest.mark.asyncio
async def test_the_server_says_what_it_is(stubs: Stubs) -> None:
    info = await stubs.operations.GetServerInfo(operations.GetServerInfoRequest())
    assert info.health == operations.HealthState.HEALTH_STATE_OK
    assert info.store.startswith("sqlite ")
    assert info.server_epoch == 1
    assert {limit.name: limit.value for limit in info.limits}["payload_bytes"] == 4 * 1024 * 1024


@pytest.mark.asyncio
async def test_a_stop_answers_parked_polls_and_leaves_nothing_behind(tmp_path: Path) -> None:
    process = ServerProcess(tmp_path / "holdfast.db")
    async with process as server:
        channel = open_channel(server.target)
        try:
            stubs = Stubs(channel)
            worker = RawWorker(stubs, "work")
            parked = asyncio.create_task(worker.poll_once(park_s=30))
            # Calls on one connection arrive in order, so the poll is parked when this one is answered.
            await stubs.operations.ListWorkers(operations.ListWorkersRequest())
            assert await asyncio.to_thread(server.stop) == 0
            assert await parked == []
        finally:
            await channel.close()
        assert "stopped" in server.log_tail()
        assert "Traceback" not in server.log_tail()


@pytest.mark.asyncio
async def test_what_was_accepted_is_there_after_a_stop(tmp_path: Path) -> None:
    async with ServerProcess(tmp_path / "holdfast.db") as server:
        async with Client(server.target) as client:
            await client.register(HELLO)
            handle = await client.start("hello", {"word": "hi"})
            run_id = handle.run_id
            await handle.result()
        assert await asyncio.to_thread(server.stop) == 0
        await asyncio.to_thread(server.start)
        async with Client(server.target) as client:
            assert await client.handle(run_id).result() == {"said": "hi"}
            assert (await client.operations.server_info()).server_epoch == 2


def test_two_servers_do_not_share_a_file(server: ServerProcess) -> None:
    done = holdfast("server", "--database", str(server.database), "--listen", "127.0.0.1:0")
    assert done.returncode == 1
    assert str(server.pid) in done.stderr
    assert "in use" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_database_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "newer.db"
    with ServerProcess(file) as server:
        server.stop()
    import sqlite3  # noqa: PLC0415 - no other test here looks into the file

    connection = sqlite3.connect(file)
    connection.execute("PRAGMA user_version = 99")
    connection.commit()
    connection.close()
    before = file.read_bytes()
    done = holdfast("server", "--database", str(file), "--listen", "127.0.0.1:0")
    assert done.returncode == 1
    assert "99" in done.stderr
    assert file.read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (("--listen", "0.0.0.0:0"), 1, "--insecure"),
        (("--listen", "nowhere"), 2, "127.0.0.1:7411"),
        (("--log-level", "loud"), 2, "log_level"),
        (("--lease-s", "-1"), 2, "lease_s"),
        (("--database", "/nowhere/at/all.db"), 1, "/nowhere/at"),
    ],
)
def test_a_server_that_cannot_start_says_what_is_wrong(
    arguments: tuple[str, ...], code: int, told: str, tmp_path: Path
) -> None:
    done = holdfast("server", "--database", str(tmp_path / "a.db"), "--listen", "127.0.0.1:0", *arguments)
    assert done.returncode == code, done.stderr
    assert told in done.stderr
    assert "Traceback" not in done.stderr


def test_settings_come_from_flags_over_environment_over_file(tmp_path: Path) -> None:
    file = tmp_path / "holdfast.toml"
    file.write_text('log_level = "loud"\n')
    done = holdfast("server", "--config", str(file), "--database", ":memory:")
    assert (done.returncode, "log_level" in done.stderr) == (2, True)
    done = holdfast("server", "--config", str(file), "--listen", "nowhere", HOLDFAST_LOG_LEVEL="info")
    assert (done.returncode, "log_level" in done.stderr, "listen" in done.stderr) == (2, False, True)


def test_a_port_in_use_is_told(server: ServerProcess, tmp_path: Path) -> None:
    done = holdfast("server", "--database", str(tmp_path / "b.db"), "--listen", server.target)
    assert done.returncode == 1
    assert server.target in done.stderr
