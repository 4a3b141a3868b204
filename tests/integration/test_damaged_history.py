"""One history that is damaged on disk keeps no other run from going on, whether its run was in memory or evicted."""

import sqlite3
from pathlib import Path

import pytest

from holdfast import Client
from holdfast.errors import ServerError
from holdfast.testing.processes import ServerProcess
from holdfast.v1.run_pb2 import RunState

HOLD = "{name: hold, steps: [{name: hold, wait: {signal: go}}], output: '${steps.hold.output}'}"


@pytest.mark.asyncio
@pytest.mark.parametrize("evicted", [False, True], ids=["hot", "evicted"])
async def test_a_damaged_history_is_left_alone(tmp_path: Path, evicted: bool) -> None:
    file = tmp_path / "holdfast.db"
    arguments = ("--evict-after-s", "1" if evicted else "600")
    async with ServerProcess(file, arguments=arguments) as server, Client(server.target) as client:
        await client.register(HOLD)
        damaged, sound = [await client.start("hold") for _ in range(2)]
        while evicted and (await client.operations.server_info()).hot_runs:
            pass
    with sqlite3.connect(file) as connection:
        connection.execute(
            "UPDATE history SET blob = x'ffff' WHERE run = (SELECT key FROM runs WHERE run_id = ?)", (damaged.run_id,)
        )
    connection.close()

    async with ServerProcess(file, log=tmp_path / "server.log") as server, Client(server.target, timeout_s=5) as client:
        sound = client.handle(sound.run_id)
        await sound.signal("go", 7)
        assert await sound.result() == 7
        with pytest.raises(ServerError, match=r"does not fold: .*admin verify") as caught:
            await client.handle(damaged.run_id).signal("go", 8)
        assert caught.value.reason == "INTERNAL"
        listed = {run.run_id: run.state async for run in client.runs.list()}
        assert listed[damaged.run_id] == RunState.RUN_STATE_RUNNING
        assert "Traceback" not in server.log_tail()
