"""The published schema of documents: it is a schema, it takes what the server takes, and it knows every field."""

import json
import re
from typing import Any

import pytest
import ruamel.yaml
from jsonschema_rs import Draft202012Validator, meta

from holdfast.v1 import definition_pb2 as pb
from holdfast_server.definition import DOCUMENT_SCHEMA, document_schema_text, parse
from holdfast_server.definition.codec import to_message
from holdfast_server.engine.faults import Faults
from tests.unit.definition.documents import REPORT, YAML


def test_it_is_a_schema() -> None:
    assert meta.is_valid(DOCUMENT_SCHEMA)
    assert json.loads(document_schema_text()) == DOCUMENT_SCHEMA


def test_it_takes_what_the_server_takes() -> None:
    assert parse(REPORT, YAML).diagnostics == ()
    assert Draft202012Validator(DOCUMENT_SCHEMA, offline=True).is_valid(
        ruamel.yaml.YAML(typ="safe", pure=True).load(REPORT)
    )


@pytest.mark.parametrize(
    ("name", "message", "renamed"),
    [
        ("step", pb.Step, {}),
        ("edge", pb.Edge, {}),
        ("join", pb.Join, {}),
        ("retry", pb.Retry, {}),
        ("timeouts", pb.Timeouts, {}),
        ("error_rule", pb.ErrorRule, {}),
        ("task", pb.TaskStep, {}),
        ("gate", pb.GateStep, {}),
        ("action", pb.GateAction, {}),
        ("approvers", pb.Approvers, {}),
        ("wait", pb.WaitStep, {}),
        ("sleep", pb.SleepStep, {"duration": "for", "expression": "until"}),
        (None, pb.WorkflowDefinition, {"block": "steps"}),
    ],
)
def test_it_knows_every_field_of_the_message(name: str | None, message: type, renamed: dict[str, str]) -> None:
    defs = DOCUMENT_SCHEMA["$defs"]
    assert isinstance(defs, dict)
    schema: Any = DOCUMENT_SCHEMA if name is None else defs[name]
    fields = {renamed.get(field.name, field.name) for field in message.DESCRIPTOR.fields}  # type: ignore[attr-defined]
    if name is None:
        fields |= {"on_failure"}

    assert set(schema["properties"]) == fields


@pytest.mark.parametrize(
    ("enum", "prefix", "path"),
    [
        (pb.EdgeOn, "EDGE_ON_", ("edge", "on")),
        (pb.JoinMode, "JOIN_MODE_", ("join", "mode")),
        (pb.Risk, "RISK_", ("action", "risk")),
        (pb.OnDeadline, "ON_DEADLINE_", ("gate", "on_deadline")),
    ],
)
def test_it_knows_every_value_of_an_enum(enum: object, prefix: str, path: tuple[str, str]) -> None:
    defs = DOCUMENT_SCHEMA["$defs"]
    assert isinstance(defs, dict)
    names = {name.removeprefix(prefix) for name in enum.keys()}  # type: ignore[attr-defined] # noqa: SIM118 - an enum wrapper

    assert set(defs[path[0]]["properties"][path[1]]["enum"]) == names - {"UNSPECIFIED"}


def test_every_field_reaches_the_message() -> None:
    document = ruamel.yaml.YAML(typ="safe", pure=True).load(REPORT)
    text = str(to_message(document, Faults()))

    for word in re.findall(r"^\s*(?:- )?(\w+):", REPORT, re.MULTILINE):
        if word not in {"steps", "type", "required", "properties", "for"}:
            assert word in text, word
