"""The definitions of examples and benchmark are valid, and their handlers exist."""

import importlib
from pathlib import Path

import pytest

from holdfast import Handler
from holdfast.v1.workflow_service_pb2 import DocumentFormat
from holdfast_server.definition import parse

ROOT = Path(__file__).resolve().parents[3]
DEFINITIONS = {
    "examples/hello/hello.yaml": "examples.hello.hello",
    "examples/research_report/workflow.yaml": "examples.research_report.handlers",
    "bench/chain.yaml": "bench.handlers",
}


@pytest.mark.parametrize("name", sorted(DEFINITIONS))
def test_a_definition_is_valid_and_its_handlers_are_served(name: str) -> None:
    document = parse((ROOT / name).read_text(encoding="utf-8"), DocumentFormat.DOCUMENT_FORMAT_YAML)
    assert document.diagnostics == ()
    assert document.definition is not None

    steps = document.definition.block.steps
    wanted = {step.task.handler for step in steps if step.WhichOneof("kind") == "task"}
    wanted |= {rule.fallback.handler for step in steps for rule in step.on_error if rule.HasField("fallback")}
    module = importlib.import_module(DEFINITIONS[name])
    assert wanted == {value.name for value in vars(module).values() if isinstance(value, Handler)}


def test_every_definition_is_looked_at() -> None:
    found = {
        path.relative_to(ROOT).as_posix()
        for folder in ("examples", "bench")
        for path in (ROOT / folder).rglob("*.yaml")
    }

    assert {name for name in found if "/results/" not in name} == set(DEFINITIONS)
