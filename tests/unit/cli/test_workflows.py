"""`holdfast workflow`: documents in, faults with their places out."""

import json
from pathlib import Path

import grpc
import pytest

from holdfast.v1 import workflow_service_pb2 as workflows
from tests.unit.cli import samples
from tests.unit.cli.stage import Refusal, Stage
from tests.unit.cli.test_golden import fill


@pytest.fixture
def document(tmp_path: Path) -> str:
    """A file with a definition."""
    path = tmp_path / "report.yaml"
    path.write_text("name: report\nsteps: []\n")
    return str(path)


def test_register_sends_the_document(stage: Stage, document: str) -> None:
    fill(stage)

    result = stage.call("workflow", "register", document)

    sent = stage.got("RegisterWorkflow")
    assert (sent.source, sent.format) == ("name: report\nsteps: []\n", workflows.DocumentFormat.DOCUMENT_FORMAT_YAML)
    assert result.stdout == "registered  research-report v3\n"


def test_register_tells_when_nothing_changed(stage: Stage, document: str) -> None:
    stage.answers["RegisterWorkflow"] = workflows.RegisterWorkflowResponse(workflow=samples.version(), created=False)

    assert stage.call("workflow", "register", document).stdout == "unchanged  research-report v3\n"


def test_register_from_standard_input(stage: Stage) -> None:
    fill(stage)

    stage.call("workflow", "register", "-", input=b"name: piped\n")

    assert stage.got("RegisterWorkflow").source == "name: piped\n"


def test_register_several_goes_on_after_a_faulty_one(stage: Stage, document: str, tmp_path: Path) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text("name: bad\n")

    def answer(request: workflows.RegisterWorkflowRequest) -> object:
        if "bad" in request.source:
            return Refusal("INVALID_DEFINITION", grpc.StatusCode.INVALID_ARGUMENT)
        return workflows.RegisterWorkflowResponse(workflow=samples.version(), created=True)

    stage.answers["RegisterWorkflow"] = answer
    stage.answers["ValidateWorkflow"] = workflows.ValidateWorkflowResponse(diagnostics=samples.diagnostics())

    result = stage.call("workflow", "register", str(bad), document, "-o", "json")

    assert result.exit_code == 1
    assert [one["name"] for one in json.loads(result.stdout)] == ["research-report"]
    assert result.stderr.splitlines() == [
        f"error: {bad} has 2 faults (INVALID_DEFINITION)",
        f"{bad}:7:14: steps[2].after[0].step: unknown step 'reviev'; known: review",
        f"{bad}: the document is empty",
        "  next: mend these places, then check: holdfast workflow validate FILE",
    ]


def test_faults_that_only_registering_finds_are_told_too(stage: Stage, document: str) -> None:
    stage.answers["RegisterWorkflow"] = Refusal("INVALID_DEFINITION", violations={"name": "is taken"})

    assert f"{document}: name: is taken" in stage.call("workflow", "register", document).stderr


def test_validate_tells_all_faults_of_all_files(stage: Stage, document: str) -> None:
    stage.answers["ValidateWorkflow"] = workflows.ValidateWorkflowResponse(diagnostics=samples.diagnostics())

    result = stage.call("workflow", "validate", document, "-o", "json")

    assert result.exit_code == 1
    (found,) = json.loads(result.stdout)
    assert (found["file"], found["valid"]) == (document, False)
    assert found["diagnostics"][0] == {
        "path": "steps[2].after[0].step",
        "message": "unknown step 'reviev'; known: review",
        "line": 7,
        "column": 14,
    }


def test_validate_a_valid_file(stage: Stage, document: str) -> None:
    result = stage.call("workflow", "validate", document)

    assert (result.exit_code, result.stdout) == (0, f"valid  {document}\n")


def test_nothing_is_sent_before_all_files_are_read(stage: Stage, document: str, tmp_path: Path) -> None:
    empty = tmp_path / "empty.yaml"
    empty.write_text(" \n")

    result = stage.call("workflow", "register", document, str(empty))

    assert (result.exit_code, "is empty" in result.stderr, stage.requests) == (2, True, {})


def test_show_a_version(stage: Stage) -> None:
    fill(stage)

    shown = json.loads(stage.call("workflow", "show", "research-report", "--version", "2", "-o", "json").stdout)

    assert stage.got("GetWorkflow").version == 2
    assert shown["workflow"]["definition_hash"] == bytes(range(32)).hex()
    assert shown["definition"]["input_schema"] == {"required": ["question"], "type": "object"}


def test_source_is_the_document_as_it_was_registered(stage: Stage) -> None:
    fill(stage)

    assert stage.call("workflow", "show", "research-report", "--source").stdout == "name: research-report\nsteps: []\n"
