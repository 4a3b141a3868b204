"""`holdfast dev`: a server that registers the definitions of a folder, and again whenever one changes."""

import subprocess
import sys
from pathlib import Path

import pytest

from holdfast import Client
from holdfast.errors import WorkflowNotFoundError
from holdfast.testing.processes import ServerProcess

DEFINITION = "name: {name}\nsteps: [{{name: only, compute: {{}}, input: {value}}}]\noutput: '${{steps.only.output}}'\n"


class DevProcess(ServerProcess):
    """A server on a folder of definitions."""

    def __init__(self, definitions: Path, database: Path) -> None:
        super().__init__(database)
        self._definitions = definitions

    def _started_with(self) -> list[str]:
        return ["dev", str(self._definitions), *super()._started_with()[1:]]


async def registered(client: Client, name: str, version: int) -> None:
    """Asks until a version is there."""
    found = 0
    while found < version:
        try:
            found = (await client.workflows.get(name)).workflow.version
        except WorkflowNotFoundError:
            found = 0


@pytest.mark.asyncio
async def test_definitions_of_a_folder_are_registered_whenever_they_change(tmp_path: Path) -> None:
    folder = tmp_path / "definitions"
    folder.mkdir()
    (folder / "first.yaml").write_text(DEFINITION.format(name="first", value=1))
    (folder / "broken.yaml").write_text("name: broken\nsteps: [")
    (folder / "package.json").write_text('{"name": "something-else"}')
    (folder / "bytes.json").write_bytes(b'{"steps": "\xff"}')
    (folder / "notes.txt").write_text(DEFINITION.format(name="notes", value=1))
    async with DevProcess(folder, tmp_path / "dev.db") as server, Client(server.target) as client:
        await registered(client, "first", 1)
        assert await client.run("first") == 1
        (folder / "first.yaml").write_text(DEFINITION.format(name="first", value=2))
        (folder / "second.json").write_text('{"name": "second", "steps": [{"name": "only", "compute": {}}]}')
        await registered(client, "first", 2)
        await registered(client, "second", 1)
        assert await client.run("first") == 2
        (folder / "first.yaml").unlink()
        (folder / "broken.yaml").write_text(DEFINITION.format(name="mended", value=3))
        await registered(client, "mended", 1)
        assert [one.name async for one in client.workflows.list()] == ["first", "mended", "second"]

        said = server.log_tail()
        assert "a definition has faults" in said
        assert "place=broken.yaml:2:" in said
        assert "Traceback" not in said
        assert server.stop() == 0


@pytest.mark.asyncio
async def test_a_folder_without_definitions_says_what_it_looks_for(tmp_path: Path) -> None:
    folder = tmp_path / "definitions"
    folder.mkdir()
    async with DevProcess(folder, tmp_path / "dev.db") as server, Client(server.target) as client:
        while "no definitions here yet; looking for *.yaml" not in server.log_tail():
            await client.operations.server_info()
        (folder / "first.yaml").write_text(DEFINITION.format(name="first", value=1))
        await registered(client, "first", 1)
        assert server.log_tail().count("no definitions here yet") == 1


def test_a_folder_that_is_not_there_is_told_at_once(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "holdfast", "dev", str(tmp_path / "nowhere")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 2
    assert "does not exist" in done.stderr
