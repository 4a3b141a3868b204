"""Gates listed and watched: in order, in pages, in pieces, resumed where it stood."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any
from uuid import uuid4

import pytest

from holdfast import Client
from holdfast.client import RunHandle
from holdfast.testing.processes import ServerProcess
from holdfast.v1.gate_pb2 import Gate, GateState
from holdfast.v1.gate_service_pb2 import ListGatesRequest
from tests.integration.raw import Stubs

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


@pytest.mark.asyncio
async def test_gates_are_listed_by_deadline_and_by_pages(client: Client, stubs: Stubs) -> None:
    def definition(name: str, deadline: str) -> str:
        return f"name: {name}\nsteps: [{{name: g, gate: {{title: T{deadline}}}}}]"

    workflow = f"listed-{uuid4().hex}"
    await client.register(definition(workflow, ""))
    never = [(await client.start(workflow)).run_id for _ in range(3)]
    await client.register(definition(workflow, ", deadline: 2h"))
    later = [(await client.start(workflow)).run_id for _ in range(2)]
    await client.register(definition(workflow, ", deadline: 1h"))
    soon = [(await client.start(workflow)).run_id for _ in range(2)]

    listed = [gate.run_id async for gate in client.gates.list(workflow=workflow, page_size=2)]
    assert listed == [*soon, *later, *never]
    page = await stubs.gates.ListGates(ListGatesRequest(workflow=workflow, page_size=7))
    assert (len(page.gates), page.next_page_token) == (7, "")

    gate = await client.gates.get(soon[0])
    await client.gates.approve(gate)
    assert [gate.run_id async for gate in client.gates.list(workflow=workflow)] == [soon[1], *later, *never]
    (resolved,) = [gate async for gate in client.gates.list(run_id=soon[0])]
    assert resolved.state == GateState.GATE_STATE_RESOLVED


@pytest.mark.asyncio
async def test_many_large_gates_come_in_pieces(client: Client) -> None:
    definition = """
name: large-gates
steps: [{name: g, gate: {title: T, body: "${input}"}, input: "${input}"}]
"""
    await client.register(definition)
    workflow = "large-gates"
    handles = [await client.start(workflow, f"{number}" + "x" * 8_000) for number in range(700)]
    assert len([gate async for gate in client.gates.list(workflow=workflow, page_size=1_000)]) == 700
    seen: set[str] = set()
    async with aclosing(client.gates.watch()) as changes:  # type: ignore[type-var]
        async for change in changes:
            seen |= {gate.run_id for gate in change.gates}
            if change.live:
                break
    assert seen >= {handle.run_id for handle in handles}
    await asyncio.gather(*(handle.terminate() for handle in handles))


async def next_with(changes: AsyncIterator[Any], run_id: str) -> tuple[Gate, str]:
    """The next state of a run's gate, and the cursor behind it."""
    found: Gate | None = None
    async for change in changes:
        assert not change.reset
        for gate in change.gates:
            if gate.run_id == run_id:
                found = gate
        if found is not None and change.cursor:
            return found, change.cursor
    raise AssertionError("the stream ended")


@pytest.mark.asyncio
async def test_watchers_see_every_change_and_resume(client: Client, server: ServerProcess) -> None:
    await client.register(DRAFT)
    handle, gate = await opened(client)
    keeper = client.gates.watch()  # the server remembers changes while someone listens
    async with aclosing(keeper), aclosing(client.gates.watch()) as changes:  # type: ignore[type-var]
        assert (await anext(keeper)).reset
        first = await anext(changes)
        assert first.reset
        assert handle.run_id in {one.run_id for one in first.gates}
        await client.gates.edit(gate, {"text": "2"})
        seen, cursor = await next_with(changes, handle.run_id)
        assert seen.revision == 2
        await client.gates.approve(seen)

        async with aclosing(client.gates.watch(cursor=cursor)) as resumed:  # type: ignore[type-var]
            assert not (await anext(resumed)).reset
            after, cursor = await next_with(resumed, handle.run_id)
            assert after.state == GateState.GATE_STATE_RESOLVED

    handle, gate = await opened(client)
    server.kill()
    await asyncio.to_thread(server.start)
    for unknown in (cursor, "nonsense", "x.9999999999", ".", "\u00b2.\u00b2", f"{cursor}0", "9" * 5000):
        async with aclosing(client.gates.watch(cursor=unknown)) as again:  # type: ignore[type-var]
            snapshot = await anext(again)
            assert snapshot.reset
            assert handle.run_id in {one.run_id for one in snapshot.gates}
