"""The shell completes names by asking the server, and never shows an error."""

import pytest

from holdfast.v1 import gate_service_pb2 as gates, run_service_pb2 as runs, workflow_service_pb2 as workflows
from tests.unit.cli import samples
from tests.unit.cli.samples import RUN_ID
from tests.unit.cli.stage import Refusal, Stage


def completed(stage: Stage, line: str) -> list[str]:
    """Return what bash is offered for a line whose last word is not finished."""
    words = line.split(" ")
    variables = {
        "_HOLDFAST_COMPLETE": "complete_bash",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(words) - 1),
        "_TYPER_COMPLETE_TESTING": "1",
    }
    result = stage.call(also=variables)
    assert result.stderr == ""
    return result.stdout.split()


@pytest.fixture
def named(stage: Stage) -> Stage:
    """A stage with a workflow, runs and gates."""
    stage.answers |= {
        "ListWorkflows": workflows.ListWorkflowsResponse(workflows=[samples.version()]),
        "ListRuns": runs.ListRunsResponse(runs=[samples.summary(), samples.summary(run_id="r-2")]),
        "GetRun": runs.GetRunResponse(run=samples.run()),
        "ListGates": gates.ListGatesResponse(gates=[samples.gate(), samples.review_gate()]),
    }
    return stage


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("holdfast workflow sh", ["show"]),
        ("holdfast run sta", ["start"]),
        ("holdfast run start re", ["research-report"]),
        ("holdfast workflow show ", ["research-report"]),
        ("holdfast run show ", [RUN_ID, "r-2"]),
        ("holdfast run watch r", ["r-2"]),
        ("holdfast gate approve ", [RUN_ID]),
        (f"holdfast gate approve {RUN_ID} m", ["mend"]),
        (f"holdfast step skip {RUN_ID} ", ["search", "read", "fetch", "review", "mend", "publish"]),
        (f"holdfast step retry {RUN_ID} re", ["read", "review"]),
        ("holdfast run list --workflow ", ["research-report"]),
        ("holdfast run list --state s", ["succeeded"]),
        ("holdfast run list --waiting NO", ["NO_WORKER"]),
        ("holdfast run start w --on-conflict u", ["use_existing"]),
        ("holdfast gate decide de", ["delegate"]),
    ],
)
def test_offers(named: Stage, line: str, offered: list[str]) -> None:
    assert completed(named, line) == offered


def test_it_asks_where_the_line_says(named: Stage) -> None:
    completed(named, "holdfast -n team run show ")

    assert named.got("ListRuns").namespace == "team"


def test_names_of_others_drive_no_terminal(named: Stage) -> None:
    named.answers["ListRuns"] = runs.ListRunsResponse(runs=[samples.summary(run_id="\x1b[2Jr")])

    assert completed(named, "holdfast run show ") == ["\\x1b[2Jr"]


def test_without_a_server_nothing_is_offered(named: Stage) -> None:
    assert completed(named, "holdfast --target 127.0.0.1:1 run show ") == []


def test_a_refusal_offers_nothing(named: Stage) -> None:
    named.answers["ListRuns"] = Refusal("NOT_PERMITTED")

    assert completed(named, "holdfast run show ") == []
