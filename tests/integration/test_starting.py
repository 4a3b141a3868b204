"""Starting runs: once for each request, with ids and keys that are what they say."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from holdfast import Client
from holdfast.client import RunHandle
from holdfast.errors import (
    KeyInUseError,
    RequestIdReusedError,
    RunExistsError,
    RunTerminatedError,
    SchemaViolationError,
    WorkflowNotFoundError,
)
from holdfast.testing.processes import ServerProcess
from holdfast.v1.operations_service_pb2 import GetServerInfoRequest
from holdfast.v1.run_pb2 import RunState, WaitingReason
from holdfast.v1.run_service_pb2 import OnConflict, StartRunRequest, StartRunsRequest
from holdfast.v1.signal_pb2 import Signal
from holdfast.v1.workflow_service_pb2 import RegisterWorkflowRequest
from tests.integration.raw import Stubs, json_payload, refused, refused_item

WAITS = """
name: waits
input_schema: {type: [object, "null"], properties: {n: {type: integer, minimum: 0}}}
signals: [{name: go, schema: {type: object, required: [word]}}, {name: other}]
steps: [{name: hold, wait: {signal: go}}]
output: {n: "${input.n}", word: "${steps.hold.output.word}"}
"""
AT_ONCE = """
name: at-once
steps: [{name: only, compute: {}, input: "${input}"}]
output: "${steps.only.output}"
"""


async def register(client: Client) -> None:
    await client.register(WAITS)
    await client.register(AT_ONCE)


async def runs_of(client: Client, run_id: str) -> int:
    """How many events say that the run began."""
    return len([event async for event in client.handle(run_id).history() if event.HasField("run_started")])


async def state_of(handle: RunHandle) -> int:
    return (await handle.get()).summary.state


@pytest.mark.asyncio
async def test_a_repeated_request_gets_the_first_answer(client: Client, stubs: Stubs) -> None:
    await register(client)
    for workflow in ("waits", "at-once"):
        request = StartRunRequest(workflow=workflow, input=json_payload({"n": 1}), request_id=uuid4().hex)
        first = await stubs.runs.StartRun(request)
        again = await stubs.runs.StartRun(request)
        assert (first.started, again.started) == (True, False)
        assert (again.run_id, again.version) == (first.run_id, first.version)
        assert await runs_of(client, first.run_id) == 1


@pytest.mark.asyncio
async def test_requests_repeated_at_the_same_time_start_one_run(client: Client, stubs: Stubs) -> None:
    await register(client)
    request = StartRunRequest(workflow="waits", request_id=uuid4().hex)
    answers = await asyncio.gather(*(stubs.runs.StartRun(request) for _ in range(50)))
    assert len({answer.run_id for answer in answers}) == 1
    assert sum(answer.started for answer in answers) == 1

    batch = StartRunsRequest(starts=[StartRunRequest(workflow="waits", request_id=uuid4().hex)] * 3)
    results = (await stubs.runs.StartRuns(batch)).results
    assert len({one.accepted.run_id for one in results}) == 1
    assert [one.accepted.started for one in results] == [True, False, False]


@pytest.mark.asyncio
async def test_a_request_whose_caller_left_can_be_repeated(client: Client, stubs: Stubs) -> None:
    await register(client)
    for _ in range(20):
        request = StartRunRequest(workflow="waits", request_id=uuid4().hex)
        call = stubs.runs.StartRun(request)
        await asyncio.sleep(0)  # lets it leave
        call.cancel()
        answers = await asyncio.gather(*(stubs.runs.StartRun(request) for _ in range(3)))
        assert len({answer.run_id for answer in answers}) == 1


@pytest.mark.asyncio
async def test_a_request_is_remembered_over_restarts(client: Client, server: ServerProcess) -> None:
    await register(client)
    request_id, run_id = uuid4().hex, f"kept-{uuid4().hex}"
    first = await client.start("waits", {"n": 2}, request_id=request_id, run_id=run_id)
    server.kill()
    await asyncio.to_thread(server.start)
    again = await client.start("waits", {"n": 2}, request_id=request_id, run_id=run_id)
    assert (again.run_id, again.started) == (first.run_id, False)
    with pytest.raises(RequestIdReusedError):
        await client.start("waits", {"n": 3}, request_id=request_id, run_id=run_id)
    with pytest.raises(RunExistsError):
        await client.start("waits", run_id=first.run_id)


@pytest.mark.asyncio
async def test_a_request_id_stands_for_one_request(client: Client, stubs: Stubs) -> None:
    await register(client)
    request = StartRunRequest(workflow="waits", input=json_payload({"n": 1}), request_id=uuid4().hex)
    await stubs.runs.StartRun(request)
    other = StartRunRequest(workflow="waits", input=json_payload({"n": 2}), request_id=request.request_id)
    with refused("REQUEST_ID_REUSED", "INVALID_ARGUMENT", "request_id") as told:
        await stubs.runs.StartRun(other)
    assert told.metadata["request_id"] == request.request_id

    fresh = uuid4().hex
    both = [StartRunRequest(workflow="waits", version=version, request_id=fresh) for version in (0, 1)]
    answers = await asyncio.gather(*(stubs.runs.StartRun(one) for one in both), return_exceptions=True)
    assert sum(isinstance(answer, Exception) for answer in answers) == 1


@pytest.mark.asyncio
async def test_a_run_id_is_taken_for_ever(client: Client, stubs: Stubs) -> None:
    await register(client)
    for workflow in ("waits", "at-once"):
        run_id = f"{workflow}-{uuid4().hex}"
        handle = await client.start(workflow, {}, run_id=run_id)
        assert handle.run_id == run_id
        with refused("RUN_EXISTS", "ALREADY_EXISTS", "run_id") as told:
            await stubs.runs.StartRun(StartRunRequest(workflow="waits", run_id=run_id))
        assert told.metadata == {"run_id": run_id}

    run_id = uuid4().hex
    batch = StartRunsRequest(starts=[StartRunRequest(workflow="waits", run_id=run_id)] * 2)
    first, second = (await stubs.runs.StartRuns(batch)).results
    assert first.accepted.run_id == run_id
    refused_item(second.error, "RUN_EXISTS", "run_id")

    with refused("RUN_EXISTS"):  # before anything else that is wrong
        await stubs.runs.StartRun(StartRunRequest(workflow="no-such-workflow", run_id=run_id))


@pytest.mark.asyncio
async def test_many_want_one_run_id_and_one_gets_it(client: Client, stubs: Stubs) -> None:
    await register(client)
    for _ in range(5):
        request = StartRunRequest(workflow="at-once", run_id=uuid4().hex)
        answers = await asyncio.gather(*(stubs.runs.StartRun(request) for _ in range(20)), return_exceptions=True)
        assert sum(not isinstance(answer, BaseException) for answer in answers) == 1
        assert await runs_of(client, request.run_id) == 1


@pytest.mark.asyncio
async def test_a_key_belongs_to_one_open_run(client: Client) -> None:
    await register(client)
    key = uuid4().hex
    first = await client.start("waits", {"n": 1}, key=key)
    with pytest.raises(KeyInUseError) as caught:
        await client.start("waits", {"n": 2}, key=key)
    assert (caught.value.run_id, caught.value.metadata["key"]) == (first.run_id, key)
    assert [one.field for one in caught.value.violations] == ["key"]
    other_workflow = await client.start("at-once", key=key)
    assert await other_workflow.result() is None

    await first.signal("go", {"word": "on"})
    await first.result()
    second = await client.start("waits", {"n": 2}, key=key)
    assert second.run_id != first.run_id


@pytest.mark.asyncio
async def test_use_existing_answers_the_open_run_and_signals_it_once(client: Client, stubs: Stubs) -> None:
    await register(client)
    key = uuid4().hex
    first = await client.start("waits", {"n": 1}, key=key)
    request = StartRunRequest(
        workflow="waits",
        key=key,
        on_conflict=OnConflict.ON_CONFLICT_USE_EXISTING,
        signals=[Signal(name="other"), Signal(name="other", payload=json_payload(2))],
        request_id=uuid4().hex,
    )
    for _ in range(2):
        answer = await stubs.runs.StartRun(request)
        assert (answer.run_id, answer.started) == (first.run_id, False)
    unconsumed = (await first.get()).unconsumed_signals
    assert [one.name for one in unconsumed] == ["other", "other"]

    request.input.CopyFrom(json_payload({"n": 9}))
    with refused("REQUEST_ID_REUSED"):
        await stubs.runs.StartRun(request)
    with pytest.raises(SchemaViolationError):
        await client.start("waits", key=key, on_conflict="USE_EXISTING", signals=[("go", {})])
    assert await state_of(first) == RunState.RUN_STATE_RUNNING


@pytest.mark.asyncio
async def test_terminate_existing_replaces_the_open_run(client: Client) -> None:
    await register(client)
    key = uuid4().hex
    first = await client.start("waits", {"n": 1}, key=key)
    second = await client.start("waits", {"n": 2}, key=key, on_conflict="TERMINATE_EXISTING")
    with pytest.raises(RunTerminatedError):
        await first.result()
    assert second.run_id in (await first.get()).summary.status_message
    assert await state_of(second) == RunState.RUN_STATE_RUNNING


@pytest.mark.asyncio
async def test_a_start_that_is_refused_terminates_nobody(client: Client) -> None:
    await register(client)
    key = uuid4().hex
    first = await client.start("waits", {"n": 1}, key=key)
    with pytest.raises(SchemaViolationError):
        await client.start("waits", {"n": "many"}, key=key, on_conflict="TERMINATE_EXISTING")
    assert await state_of(first) == RunState.RUN_STATE_RUNNING


@pytest.mark.asyncio
async def test_many_want_one_key(client: Client, stubs: Stubs) -> None:
    await register(client)
    for policy in (OnConflict.ON_CONFLICT_FAIL, OnConflict.ON_CONFLICT_USE_EXISTING):
        request = StartRunRequest(workflow="waits", key=uuid4().hex, on_conflict=policy)
        answers = await asyncio.gather(*(stubs.runs.StartRun(request) for _ in range(20)), return_exceptions=True)
        good = [answer for answer in answers if not isinstance(answer, BaseException)]
        assert len({answer.run_id for answer in good}) == 1
        assert sum(answer.started for answer in good) == 1
        assert len(good) == (1 if policy == OnConflict.ON_CONFLICT_FAIL else 20)


@pytest.mark.asyncio
async def test_a_run_does_not_begin_before_its_time(client: Client) -> None:
    await register(client)
    begin = datetime.now(UTC) + timedelta(seconds=1)
    handle = await client.start("at-once", "later", start_after=begin)
    run = await handle.get()
    assert [one.reason for one in run.waiting_on] == [WaitingReason.WAITING_REASON_START_TIME]
    assert run.waiting_on[0].until_time.ToDatetime(UTC) == begin
    assert await handle.result() == "later"
    history = [event async for event in handle.history()]
    assert [event.WhichOneof("body") for event in history[:2]] == ["run_started", "timer_fired"]
    assert history[1].time.ToDatetime(UTC) >= begin

    past = await client.start("at-once", "now", start_after=datetime.now(UTC) - timedelta(days=1))
    assert await past.result() == "now"


@pytest.mark.asyncio
async def test_signals_come_along_with_the_start(client: Client) -> None:
    await register(client)
    signals = [("other", 1), ("go", {"word": "early"})]
    handle = await client.start("waits", {"n": 7}, signals=signals)
    assert await handle.result() == {"n": 7, "word": "early"}
    bodies = [event.WhichOneof("body") async for event in handle.history()]
    assert bodies[:3] == ["run_started", "signal_received", "signal_received"]
    with pytest.raises(SchemaViolationError) as caught:
        await client.start("waits", signals=[("go", {"wrong": 1})])
    assert caught.value.reason == "SIGNAL_SCHEMA"
    with pytest.raises(SchemaViolationError) as caught:
        await client.start("waits", signals=[("unknown", 1)])
    assert caught.value.reason == "SIGNAL_UNDECLARED"


@pytest.mark.asyncio
async def test_an_item_of_a_batch_is_refused_alone(client: Client, stubs: Stubs) -> None:
    await register(client)
    starts = [
        StartRunRequest(workflow="at-once", input=json_payload(1)),
        StartRunRequest(workflow="no-such-workflow"),
        StartRunRequest(workflow="waits", input=json_payload({"n": -1})),
        StartRunRequest(workflow="", input=json_payload(1)),
        StartRunRequest(workflow="at-once", version=99),
        StartRunRequest(workflow="at-once", namespace="elsewhere"),
        StartRunRequest(workflow="at-once", input=json_payload("x" * 4 * 1024 * 1024)),
        StartRunRequest(workflow="at-once", input=json_payload(2)),
    ]
    results = (await stubs.runs.StartRuns(StartRunsRequest(starts=starts))).results
    assert len(results) == len(starts)
    for index, value in ((0, 1), (7, 2)):
        assert await client.handle(results[index].accepted.run_id).result() == value
    refused_item(results[1].error, "WORKFLOW_NOT_FOUND")
    refused_item(results[2].error, "INPUT_SCHEMA", "input.n")
    refused_item(results[3].error, "INVALID_REQUEST", "workflow")
    refused_item(results[4].error, "WORKFLOW_NOT_FOUND")
    refused_item(results[5].error, "NAMESPACE_NOT_FOUND", "namespace")
    refused_item(results[6].error, "PAYLOAD_TOO_LARGE", "input")


@pytest.mark.asyncio
async def test_a_run_is_pinned_to_its_version(client: Client) -> None:
    one = "name: pinned\nsteps: [{name: s, compute: {}, input: 1}]\noutput: '${steps.s.output}'"
    await client.register(one)
    held = "name: pinned\nsteps: [{name: s, wait: {signal: go}}]\noutput: 2"
    registered = await client.register(held)
    assert (registered.workflow.version, registered.created) == (2, True)
    handle = await client.start("pinned")
    assert handle.version == 2
    assert (await client.register(one.replace("input: 1", "input: 3"))).workflow.version == 3
    assert (await client.register(held)).created is False
    await handle.signal("go")
    assert await handle.result() == 2
    assert [await client.run("pinned", version=version) for version in (1, 0)] == [1, 3]
    with pytest.raises(WorkflowNotFoundError):
        await client.start("pinned", version=4)


@pytest.mark.asyncio
async def test_attributes_come_from_the_definition_and_the_start(client: Client) -> None:
    definition = """
name: tagged
attributes: {team: "${input.team}", level: 1}
steps: [{name: hold, wait: {signal: go}}]
"""
    await client.register(definition)
    handle = await client.start("tagged", {"team": "red"}, attributes={"level": 2, "note": "ключ"})
    attributes = (await handle.get()).summary.attributes
    assert {name: value.json for name, value in attributes.items()} == {"team": '"red"', "level": "2", "note": '"ключ"'}


@pytest.mark.asyncio
async def test_many_runs_at_once(client: Client) -> None:
    await register(client)
    assert await asyncio.gather(*(client.run("at-once", number) for number in range(500))) == list(range(500))


@pytest.mark.asyncio
async def test_a_batch_of_large_runs_lets_others_go_on_meanwhile(stubs: Stubs) -> None:
    steps = [{"name": f"s{number}", "compute": {}} for number in range(900)]
    hold = {"name": "hold", "gate": {"title": "Hold"}}
    source = json.dumps({"name": "large", "steps": [hold, *steps]})
    await stubs.workflows.RegisterWorkflow(RegisterWorkflowRequest(source=source))
    before = (await stubs.operations.GetServerInfo(GetServerInfoRequest())).open_runs
    starts = [StartRunRequest(workflow="large")] * 60
    batch = asyncio.ensure_future(stubs.runs.StartRuns(StartRunsRequest(starts=starts)))
    seen = set()
    while not batch.done():
        seen.add((await stubs.operations.GetServerInfo(GetServerInfoRequest())).open_runs - before)
    assert all(one.HasField("accepted") for one in (await batch).results)
    assert seen & set(range(1, 60))
