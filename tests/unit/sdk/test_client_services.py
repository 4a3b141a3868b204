"""Gates, workflows and operations, and the errors of all of them, against a server in the same process."""

import asyncio
from pathlib import Path
from typing import Any

import grpc
import pytest

from holdfast import Workflow
from holdfast.backoff import BackoffPolicy
from holdfast.client import Client
from holdfast.client.connection import actor_metadata
from holdfast.errors import (
    DecidedAlreadyError,
    GateChangedError,
    GateResolvedError,
    InvalidDefinitionError,
    KeyInUseError,
    LimitExceededError,
    NotPermittedError,
    ServerError,
    UnavailableError,
    Violation,
)
from holdfast.v1 import (
    gate_service_pb2 as gates,
    operations_service_pb2 as operations,
    run_service_pb2 as runs,
    workflow_service_pb2 as workflows,
)
from holdfast.v1.definition_pb2 import Approvers, Decision
from holdfast.v1.errors_pb2 import ErrorReason
from holdfast.v1.gate_pb2 import Gate, GateState
from holdfast.v1.task_pb2 import QueueSummary
from tests.unit.sdk.fake import Context, Fake, connected, refuse, serving

SHOWN = Gate(namespace="team", run_id="r1", step_path="review", revision=3, content_hash=b"hash")


def answering(response: Any) -> Any:
    async def answer(request: Any, context: Context) -> Any:
        return response

    return answer


@pytest.mark.asyncio
async def test_every_decision_names_what_was_shown() -> None:
    async with connected() as (fake, client):
        resolved = gates.DecideGateResponse(gate=Gate(state=GateState.GATE_STATE_RESOLVED))
        fake.answers["DecideGate"] = answering(resolved)
        after = await client.gates.approve(SHOWN, {"by": 1}, comment="fine")
        await client.gates.reject(SHOWN, comment="no")
        await client.gates.edit(SHOWN, {"x": 2})
        await client.gates.respond(SHOWN, "text")
        await client.gates.decide(SHOWN, "delegate", delegate_to=Approvers(principals=["bob"]))
        await client.gates.decide(SHOWN, Decision.DECISION_SKIP, 7, request_id="mine")
    requests = fake.got("DecideGate")

    assert after.state == GateState.GATE_STATE_RESOLVED
    assert {(r.namespace, r.run_id, r.step_path, r.revision, r.content_hash) for r in requests} == {
        ("team", "r1", "review", 3, b"hash")
    }
    assert [Decision.Name(r.decision).removeprefix("DECISION_") for r in requests] == [
        *("APPROVE", "REJECT", "EDIT", "RESPOND", "DELEGATE", "SKIP")
    ]
    assert [r.payload.data for r in requests] == [b'{"by":1}', b"", b'{"x":2}', b'"text"', b"", b"7"]
    assert (requests[0].comment, requests[1].HasField("payload")) == ("fine", False)
    assert (list(requests[4].delegate_to.principals), requests[5].request_id) == (["bob"], "mine")
    with pytest.raises(ValueError, match="none of APPROVE, REJECT"):
        await client.gates.decide(SHOWN, "MAYBE")


@pytest.mark.asyncio
async def test_gates_are_listed_by_pages_read_and_watched() -> None:
    async with connected() as (fake, client):
        fake.answers["ListGates"] = answering(gates.ListGatesResponse(gates=[SHOWN, SHOWN], next_page_token="x"))
        fake.answers["GetGate"] = answering(gates.GetGateResponse(gate=SHOWN))
        listed = [gate.run_id async for gate in client.gates.list(workflow="w", limit=4, page_size=2)]
        gate = await client.gates.get("r1")
        cursors = []
        async for message in client.gates.watch():
            cursors.append(message.cursor)
            if len(cursors) == 2:
                break

    assert listed == ["r1"] * 4
    assert [request.page_token for request in fake.got("ListGates")] == ["", "x"]
    assert gate == SHOWN
    assert cursors == ["+", "++"]


@pytest.mark.asyncio
async def test_a_definition_may_be_text_file_mapping_or_builder(tmp_path: Path) -> None:
    yaml, json = tmp_path / "w.yaml", tmp_path / "w.json"
    yaml.write_text("name: w\n")
    json.write_text('{"name": "w"}')
    wf = Workflow("w")
    wf.compute("one", 1)
    async with connected(namespace="team") as (fake, client):
        for definition in ("name: w", yaml, json, {"name": "ä"}, wf):
            await client.register(definition)
        assert await client.validate("name: w") == []
    requests = fake.got("RegisterWorkflow")

    yaml_format, json_format = workflows.DOCUMENT_FORMAT_YAML, workflows.DOCUMENT_FORMAT_JSON
    assert [(request.source, request.format) for request in requests] == [
        ("name: w", yaml_format),
        ("name: w\n", yaml_format),
        ('{"name": "w"}', json_format),
        ('{"name":"ä"}', json_format),
        (wf.json(), json_format),
    ]
    assert {request.namespace for request in requests} == {"team"}


@pytest.mark.asyncio
async def test_workflows_and_operations_are_read_page_by_page() -> None:
    async with connected() as (fake, client):

        async def two_pages(request: Any, context: Context) -> Any:
            if request.page_token:
                return operations.ListQueuesResponse(queues=[QueueSummary(queue="b")])
            return operations.ListQueuesResponse(queues=[QueueSummary(queue="a")], next_page_token="2")

        async def versions(request: Any, context: Context) -> Any:
            number = int(request.page_token or 3)
            version = workflows.WorkflowVersion(name=request.name, version=number)
            token = str(number - 1) if number > 1 else ""
            return workflows.ListWorkflowVersionsResponse(versions=[version], next_page_token=token)

        fake.answers["ListQueues"] = two_pages
        fake.answers["ListWorkflowVersions"] = versions
        fake.answers["GetServerInfo"] = answering(operations.GetServerInfoResponse(server_id="s1"))
        assert [queue.queue async for queue in client.operations.queues()] == ["a", "b"]
        assert [worker async for worker in client.operations.workers()] == []
        assert [workflow async for workflow in client.workflows.list()] == []
        assert [version.version async for version in client.workflows.versions("w")] == [3, 2, 1]
        assert (await client.operations.server_info()).server_id == "s1"
        await client.workflows.get("w", 2)

    assert (fake.got("GetWorkflow")[0].name, fake.got("GetWorkflow")[0].version) == ("w", 2)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("code", "reason", "metadata", "error"),
    [
        (grpc.StatusCode.FAILED_PRECONDITION, "GATE_RESOLVED", {"decided_by": "ada"}, GateResolvedError),
        (grpc.StatusCode.ABORTED, "GATE_HASH", {}, GateChangedError),
        (grpc.StatusCode.FAILED_PRECONDITION, "DECIDED_ALREADY", {}, DecidedAlreadyError),
        (grpc.StatusCode.PERMISSION_DENIED, "NOT_PERMITTED", {}, NotPermittedError),
        (grpc.StatusCode.INTERNAL, "SOMETHING_NEW", {}, ServerError),
        (grpc.StatusCode.UNKNOWN, "", {}, ServerError),
    ],
)
async def test_refusals_are_typed_by_their_reason(
    code: grpc.StatusCode, reason: str, metadata: dict[str, str], error: type[ServerError]
) -> None:
    async with connected() as (fake, client):
        fake.answers["DecideGate"] = lambda _, context: refuse(context, code, "no", reason, metadata, {"f": "bad"})
        with pytest.raises(ServerError) as caught:
            await client.gates.approve(SHOWN)

    fault = caught.value
    assert type(fault) is error
    assert (fault.reason, fault.code, fault.message, fault.metadata) == (reason, code.name, "no", metadata)
    assert fault.violations == ((Violation("f", "bad"),) if reason else ())
    if isinstance(fault, GateResolvedError):
        assert (fault.decided_by, fault.decided_at, fault.resolution) == ("ada", "", "")


@pytest.mark.asyncio
async def test_a_faulty_definition_lists_all_its_faults() -> None:
    async with connected() as (fake, client):
        faults = {"steps[0].task": "handler is missing", "output": "no step x"}
        code = grpc.StatusCode.INVALID_ARGUMENT
        fake.answers["RegisterWorkflow"] = lambda _, context: refuse(
            context, code, "2 faults", "INVALID_DEFINITION", {}, faults
        )
        with pytest.raises(InvalidDefinitionError) as caught:
            await client.register("name: w")

    assert {violation.field: violation.description for violation in caught.value.violations} == faults


@pytest.mark.asyncio
async def test_items_of_a_batch_carry_the_same_errors() -> None:
    async with connected() as (fake, client):
        response = runs.StartRunsResponse()
        limit_error = response.results.add().error
        limit_error.code = grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]
        limit_error.reason = ErrorReason.ERROR_REASON_LIMIT_EXCEEDED
        limit_error.metadata.update({"limit": "payload_bytes", "value": "10", "actual": "12"})
        limit_error.violations.add(field="input", description="too large")
        response.results.add().error.reason = ErrorReason.ERROR_REASON_KEY_IN_USE
        response.results[1].error.metadata["run_id"] = "r9"
        fake.answers["StartRuns"] = answering(response)
        limit, key = await asyncio.gather(client.start("w"), client.start("w", key="k"), return_exceptions=True)

    assert isinstance(limit, LimitExceededError)
    assert (limit.limit, limit.value, limit.actual, limit.code) == ("payload_bytes", 10, 12, "RESOURCE_EXHAUSTED")
    assert limit.violations == (Violation("input", "too large"),)
    assert isinstance(key, KeyInUseError)
    assert key.run_id == "r9"


@pytest.mark.asyncio
async def test_a_server_that_does_not_answer_is_given_up_in_time() -> None:
    async with connected(timeout_s=0.1) as (fake, client):

        async def never(request: Any, context: Context) -> None:
            await asyncio.Event().wait()

        fake.answers["GetServerInfo"] = never
        with pytest.raises(UnavailableError, match="no answer"):
            await client.operations.server_info()


@pytest.mark.asyncio
async def test_a_message_over_the_limit_of_the_transport_names_the_limit() -> None:
    async with connected() as (_, client):
        with pytest.raises(LimitExceededError) as caught:
            await client.start("w", "x" * (17 << 20))

    assert (caught.value.limit, caught.value.value) == ("message_bytes", 16 << 20)


@pytest.mark.asyncio
async def test_a_cancelled_call_is_cancelled_on_the_server_too() -> None:
    async with connected() as (fake, client):
        left = asyncio.Event()

        async def park(request: Any, context: Context) -> None:
            try:
                await asyncio.Event().wait()
            finally:
                left.set()

        fake.answers["GetServerInfo"] = park
        call = asyncio.create_task(client.operations.server_info())
        await fake.until(lambda: bool(fake.got("GetServerInfo")))
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await left.wait()


@pytest.mark.asyncio
async def test_a_server_that_comes_back_is_found_by_calls_that_wait_for_it() -> None:
    fake, said = Fake(), asyncio.Event()
    async with serving(fake) as target:
        client = Client(target, backoff=BackoffPolicy(0.01, 0.05), on_connection=lambda *_: said.set())
        await client.operations.server_info()
        said.clear()
    async with client:
        call = asyncio.create_task(client.start("report"))
        await said.wait()  # the call has found nobody
        async with serving(fake, port=int(target.rpartition(":")[2])):
            assert (await call).started


@pytest.mark.parametrize(
    ("actor", "sent"),
    [("ada", "ada"), ("Ada L. <ada@x.org>", "Ada L. <ada@x.org>"), ("Jörg", "J%C3%B6rg"), ("100%", "100%25"), ("", "")],
)
def test_a_name_travels_as_metadata(actor: str, sent: str) -> None:
    assert actor_metadata(actor) == (("holdfast-actor", sent),)


def test_without_a_name_the_user_of_the_system_acts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", "grace")
    assert actor_metadata(None) == (("holdfast-actor", "grace"),)
