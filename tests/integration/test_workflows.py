"""Definitions: registered once by content, kept word for word, listed by pages, and never changed under a run."""

import asyncio
from uuid import uuid4

import pytest

from holdfast import Client
from holdfast.errors import UnavailableError, WorkflowNotFoundError
from holdfast.testing.processes import ServerProcess
from holdfast.v1.workflow_service_pb2 import (
    DocumentFormat,
    GetWorkflowRequest,
    ListWorkflowsRequest,
    ListWorkflowVersionsRequest,
    RegisterWorkflowRequest,
    ValidateWorkflowRequest,
)
from tests.integration.faulty import hasty, running
from tests.integration.raw import Stubs, refused

YAML = "# why: {value}\nname: {name}\ndescription: Größe {value}\nsteps: [{{name: s, compute: {{}}, input: {value}}}]\n"


def document(name: str, value: int = 1) -> str:
    return YAML.format(name=name, value=value)


@pytest.mark.asyncio
async def test_content_makes_the_version(client: Client, stubs: Stubs) -> None:
    name = f"w-{uuid4().hex}"
    first = await client.register(document(name))
    assert (first.created, first.workflow.version, first.workflow.steps) == (True, 1, 1)
    spaced = document(name).replace("[", "[ ").replace("# why: 1\n", "# another comment\n")
    again = await client.register(spaced)
    assert (again.created, again.workflow) == (False, first.workflow)
    as_json = f'{{"name": "{name}", "description": "Größe 1", "steps": [{{"name": "s", "compute": {{}}, "input": 1}}]}}'
    request = RegisterWorkflowRequest(source=as_json, format=DocumentFormat.DOCUMENT_FORMAT_JSON)
    assert (await stubs.workflows.RegisterWorkflow(request)).created is False
    second = await client.register(document(name, 2))
    assert (second.created, second.workflow.version) == (True, 2)
    assert second.workflow.definition_hash != first.workflow.definition_hash
    back = await client.register(document(name))
    assert (back.created, back.workflow.version) == (False, 1)


@pytest.mark.asyncio
async def test_many_register_at_once(client: Client) -> None:
    name = f"w-{uuid4().hex}"
    same = await asyncio.gather(*(client.register(document(name)) for _ in range(20)))
    assert sum(answer.created for answer in same) == 1
    assert {answer.workflow.version for answer in same} == {1}
    different = await asyncio.gather(*(client.register(document(name, value)) for value in range(2, 22)))
    assert sorted(answer.workflow.version for answer in different) == list(range(2, 22))


@pytest.mark.asyncio
async def test_a_definition_is_kept_word_for_word(client: Client, server: ServerProcess, stubs: Stubs) -> None:
    name = f"w-{uuid4().hex}"
    await client.register(document(name))
    await client.register(document(name, 2))
    server.kill()
    await asyncio.to_thread(server.start)
    latest = await client.workflows.get(name)
    assert (latest.workflow.version, latest.source) == (2, document(name, 2))
    first = await stubs.workflows.GetWorkflow(GetWorkflowRequest(name=name, version=1))
    assert (first.source, first.workflow.description) == (document(name), "Größe 1")
    assert first.definition.block.steps[0].name == "s"
    with refused("WORKFLOW_NOT_FOUND", "NOT_FOUND"):
        await stubs.workflows.GetWorkflow(GetWorkflowRequest(name=name, version=3))


@pytest.mark.asyncio
async def test_workflows_and_versions_are_listed_by_pages(client: Client, stubs: Stubs) -> None:
    prefix = f"list-{uuid4().hex}"
    names = sorted(f"{prefix}-{number}" for number in range(7))
    for name in names:
        for value in range(1, 4):
            await client.register(document(name, value))
    seen: list[tuple[str, int]] = []
    token = ""
    while True:
        page = await stubs.workflows.ListWorkflows(ListWorkflowsRequest(page_size=3, page_token=token))
        seen += [(one.name, one.version) for one in page.workflows]
        token = page.next_page_token
        if not token:
            break
    assert [one for one in seen if one[0].startswith(prefix)] == [(name, 3) for name in names]
    assert [name for name, _ in seen] == sorted({name for name, _ in seen})
    versions = await stubs.workflows.ListWorkflowVersions(ListWorkflowVersionsRequest(name=names[0], page_size=2))
    assert [one.version for one in versions.versions] == [3, 2]
    request = ListWorkflowVersionsRequest(name=names[0], page_size=2, page_token=versions.next_page_token)
    rest = await stubs.workflows.ListWorkflowVersions(request)
    assert ([one.version for one in rest.versions], rest.next_page_token) == ([1], "")


@pytest.mark.asyncio
async def test_all_faults_are_told_at_once_and_nothing_is_registered(client: Client, stubs: Stubs) -> None:
    source = """name: faulty
steps:
  - name: a
    compute: {}
    after: [{step: nobody}]
  - name: b
    task: {handler: "not a name"}
    input: "${steps.c.output}"
  - name: a
    sleep: {for: soon}
"""
    told = (await stubs.workflows.ValidateWorkflow(ValidateWorkflowRequest(source=source))).diagnostics
    assert len(told) >= 3
    assert all(one.line and one.column and one.path and one.message for one in told)
    with refused("INVALID_DEFINITION", "INVALID_ARGUMENT") as refusal:
        await stubs.workflows.RegisterWorkflow(RegisterWorkflowRequest(source=source))
    assert refusal.metadata["faults"] == str(len(told))
    assert set(refusal.violations) == {one.path for one in told}
    with pytest.raises(WorkflowNotFoundError):
        await client.workflows.get("faulty")
    assert not await client.validate(document("fine"))
    with pytest.raises(WorkflowNotFoundError):
        await client.workflows.get("fine")


@pytest.mark.asyncio
async def test_a_version_that_was_not_written_is_not_there(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("faulty") / "holdfast.db"
    async with running(path) as (store, client):
        await client.register(document("kept"))
        store.broken = True
        async with hasty(client) as impatient:
            with pytest.raises(UnavailableError):
                await impatient.register(document("kept", 2))
        assert (await client.workflows.get("kept")).workflow.version == 1
        store.broken = False
        again = await client.register(document("kept", 3))
        assert (again.created, again.workflow.version) == (True, 2)
        handle = await client.start("kept")
        assert handle.version == 2
