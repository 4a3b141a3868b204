"""Random requests to every method: whatever comes, the answer is a well-formed status, and the server stays well."""

import asyncio
import os

import pytest
from google.protobuf.descriptor import MethodDescriptor

from holdfast import Client
from holdfast.v1.operations_service_pb2 import GetServerInfoRequest, HealthState
from tests.fuzz.calling import SORTS, Caller, sound_requests
from tests.fuzz.dice import METHODS, Dice, path_of
from tests.fuzz.hostile import RUNNING
from tests.integration.raw import RawWorker, Stubs

ROUNDS = int(os.environ.get("FUZZ_ROUNDS", "10"))
SEED = int(os.environ.get("FUZZ_SEED", "7"))


def test_every_method_has_a_sound_request() -> None:
    missing = {path_of(method) for method in METHODS} - sound_requests("r", "r", b"").keys()
    assert not missing, "add them to sound_requests in tests/fuzz/calling.py"


@pytest.mark.asyncio
@pytest.mark.parametrize("method", METHODS, ids=[method.name for method in METHODS])
async def test_whatever_comes_the_answer_is_well_formed(client: Client, stubs: Stubs, method: MethodDescriptor) -> None:
    await client.register(RUNNING)
    runs = [(await client.start("fuzzed", {"n": 1})).run_id for _ in range(3)]
    await client.handle(runs[0]).terminate()
    task = (await RawWorker(stubs, "work").poll())[0]
    sound = sound_requests(runs[1], runs[0], task.token)
    for sort in SORTS:
        caller = Caller(stubs.channel, Dice(SEED, runs, (task.token,)), sound)
        faults = await asyncio.gather(*(caller.call(method, sort) for _ in range(ROUNDS)))
        assert not [fault for fault in faults if fault is not None]
        assert sum(caller.answers.values()) == ROUNDS
    info = await stubs.operations.GetServerInfo(GetServerInfoRequest())
    assert info.health == HealthState.HEALTH_STATE_OK
