"""Gates: decided once, by a person who may, on exactly what was shown; or by their deadline."""

import asyncio
from typing import Any
from uuid import uuid4

import pytest

from holdfast import Client
from holdfast.client import RunHandle
from holdfast.errors import RunFailedError
from holdfast.testing.processes import ServerProcess
from holdfast.v1.definition_pb2 import Approvers, Decision
from holdfast.v1.gate_pb2 import Gate, GateReason, GateState, Resolution, ResolutionRule
from holdfast.v1.gate_service_pb2 import DecideGateRequest, GetGateRequest
from holdfast.v1.payload_pb2 import Payload
from holdfast.v1.run_pb2 import WaitingReason
from holdfast.v1.task_pb2 import TaskResult
from tests.integration.following import until
from tests.integration.raw import RawWorker, Stubs, json_payload, refused, value_of

DRAFT = """
name: draft
steps:
  - name: approve
    gate:
      title: "Publish ${input.title}?"
      body: "# ${input.title}\\n\\n${input.text}"
      decisions: [APPROVE, REJECT, EDIT, RESPOND, DELEGATE]
      response_schema: {type: [object, "null"], properties: {stars: {type: integer, maximum: 5}}}
    input: {text: "${input.text}"}
output: "${steps.approve.output}"
"""
INPUT = {"title": "Bees", "text": "They fly."}


async def opened(client: Client, workflow: str = "draft", value: object = INPUT) -> tuple[RunHandle, Gate]:
    handle = await client.start(workflow, value)
    return handle, await client.gates.get(handle.run_id)


def request_for(gate: Gate, decision: Decision.ValueType, payload: object = None, **fields: Any) -> DecideGateRequest:
    return DecideGateRequest(
        run_id=gate.run_id,
        step_path=gate.step_path,
        revision=gate.revision,
        content_hash=gate.content_hash,
        decision=decision,
        payload=None if payload is None else json_payload(payload),
        **fields,
    )


def by(name: str) -> tuple[tuple[str, str], ...]:
    """Metadata that claims a name."""
    return (("holdfast-actor", name),)


@pytest.mark.asyncio
async def test_a_gate_shows_what_is_decided_on(client: Client) -> None:
    await client.register(DRAFT)
    handle, gate = await opened(client)
    assert (gate.reason, gate.state, gate.revision) == (GateReason.GATE_REASON_STEP, GateState.GATE_STATE_OPEN, 1)
    assert (gate.run_id, gate.step_path, gate.workflow) == (handle.run_id, "approve", "draft")
    assert gate.content.title == "Publish Bees?"
    assert gate.content.body.data == b"# Bees\n\nThey fly."
    assert gate.content.body.metadata["encoding"] == b"text/markdown"
    assert value_of(gate.content.subject) == {"text": "They fly."}
    assert len(gate.content_hash) == 32
    run = await handle.get()
    assert [(one.reason, one.step_path) for one in run.waiting_on] == [(WaitingReason.WAITING_REASON_GATE, "approve")]
    assert "Publish Bees?" in run.summary.status_message


@pytest.mark.asyncio
async def test_approve(client: Client) -> None:
    await client.register(DRAFT)
    handle, gate = await opened(client)
    after = await client.gates.approve(gate, {"stars": 5}, comment="good, wörklich")
    assert (after.state, after.resolution) == (GateState.GATE_STATE_RESOLVED, Resolution.RESOLUTION_APPROVED)
    assert (after.resolved_by.name, after.resolved_by.verified) == ("ann", False)
    output = await handle.result()
    assert output.pop("decided_at")
    assert output.pop("decisions")[0]["comment"] == "good, wörklich"
    assert output == {
        "resolution": "APPROVED",
        "payload": {"stars": 5},
        "comment": "good, wörklich",
        "decided_by": "ann",
    }


@pytest.mark.asyncio
async def test_reject_and_respond(client: Client) -> None:
    await client.register(DRAFT)
    handle, gate = await opened(client)
    await client.gates.reject(gate, comment="no")
    assert (await handle.result())["resolution"] == "REJECTED"

    handle, gate = await opened(client)
    await client.gates.respond(gate, {"stars": 1})
    output = await handle.result()
    assert (output["resolution"], output["payload"]) == ("RESPONDED", {"stars": 1})


@pytest.mark.asyncio
async def test_edit_makes_a_new_revision_that_is_decided_anew(client: Client, stubs: Stubs) -> None:
    await client.register(DRAFT)
    handle, gate = await opened(client)
    after = await client.gates.edit(gate, {"text": "They buzz."})
    assert (after.state, after.revision) == (GateState.GATE_STATE_OPEN, 2)
    assert after.content_hash != gate.content_hash
    assert value_of(after.content.subject) == {"text": "They buzz."}
    with refused("GATE_REVISION", "ABORTED", "revision") as told:
        await stubs.gates.DecideGate(request_for(gate, Decision.DECISION_APPROVE))
    assert told.metadata["revision"] == "2"
    await client.gates.approve(after)
    assert (await handle.result())["payload"] == {"text": "They buzz."}
    revised = await until(handle, "gate_revised")
    assert value_of(revised.gate_revised.difference) == [{"op": "replace", "path": "/text", "value": "They buzz."}]


@pytest.mark.asyncio
async def test_delegate_names_who_decides_then(client: Client, stubs: Stubs) -> None:
    await client.register(DRAFT)
    handle, gate = await opened(client)
    after = await client.gates.decide(gate, "DELEGATE", delegate_to=Approvers(principals=["Jürgen"]))
    assert list(after.approvers.principals) == ["Jürgen"]
    with refused("NOT_AN_APPROVER", "PERMISSION_DENIED") as told:
        await stubs.gates.DecideGate(request_for(after, Decision.DECISION_APPROVE), metadata=by("ann"))
    assert told.metadata["actor"] == "ann"
    async with Client(client.connection.target, actor="Jürgen") as other:
        await other.gates.approve(after)
    assert (await handle.result())["decided_by"] == "Jürgen"

    _, gate = await opened(client)
    with refused("INVALID_REQUEST", "INVALID_ARGUMENT", "delegate_to"):
        await stubs.gates.DecideGate(request_for(gate, Decision.DECISION_DELEGATE))


@pytest.mark.asyncio
async def test_a_decision_is_on_exactly_what_was_shown(client: Client, stubs: Stubs) -> None:
    await client.register(DRAFT)
    handle, gate = await opened(client)
    other = request_for(gate, Decision.DECISION_APPROVE)
    other.content_hash = bytes(32)
    with refused("GATE_HASH", "ABORTED", "content_hash") as told:
        await stubs.gates.DecideGate(other)
    assert told.metadata["content_hash"] == gate.content_hash.hex()
    for revision in (0, 2, -1):
        other = request_for(gate, Decision.DECISION_APPROVE)
        other.revision = revision
        with refused("GATE_REVISION", "ABORTED", "revision"):
            await stubs.gates.DecideGate(other)
    assert (await client.gates.get(handle.run_id)).decided == []


@pytest.mark.asyncio
async def test_a_payload_that_does_not_fit_leaves_the_gate_open(client: Client, stubs: Stubs) -> None:
    await client.register(DRAFT)
    _, gate = await opened(client)
    with refused("DECISION_SCHEMA", "INVALID_ARGUMENT", "payload.stars"):
        await stubs.gates.DecideGate(request_for(gate, Decision.DECISION_APPROVE, {"stars": 6}))
    with refused("DECISION_SCHEMA", "INVALID_ARGUMENT", "payload"):
        await stubs.gates.DecideGate(request_for(gate, Decision.DECISION_RESPOND))
    with refused("DECISION_SCHEMA", "INVALID_ARGUMENT", "payload"):
        broken = request_for(gate, Decision.DECISION_RESPOND)
        broken.payload.CopyFrom(Payload(data=b"{"))
        await stubs.gates.DecideGate(broken)
    with refused("DECISION_NOT_ALLOWED", "INVALID_ARGUMENT", "decision"):
        await stubs.gates.DecideGate(request_for(gate, Decision.DECISION_RETRY))
    assert (await client.gates.get(gate.run_id)).state == GateState.GATE_STATE_OPEN


@pytest.mark.asyncio
async def test_whoever_comes_late_is_told_who_decided_and_when(client: Client, stubs: Stubs) -> None:
    await client.register(DRAFT)
    handle, gate = await opened(client)
    answers = await asyncio.gather(
        *(
            stubs.gates.DecideGate(request_for(gate, decision), metadata=by(f"person-{number}"))
            for number, decision in enumerate([Decision.DECISION_APPROVE, Decision.DECISION_REJECT] * 5)
        ),
        return_exceptions=True,
    )
    (winner,) = [answer for answer in answers if not isinstance(answer, BaseException)]
    output = await handle.result()
    assert output["decided_by"] == winner.gate.resolved_by.name
    # The run is closed and out of memory by now; the answer is the same.
    with refused("GATE_RESOLVED", "FAILED_PRECONDITION") as told:
        await stubs.gates.DecideGate(request_for(gate, Decision.DECISION_APPROVE), metadata=by("late"))
    assert told.metadata == {
        "decided_by": output["decided_by"],
        "decided_at": output["decided_at"],
        "resolution": output["resolution"],
    }
    assert output["decided_by"] in told.message


@pytest.mark.asyncio
async def test_a_repeated_decision_gets_the_first_answer(client: Client, stubs: Stubs) -> None:
    await client.register(DRAFT)
    _, gate = await opened(client)
    request = request_for(gate, Decision.DECISION_APPROVE, request_id=uuid4().hex)
    first = await stubs.gates.DecideGate(request, metadata=by("ann"))
    again = await stubs.gates.DecideGate(request, metadata=by("ann"))
    assert again == first
    request.comment = "changed"
    with refused("REQUEST_ID_REUSED", "INVALID_ARGUMENT", "request_id"):
        await stubs.gates.DecideGate(request, metadata=by("ann"))


QUORUM = """
name: quorum
steps:
  - {name: g, gate: {title: "Go?", quorum: 2, approvers: {principals: [ann, bob, eve], exclude_starter: true}}}
output: "${steps.g.output}"
"""


@pytest.mark.asyncio
async def test_a_quorum_of_distinct_people_without_the_starter(client: Client, stubs: Stubs) -> None:
    await client.register(QUORUM)
    handle, gate = await opened(client, "quorum")
    request = request_for(gate, Decision.DECISION_APPROVE)
    for name in ("ann", "mallory", ""):
        with refused("NOT_AN_APPROVER", "PERMISSION_DENIED"):
            await stubs.gates.DecideGate(request, metadata=by(name) if name else None)
    after = (await stubs.gates.DecideGate(request, metadata=by("bob"))).gate
    assert (after.state, after.quorum, len(after.decided)) == (GateState.GATE_STATE_OPEN, 2, 1)
    with refused("DECIDED_ALREADY", "FAILED_PRECONDITION") as told:
        await stubs.gates.DecideGate(request, metadata=by("bob"))
    assert told.metadata["actor"] == "bob"
    await stubs.gates.DecideGate(request, metadata=by("eve"))
    assert [one["by"] for one in (await handle.result())["decisions"]] == ["bob", "eve"]

    handle, gate = await opened(client, "quorum")
    await stubs.gates.DecideGate(request_for(gate, Decision.DECISION_APPROVE), metadata=by("bob"))
    await stubs.gates.DecideGate(request_for(gate, Decision.DECISION_REJECT), metadata=by("eve"))
    assert (await handle.result())["resolution"] == "REJECTED"


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("rule", "resolution"), [("APPROVE", "APPROVED"), ("REJECT", "REJECTED"), ("FAIL", "FAILED")], ids=str
)
async def test_a_deadline_decides_by_its_rule(client: Client, stubs: Stubs, rule: str, resolution: str) -> None:
    definition = f"""
name: deadline
steps: [{{name: g, gate: {{title: "Go?", deadline: 300ms, on_deadline: {rule}}}}}]
output: "${{steps.g.output.resolution}}"
"""
    await client.register(definition)
    handle, gate = await opened(client, "deadline")
    assert gate.HasField("deadline_time")
    if rule == "FAIL":
        with pytest.raises(RunFailedError) as caught:
            await handle.result()
        assert caught.value.failure_type == "Timeout.Gate"
    else:
        assert await handle.result() == resolution
    after = await client.gates.get(handle.run_id, "g")
    assert Resolution.Name(after.resolution) == f"RESOLUTION_{resolution}"
    assert after.resolution_rule == ResolutionRule.RESOLUTION_RULE_DEADLINE
    assert not after.HasField("resolved_by")
    with refused("GATE_RESOLVED", "FAILED_PRECONDITION") as told:
        await stubs.gates.DecideGate(request_for(gate, Decision.DECISION_APPROVE))
    assert told.metadata["decided_by"] == "its deadline"


@pytest.mark.asyncio
async def test_a_deadline_escalates_to_others(client: Client, stubs: Stubs) -> None:
    definition = """
name: escalating
steps:
  - name: g
    gate:
      title: "Go?"
      approvers: {principals: [bob]}
      deadline: 200ms
      on_deadline: ESCALATE
      escalation: {approvers: {principals: [eve]}, deadline: 1h}
output: "${steps.g.output.decided_by}"
"""
    await client.register(definition)
    handle, gate = await opened(client, "escalating")
    await until(handle, "gate_revised")
    after = await client.gates.get(handle.run_id)
    assert (list(after.approvers.principals), after.revision) == (["eve"], gate.revision + 1)
    with refused("NOT_AN_APPROVER"):
        await stubs.gates.DecideGate(request_for(after, Decision.DECISION_APPROVE), metadata=by("bob"))
    await stubs.gates.DecideGate(request_for(after, Decision.DECISION_APPROVE), metadata=by("eve"))
    assert await handle.result() == "eve"


REVIEW = """
name: reviewed
steps:
  - name: work
    task: {handler: work, queue: reviewed}
    input: "${input}"
    retry: {max_attempts: 1}
    input_schema: {type: [integer, "null"]}
    output_schema: {type: string}
    on_error: [{match: [Bad], review: {title: "It went wrong"}}]
output: "${steps.work.output}"
"""


async def reviewed(client: Client, stubs: Stubs) -> tuple[RunHandle, Gate, RawWorker]:
    await client.register(REVIEW)
    worker = RawWorker(stubs, "work", queue="reviewed")
    handle = await client.start("reviewed", 1)
    await fail(worker)
    return handle, await client.gates.get(handle.run_id), worker


async def fail(worker: RawWorker) -> None:
    result = TaskResult(token=(await worker.task()).token)
    result.failure.type, result.failure.message = "Bad", "it broke"
    assert not (await worker.settle(result)).rejected


@pytest.mark.asyncio
async def test_a_review_shows_the_failure_and_takes_its_own_decisions(client: Client, stubs: Stubs) -> None:
    handle, gate, worker = await reviewed(client, stubs)
    assert (gate.reason, gate.content.title) == (GateReason.GATE_REASON_ERROR_REVIEW, "It went wrong")
    assert (gate.failure.type, gate.failure.message) == ("Bad", "it broke")
    names = [Decision.Name(one).removeprefix("DECISION_") for one in gate.decisions]
    assert names == ["RETRY", "EDIT", "SKIP", "FAIL"]
    run = await handle.get()
    assert [one.reason for one in run.waiting_on] == [WaitingReason.WAITING_REASON_ERROR_REVIEW]

    with refused("DECISION_SCHEMA", "INVALID_ARGUMENT", "payload"):
        await stubs.gates.DecideGate(request_for(gate, Decision.DECISION_SKIP, 3))
    await client.gates.decide(gate, "RETRY")
    await fail(worker)
    gate = await client.gates.get(handle.run_id)
    await client.gates.decide(gate, "EDIT", 2)
    task = await worker.task()
    assert (task.attempt, value_of(task.input)) == (3, 2)
    await worker.succeed(task, "done")
    assert await handle.result() == "done"


@pytest.mark.asyncio
async def test_a_review_can_skip_with_an_output_or_let_it_fail(client: Client, stubs: Stubs) -> None:
    handle, gate, _ = await reviewed(client, stubs)
    await client.gates.decide(gate, "SKIP", "by hand")
    assert await handle.result() == "by hand"
    assert "ann" in (await handle.get()).activations[0].note

    handle, gate, _ = await reviewed(client, stubs)
    await client.gates.decide(gate, "FAIL", comment="hopeless")
    with pytest.raises(RunFailedError) as caught:
        await handle.result()
    assert caught.value.failure_type == "Bad"


@pytest.mark.asyncio
async def test_a_gate_without_a_path_is_the_only_open_one(client: Client, stubs: Stubs) -> None:
    two = """
name: two-gates
steps: [{name: a, gate: {title: A}}, {name: b, gate: {title: B}}]
"""
    await client.register(two)
    handle = await client.start("two-gates")
    with refused("GATE_NOT_FOUND", "NOT_FOUND") as told:
        await stubs.gates.GetGate(GetGateRequest(run_id=handle.run_id))
    assert told.metadata["open"] == "a, b"
    await client.gates.approve(await client.gates.get(handle.run_id, "a"))
    await client.gates.approve(await client.gates.get(handle.run_id))
    await handle.result()
    with refused("GATE_NOT_FOUND", "NOT_FOUND"):
        await stubs.gates.GetGate(GetGateRequest(run_id=handle.run_id))
    with refused("GATE_NOT_FOUND", "NOT_FOUND"):
        await stubs.gates.GetGate(GetGateRequest(run_id=handle.run_id, step_path="c"))


@pytest.mark.asyncio
async def test_gates_and_deadlines_outlive_a_kill(client: Client, server: ServerProcess) -> None:
    await client.register(DRAFT)
    await client.register(
        "name: rule\nsteps: [{name: g, gate: {title: T, deadline: 1s, on_deadline: APPROVE}}]\n"
        'output: "${steps.g.output.resolution}"'
    )
    handle, gate = await opened(client)
    edited = await client.gates.edit(gate, {"text": "kept"})
    by_rule, _ = await opened(client, "rule")
    server.kill()
    await asyncio.to_thread(server.start)
    assert await client.gates.get(handle.run_id) == edited
    await client.gates.approve(edited)
    assert (await handle.result())["payload"] == {"text": "kept"}
    assert await by_rule.result() == "APPROVED"


@pytest.mark.asyncio
async def test_a_gate_of_a_run_that_ended_is_closed(client: Client, stubs: Stubs) -> None:
    await client.register(DRAFT)
    for end in ("terminate", "cancel"):
        handle, gate = await opened(client)
        await getattr(handle, end)("enough")
        await handle.outcome()
        with refused("RUN_CLOSED", "FAILED_PRECONDITION"):
            await stubs.gates.DecideGate(request_for(gate, Decision.DECISION_APPROVE))
        assert (await client.gates.get(handle.run_id, "approve")).state == GateState.GATE_STATE_CANCELED
    with refused("RUN_NOT_FOUND", "NOT_FOUND"):
        await stubs.gates.GetGate(GetGateRequest(run_id="nowhere"))


@pytest.mark.asyncio
async def test_a_gate_with_more_data_than_a_message_holds_is_shown_all_the_same(client: Client) -> None:
    await client.register(DRAFT)
    text = "z" * 3_000_000
    handle, gate = await opened(client, value={"title": "Long", "text": "short"})
    for number in range(6):
        gate = await client.gates.edit(gate, {"text": f"{number}{text}"})
    assert gate.revision == 7
    shown = await client.gates.get(handle.run_id)
    assert value_of(shown.content.subject)["text"][0] == "5"
    assert [one.payload.HasField("ref") for one in shown.decided] == [True] * 2 + [False] * 4
    await handle.terminate()
