"""The tables of docs/workflows.md list what the document schema allows, and the defaults that are in force."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from holdfast.v1.workflow_service_pb2 import DocumentFormat
from holdfast_server.definition import DOCUMENT_SCHEMA, parse

GUIDE = (Path(__file__).parents[3] / "docs" / "workflows.md").read_text(encoding="utf-8")
DEFS: Mapping[str, Any] = DOCUMENT_SCHEMA["$defs"]  # type: ignore[assignment]
WHOLE: Mapping[str, Any] = DOCUMENT_SCHEMA
HOMES: dict[str, Mapping[str, Any]] = {
    "The document": WHOLE,
    "Steps": DEFS["step"],
    "Edges": DEFS["edge"],
    "Joins": DEFS["join"],
    "Retries": DEFS["retry"],
    "Timeouts": DEFS["timeouts"],
    "Failures that are used up": DEFS["error_rule"],
    "Fallback": DEFS["error_rule"]["properties"]["fallback"],
    "Review": DEFS["error_rule"]["properties"]["review"],
    "`task`": DEFS["task"],
    "`gate`": DEFS["gate"],
    "Action": DEFS["action"],
    "Approvers": DEFS["approvers"],
    "Escalation": DEFS["gate"]["properties"]["escalation"],
    "`wait`": DEFS["wait"],
    "`sleep`": DEFS["sleep"],
    "Signals": WHOLE["properties"]["signals"]["items"],
    "Queries": WHOLE["properties"]["queries"]["items"],
}
"""Where the fields of each part of the language stand in the guide."""


def _section(heading: str) -> str:
    found = re.search(rf"^##+ {re.escape(heading)}\n(.*?)(?=^##|\Z)", GUIDE, re.MULTILINE | re.DOTALL)
    assert found is not None, heading
    return found[1]


def _rows(heading: str) -> dict[str, tuple[str, str]]:
    """Field, default and meaning of the first table of a section."""
    table = re.search(
        r"^\| field \| default \| meaning \|\n\|---\|---\|---\|\n((?:\|.*\n)+)", _section(heading), re.MULTILINE
    )
    assert table is not None, heading
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \| (.*) \|$", table[1], re.MULTILINE)
    return {name: (default, meaning) for name, default, meaning in rows}


def _resolved(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    reference = schema.get("$ref")
    return schema if reference is None else DEFS[str(reference).removeprefix("#/$defs/")]


def _fields() -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    for heading, schema in HOMES.items():
        for name, inner in schema["properties"].items():
            yield heading, name, _resolved(inner)


@pytest.mark.parametrize("heading", HOMES)
def test_every_field_is_listed_and_no_other(heading: str) -> None:
    assert set(_rows(heading)) == set(HOMES[heading]["properties"])


@pytest.mark.parametrize("heading", HOMES)
def test_what_is_required_is_called_so(heading: str) -> None:
    called = {name for name, (default, _) in _rows(heading).items() if default == "required"}

    assert called == set(HOMES[heading].get("required", ()))


@pytest.mark.parametrize(
    ("heading", "name", "schema"), _fields(), ids=lambda value: value if isinstance(value, str) else ""
)
def test_values_and_limits_are_told(heading: str, name: str, schema: Mapping[str, Any]) -> None:
    default, meaning = _rows(heading)[name]
    items = _resolved(schema.get("items", {}))
    told = f"{default} {meaning}".replace(",", "")

    for value in (*schema.get("enum", ()), *items.get("enum", ())):
        assert f"`{value}`" in meaning, value
    limits = [schema.get(word) for word in ("minimum", "maximum", "maxItems")]
    if schema.get("maxLength", 0) < 256 * 1024 and "pattern" not in schema:
        limits.append(schema.get("maxLength"))
    for limit in limits:
        assert limit is None or re.search(rf"\b{limit}\b", told) or f"at least {limit}" in told, limit


def test_defaults_are_those_in_force() -> None:
    document = "name: x\nsteps: [{name: a, task: {handler: h}}, {name: b, gate: {title: t}}]"
    plan = parse(document, DocumentFormat.DOCUMENT_FORMAT_YAML).plan
    assert plan is not None
    task, gate = plan.block.steps
    retry, timeouts = _rows("Retries"), _rows("Timeouts")

    assert task.retry is not None
    assert int(retry["max_attempts"][0]) == task.retry.max_attempts
    assert retry["initial_interval"][0] == f"{task.retry.initial_us / 1e6:g}s"
    assert float(retry["backoff"][0]) == task.retry.backoff
    assert retry["max_interval"][0] == f"{task.retry.max_interval_us / 1e6:g}s"
    assert float(retry["jitter"][0]) == task.retry.jitter
    assert timeouts["start_to_close"][0] == f"{(task.start_to_close_us or 0) / 60e6:g}m"
    assert (task.schedule_to_start_us, task.schedule_to_close_us, task.heartbeat_us) == (None, None, None)
    assert _rows("`task`")["queue"][0] == f"`{task.queue}`"
    assert gate.gate is not None
    assert int(_rows("`gate`")["quorum"][0]) == gate.gate.quorum
    assert _rows("`gate`")["veto"][0] == str(gate.gate.veto).lower()
