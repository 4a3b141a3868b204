"""Documents made to hurt: each is answered with faults, of which there are not more than can be read, and soon.

Nothing here looks at a clock: what once took minutes would run into the limit of time all tests have.
"""

import json

import pytest

from holdfast.v1.workflow_service_pb2 import Diagnostic, DocumentFormat
from holdfast_server.definition import parse
from holdfast_server.definition.yaml_values import ALIASES_MAX, VALUES_MAX
from holdfast_server.engine.faults import COMPARED_MAX, did_you_mean
from holdfast_server.engine.schemas import SCHEMA_BYTES_MAX

JSON = DocumentFormat.DOCUMENT_FORMAT_JSON
YAML = DocumentFormat.DOCUMENT_FORMAT_YAML


def faults(document: object) -> tuple[Diagnostic, ...]:
    return parse(json.dumps(document), JSON).diagnostics


def steps(*found: object) -> dict[str, object]:
    return {"name": "a", "steps": list(found)}


def compute(name: str, **fields: object) -> dict[str, object]:
    return {"name": name, "compute": {}, **fields}


def test_there_are_not_more_faults_than_can_be_read() -> None:
    unknown = [{"step": f"stop_number_{number}"} for number in range(20)]
    found = faults(steps(*(compute(f"step_number_{number}", after=unknown) for number in range(900))))

    assert len(found) == 1_000
    assert found[0].message.startswith("unknown step 'stop_number_0'; known: step_number_1, ")


def test_only_few_names_are_compared_letter_by_letter() -> None:
    few = [f"step_{number}" for number in range(COMPARED_MAX)]

    assert did_you_mean("step_x", few).startswith("; did you mean")
    assert did_you_mean("step_x", [*few, "more"]).startswith("; known: step_0, ")
    assert did_you_mean("STEP_1", [*few, "more"]) == "; did you mean 'step_1'?"


@pytest.mark.parametrize(
    ("document", "path", "count"),
    [
        ({"name": "a", "steps": [1] * 300_000}, "steps", 300_000),
        (steps(compute("x", after=[1] * 200_000)), "steps[0].after", 200_000),
        ({**steps(compute("x")), "attributes": {f"A{number}": 1 for number in range(50_000)}}, "attributes", 50_000),
        ({f"field_{number}": 1 for number in range(40_000)}, "", 40_000),
    ],
)
def test_what_is_too_long_is_one_fault(document: object, path: str, count: int) -> None:
    (found,) = faults(document)

    assert (found.path, found.message) == (path, f"it has {count:,} entries, the limit is 1,000")


def test_what_authors_write_for_themselves_may_be_long() -> None:
    long = list(range(2_000))

    assert not faults(steps(compute("x", input=long)))
    assert [one.message for one in faults(steps(compute("x", input=long, cleanup="maybe")))] == [
        '"maybe" is not true or false'
    ]


def test_faults_of_many_steps_have_their_places() -> None:
    found = faults(steps(*(compute(f"s{number}", tasc=1) for number in range(100)), {"name": "last"}))

    assert [one.path for one in found[:2]] == ["steps[0].tasc", "steps[1].tasc"]
    assert (found[-1].path, len(found)) == ("steps[100]", 101)


def test_a_key_that_is_there_twice_is_found_among_many() -> None:
    members = ", ".join(f'"k{number}": 1' for number in range(60_000))

    (found,) = parse(f'{{{members}, "k59999": 2}}', JSON).diagnostics
    assert found.message == "the key 'k59999' is there twice in one object"


@pytest.mark.parametrize("version", ["1.1", "1.5", "2.0", "x"])
def test_other_versions_of_yaml_are_told(version: str) -> None:
    (found,) = parse(f"%YAML {version}\n---\na: 1", YAML).diagnostics

    assert "YAML" in found.message


def test_aliases_and_values_are_taken_up_to_the_limit() -> None:
    many = ", ".join(["*a"] * ALIASES_MAX)
    assert "aliases" not in str(parse(f"{{a: &a 1, b: [{many}]}}", YAML).diagnostics)
    assert f"more than {ALIASES_MAX} aliases" in str(parse(f"{{a: &a 1, b: [{many}, *a]}}", YAML).diagnostics)
    values = ",".join("1" * (VALUES_MAX - 1))
    assert "values" not in str(parse(f"[{values}]", YAML).diagnostics)
    assert "more than 100,000 values" in str(parse(f"[{values},1]", YAML).diagnostics)


def test_steps_and_edges_are_taken_up_to_the_limit() -> None:
    most = [compute(f"s{number}") for number in range(1_000)]
    assert not faults(steps(*most))
    (found,) = faults(steps(*most, compute("more")))
    assert "1,001" in found.message
    edges = [{"step": f"s{number}"} for number in range(256)]
    assert not faults(steps(*most[:257], compute("join", after=edges)))
    (found,) = faults(steps(*most[:257], compute("join", after=[*edges, {"step": "s256"}])))
    assert found.message == "there are 257 edges, the limit is 256"


def test_a_schema_is_as_long_as_allowed() -> None:
    room = SCHEMA_BYTES_MAX - len('{"const":""}')
    assert not faults(steps(compute("x", input_schema={"const": "x" * room})))
    (found,) = faults(steps(compute("x", input_schema={"const": "x" * (room + 1)})))
    assert found.message.endswith("the schema has 262,145 bytes, the limit is 262,144")
