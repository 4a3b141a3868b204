"""Connections that do not speak HTTP/2 or gRPC as they should: the server goes on, and serves the others."""

import asyncio
import random

import pytest

from holdfast import Client
from holdfast.testing.processes import ServerProcess
from holdfast.v1.operations_service_pb2 import HealthState
from tests.fuzz.wire import ATTACKS, attack


@pytest.mark.asyncio
async def test_whatever_comes_over_the_wire_the_server_goes_on(server: ServerProcess, client: Client) -> None:
    chance = random.Random(7)  # noqa: S311 - no secret
    await asyncio.gather(*(attack(server.target, name, chance) for name in ATTACKS for _ in range(3)))
    assert await attack(server.target, "a sound call", chance)
    assert (await client.operations.server_info()).health == HealthState.HEALTH_STATE_OK
    assert server.running
