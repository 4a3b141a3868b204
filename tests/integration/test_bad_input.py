"""Bad input: one table of what can be wrong with a request, and exactly what the server says to it.

The status of each reason is what the contract says: the comment on the reason in `errors.proto`.
"""

import re
from pathlib import Path
from uuid import uuid4

import grpc
import pytest
from grpc import aio

from holdfast.v1 import (
    operations_service_pb2 as operations,
    run_service_pb2 as runs,
    workflow_service_pb2 as workflows,
)
from holdfast.v1.definition_pb2 import Decision
from holdfast.v1.errors_pb2 import ErrorReason
from holdfast.v1.payload_pb2 import Payload
from holdfast.v1.run_pb2 import RunState, WaitingReason
from holdfast.v1.task_pb2 import TaskResult
from tests.integration.bad_input import TABLE, Row, World
from tests.integration.raw import MIB, RawWorker, Stubs, json_payload, refused

CONTRACT = (Path(__file__).parents[2] / "proto" / "holdfast" / "v1" / "errors.proto").read_text(encoding="utf-8")
STATUSES = {reason: status for status, reason in re.findall(r"\b([A-Z_]{5,})\.\n  ERROR_REASON_([A-Z_]+) = ", CONTRACT)}
STATUSES["LIMIT_EXCEEDED"] = "RESOURCE_EXHAUSTED"


@pytest.mark.asyncio
@pytest.mark.parametrize("row", TABLE, ids=[row[0] for row in TABLE])
async def test_bad_input_is_refused_by_name(row: Row, stubs: Stubs) -> None:
    _, call, reason, *fields = row
    world = await World(stubs).prepare()
    with refused(reason, STATUSES[reason], *fields) as told:
        await call(world)
    assert told.message
    assert all(told.violations.values())
    if reason in ("LIMIT_EXCEEDED", "PAYLOAD_TOO_LARGE"):
        assert int(told.metadata["actual"]) > int(told.metadata["value"])
        assert told.metadata["limit"] in told.message


def test_the_contract_gives_each_reason_a_status() -> None:
    reasons = {name.removeprefix("ERROR_REASON_") for name in ErrorReason.keys()[1:]}
    assert set(STATUSES) == reasons
    assert set(STATUSES.values()) <= {status.name for status in grpc.StatusCode}


@pytest.mark.asyncio
async def test_every_limit_is_listed_by_the_name_errors_give(stubs: Stubs) -> None:
    info = await stubs.operations.GetServerInfo(operations.GetServerInfoRequest())
    listed = {limit.name: limit.value for limit in info.limits}
    world = await World(stubs).prepare()
    for _, call, reason, *_ in TABLE:
        if reason in ("LIMIT_EXCEEDED", "PAYLOAD_TOO_LARGE"):
            with refused(reason) as told:
                await call(world)
            assert listed[told.metadata["limit"]] == int(told.metadata["value"])


@pytest.mark.asyncio
async def test_a_refusal_with_very_much_to_say_fits_the_headers(stubs: Stubs) -> None:
    steps = ", ".join(f"{{name: s{number}, compute: {{}}, after: [{{step: нет{number}}}]}}" for number in range(500))
    world = await World(stubs).prepare()
    with refused("INVALID_DEFINITION", "INVALID_ARGUMENT") as told:
        await world.register(f"{{name: a, steps: [{steps}]}}")
    assert told.metadata["faults"] == "500"
    assert re.fullmatch(r"and \d+ more", told.violations[""])
    request = workflows.ValidateWorkflowRequest(source=f"{{name: a, steps: [{steps}]}}")
    assert len((await stubs.workflows.ValidateWorkflow(request)).diagnostics) == 500
    with refused("QUERY_FAILED"):
        await world.query(expression="'" + "ф" * 2_000)


@pytest.mark.asyncio
async def test_a_message_over_the_limit_is_refused_and_the_connection_goes_on(stubs: Stubs) -> None:
    world = await World(stubs).prepare()
    with refused("LIMIT_EXCEEDED", "RESOURCE_EXHAUSTED") as told:
        await world.start(input=Payload(data=b"x" * (17 * MIB)))
    assert (told.metadata["limit"], told.metadata["value"]) == ("message_bytes", str(16 * MIB))
    assert int(told.metadata["actual"]) > 17 * MIB
    with pytest.raises(aio.AioRpcError) as caught:  # the transport does not even take it in
        await world.start(input=Payload(data=b"x" * (65 * MIB)))
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    await world.start()


@pytest.mark.asyncio
async def test_bytes_that_are_no_request_are_refused_in_streams_too(stubs: Stubs) -> None:
    get: aio.UnaryUnaryMultiCallable[bytes, bytes] = stubs.channel.unary_unary("/holdfast.v1.RunService/GetRun")
    with refused("INVALID_REQUEST", "INVALID_ARGUMENT") as told:
        await get(b"\xff\xff")
    assert told.message.startswith("the bytes are not the request of this method")
    wait: aio.StreamStreamMultiCallable[bytes, bytes] = stubs.channel.stream_stream("/holdfast.v1.RunService/WaitRuns")
    with refused("INVALID_REQUEST", "INVALID_ARGUMENT"):
        async for _ in wait(iter([b"\xff\xff"])):
            pass


@pytest.mark.asyncio
async def test_a_request_id_is_for_one_request(stubs: Stubs) -> None:
    world = await World(stubs).prepare()
    request_id = uuid4().hex
    await world.start(request_id=request_id)
    with refused("REQUEST_ID_REUSED", "INVALID_ARGUMENT", "request_id"):
        await world.start(request_id=request_id, key="another")


@pytest.mark.asyncio
async def test_a_decision_on_a_resolved_gate_says_who_was_first(stubs: Stubs) -> None:
    world = await World(stubs).prepare()
    await world.decide(Decision.DECISION_REJECT)
    with refused("GATE_RESOLVED", "FAILED_PRECONDITION") as told:
        await world.decide(Decision.DECISION_APPROVE)
    assert told.metadata["resolution"] == "REJECTED"
    assert told.metadata["decided_by"] == "anonymous"
    assert told.metadata["decided_at"]


@pytest.mark.asyncio
async def test_tokens_that_are_forged_stale_or_somebody_elses_are_told_apart(stubs: Stubs) -> None:
    world = await World(stubs).prepare()
    worker, other = (RawWorker(stubs, "work", queue="bad-input") for _ in range(2))
    await world.start(workflow="worked")
    task = await worker.task()
    bad = bytearray(task.token)
    bad[-1] ^= 1
    answer = await worker.settle(
        TaskResult(token=bytes(bad), output=json_payload({})), TaskResult(token=b"", output=json_payload({}))
    )
    foreign = await other.settle(TaskResult(token=task.token, output=json_payload({})))
    nothing = await worker.settle(TaskResult(token=task.token))
    reasons = [one.error.reason for one in (*answer.rejected, *foreign.rejected, *nothing.rejected)]
    assert reasons == [ErrorReason.ERROR_REASON_TOKEN_INVALID] * 3 + [ErrorReason.ERROR_REASON_INVALID_REQUEST]
    wrong = await worker.settle(TaskResult(token=task.token, output=json_payload("no object")))
    assert [one.error.reason for one in wrong.rejected] == [ErrorReason.ERROR_REASON_OUTPUT_SCHEMA]


@pytest.mark.asyncio
async def test_what_nobody_serves_says_so_instead_of_failing(stubs: Stubs) -> None:
    world = await World(stubs).prepare()
    await world.register("{name: unserved, steps: [{name: x, task: {handler: nobody, queue: nowhere}}]}")
    run_id = (await stubs.runs.StartRun(runs.StartRunRequest(workflow="unserved"))).run_id
    run = (await stubs.runs.GetRun(runs.GetRunRequest(run_id=run_id))).run
    assert run.summary.waiting_reason == WaitingReason.WAITING_REASON_NO_WORKER
    assert "no worker serves handler 'nobody' on queue 'nowhere'" in run.waiting_on[0].message


@pytest.mark.asyncio
async def test_an_expression_that_meets_the_wrong_type_fails_its_step_by_name(stubs: Stubs) -> None:
    world = await World(stubs).prepare()
    await world.register(
        "{name: mistyped, steps: [{name: a, compute: {}, input: {n: one}}, "
        '{name: b, compute: {}, after: [{step: a, when: "steps.a.output.n > 1"}]}]}'
    )
    run_id = (await stubs.runs.StartRun(runs.StartRunRequest(workflow="mistyped"))).run_id
    run = (await stubs.runs.GetRun(runs.GetRunRequest(run_id=run_id))).run
    assert run.summary.state == RunState.RUN_STATE_FAILED
    assert (run.failure.type, run.failure.step_path) == ("ExpressionError", "b")
    assert "steps.a.output.n > 1" in run.failure.message
