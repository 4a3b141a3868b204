"""`holdfast worker MODULE`: which module, which handlers, and what is said when there are none."""

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from holdfast.client import Client
from holdfast.errors import HandlerError, ModuleError, WorkerError
from holdfast.worker.module import handlers_of, load_module, run_module, serve_modules, workflows_of
from tests.unit.sdk.fake import QUICK, Fake, serving
from tests.unit.sdk.fake_worker_service import FakeWorkerService

SOURCE = '''
"""Handlers of a test."""
from dataclasses import dataclass
from holdfast import Workflow, handler

@dataclass
class Pair:
    left: int
    right: int

@handler
async def add(pair: Pair) -> int:
    return pair.left + pair.right

again = add
wf = Workflow("sum", input=Pair)
wf.output(wf.task("add", add, input=wf.input).output)
'''


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    modules, path = set(sys.modules), list(sys.path)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        if name.startswith(("adding_", "holdfast_module_")):
            del sys.modules[name]


def test_a_module_is_found_by_name_and_by_file(folder: Path) -> None:
    (folder / "adding_one.py").write_text(SOURCE)
    (folder / "deep").mkdir()
    (folder / "deep" / "adding_two.py").write_text(SOURCE)

    for name in ("adding_one", "deep/adding_two.py"):
        module = load_module(name)
        assert [made.name for made in handlers_of(module)] == ["add"]
        assert [workflow.name for workflow in workflows_of(module)] == ["sum"]


def test_a_file_may_be_called_like_a_module_of_python(folder: Path) -> None:
    (folder / "json.py").write_text(SOURCE)
    assert [made.name for made in handlers_of(load_module("json.py"))] == ["add"]
    assert "adding" not in str(sys.modules["json"])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("adding_nothing", "no module 'adding_nothing'"),
        ("adding.nothing.at.all", "no module"),
        ("missing.py", "no file missing.py"),
        ("adding_empty", "no handlers in adding_empty"),
    ],
)
def test_what_cannot_be_served_says_why(folder: Path, name: str, message: str) -> None:
    (folder / "adding_empty.py").write_text('"""Nothing."""\n')
    with pytest.raises(WorkerError, match=message):
        run_module(name)


@pytest.mark.parametrize("name", ["adding_broken", "adding_broken.py"])
def test_a_fault_inside_a_module_is_told_with_its_cause(folder: Path, name: str) -> None:
    (folder / "adding_broken.py").write_text("import adding_that_is_missing\n")
    with pytest.raises(ModuleError, match=f"{name} cannot be imported: .*adding_that_is_missing") as caught:
        load_module(name)
    assert isinstance(caught.value.__cause__, ModuleNotFoundError)


def test_a_handler_that_is_none_says_so_itself(folder: Path) -> None:
    (folder / "adding_odd.py").write_text("from holdfast import handler\n@handler\ndef odd(a, b): ...\n")
    with pytest.raises(HandlerError, match="odd takes two inputs"):
        load_module("adding_odd")


@pytest.mark.asyncio
async def test_the_handlers_are_served_and_the_workflows_registered(folder: Path) -> None:
    (folder / "adding_three.py").write_text(SOURCE)
    fake, service = Fake(), FakeWorkerService()
    async with serving(fake, service) as target, Client(target, backoff=QUICK) as client:
        worker = asyncio.create_task(serve_modules(client, ["adding_three"], register=True, worker_id="w7"))
        token = await service.add("add", b'{"left": 2, "right": 3}')
        assert (await service.result(token)).output.data == b"5"
        worker.cancel()
        await asyncio.gather(worker, return_exceptions=True)

    assert [request.source[:13] for request in fake.got("RegisterWorkflow")] == ['{"name":"sum"']
    assert service.polls[0].worker.id == "w7"
