"""What people see at 80 columns. `--rewrite-golden` keeps the present texts; read the difference."""

from collections.abc import Callable

import pytest

from holdfast.v1 import (
    gate_service_pb2 as gates,
    operations_service_pb2 as operations,
    run_service_pb2 as runs,
    workflow_service_pb2 as workflows,
)
from holdfast.v1.run_pb2 import RunState
from holdfast.v1.step_action_pb2 import StepActionResponse
from tests.unit.cli import samples
from tests.unit.cli.samples import RUN_ID
from tests.unit.cli.stage import COLUMNS, Stage

CASES = {
    "info": ("info",),
    "workflow_list": ("workflow", "list"),
    "workflow_show": ("workflow", "show", "research-report"),
    "workflow_versions": ("workflow", "show", "research-report", "--versions"),
    "workflow_source": ("workflow", "show", "research-report", "--source"),
    "run_list": ("run", "list"),
    "run_show": ("run", "show", RUN_ID),
    "run_show_step": ("run", "show", RUN_ID, "--step", "search"),
    "run_show_step_full": ("run", "show", RUN_ID, "--step", "search", "--full"),
    "run_history": ("run", "history", RUN_ID),
    "run_start": ("run", "start", "research-report"),
    "run_wait": ("run", "wait", RUN_ID),
    "run_watch": ("run", "watch", RUN_ID),
    "run_pause": ("run", "pause", RUN_ID),
    "run_signal": ("run", "signal", RUN_ID, "more", "--payload", "[1]"),
    "step_skip": ("step", "skip", RUN_ID, "search", "--payload", "[]"),
    "gate_list": ("gate", "list"),
    "gate_show": ("gate", "show", RUN_ID),
    "gate_reject": ("gate", "reject", RUN_ID),
    "queue_list": ("queue", "list"),
    "worker_list": ("worker", "list"),
}


def fill(stage: Stage) -> None:
    """Let the server answer everything with the samples."""
    stage.answers |= {
        "GetServerInfo": samples.server_info(),
        "ListWorkflows": workflows.ListWorkflowsResponse(workflows=[samples.version()]),
        "ListWorkflowVersions": workflows.ListWorkflowVersionsResponse(versions=[samples.version()]),
        "GetWorkflow": samples.workflow(),
        "ValidateWorkflow": workflows.ValidateWorkflowResponse(),
        "RegisterWorkflow": workflows.RegisterWorkflowResponse(workflow=samples.version(), created=True),
        "ListRuns": runs.ListRunsResponse(runs=samples.summaries()),
        "GetRun": runs.GetRunResponse(run=samples.run()),
        "GetHistory": runs.GetHistoryResponse(events=samples.history()),
        "WatchRun": [runs.WatchRunResponse(events=samples.history())],
        "WaitRuns": [runs.WaitRunsResponse(outcomes=[samples.outcome()])],
        "StartRuns": runs.StartRunsResponse(
            results=[{"accepted": {"run_id": RUN_ID, "started": True, "version": 3}}]  # type: ignore[list-item]
        ),
        "SignalRuns": runs.SignalRunsResponse(results=[{"accepted": {"seq": 12}}]),  # type: ignore[list-item]
        "QueryRun": runs.QueryRunResponse(result=samples.payload({"done": 3})),
        "PauseRun": runs.PauseRunResponse(run=samples.summary()),
        "ResumeRun": runs.ResumeRunResponse(run=samples.summary()),
        "CancelRun": runs.CancelRunResponse(run=samples.summary()),
        "TerminateRun": runs.TerminateRunResponse(run=samples.summary()),
        "RetryRun": runs.RetryRunResponse(run=samples.summary()),
        "DeleteRun": runs.DeleteRunResponse(delete_time=samples.at(60)),
        "StepAction": StepActionResponse(run=samples.summary(), activation=samples.skipped_by_operator()),
        "ListGates": gates.ListGatesResponse(gates=[samples.gate(), samples.review_gate(), samples.resolved_gate()]),
        "GetGate": gates.GetGateResponse(gate=samples.gate()),
        "DecideGate": gates.DecideGateResponse(gate=samples.resolved_gate()),
        "ListQueues": operations.ListQueuesResponse(queues=samples.queues()),
        "ListWorkers": operations.ListWorkersResponse(workers=samples.workers()),
    }


@pytest.mark.parametrize("name", CASES)
def test_looks_as_kept_and_fits_80_columns(stage: Stage, golden: Callable[[str, str], None], name: str) -> None:
    fill(stage)

    result = stage.call(*CASES[name])

    shown = f"$ holdfast {' '.join(CASES[name])}\n{result.stdout}"
    shown += f"--- stderr\n{result.stderr}" if result.stderr else ""
    assert result.exit_code == 0
    if name != "run_watch":  # without a terminal it is a log, one line for each event
        assert [line for line in result.stdout.splitlines() if len(line) > COLUMNS] == []
    golden(name, shown.replace(stage.target, "localhost:7411"))


@pytest.mark.parametrize("name", ["run_show", "gate_show"])
def test_at_a_terminal_it_says_what_to_type_next(stage: Stage, golden: Callable[[str, str], None], name: str) -> None:
    fill(stage)
    stage.typed = []

    golden(f"{name}_next", stage.call(*CASES[name]).stderr)


def test_a_run_that_failed(stage: Stage, golden: Callable[[str, str], None]) -> None:
    stage.answers["GetRun"] = runs.GetRunResponse(run=samples.closed_run())

    golden("run_show_failed", stage.call("run", "show", RUN_ID).stdout)


def test_the_end_of_a_failed_run(stage: Stage, golden: Callable[[str, str], None]) -> None:
    ended = samples.outcome(RunState.RUN_STATE_FAILED)
    stage.answers["WaitRuns"] = [runs.WaitRunsResponse(outcomes=[ended])]

    result = stage.call("run", "wait", RUN_ID)

    assert result.exit_code == 1
    golden("run_wait_failed", result.stdout)


def test_a_review(stage: Stage, golden: Callable[[str, str], None]) -> None:
    stage.answers["GetGate"] = gates.GetGateResponse(gate=samples.review_gate())

    golden("gate_show_review", stage.call("gate", "show", RUN_ID, "mend").stdout)


@pytest.mark.parametrize("name", ["run_history", "run_list"])
def test_wide_terminals_show_more(stage: Stage, golden: Callable[[str, str], None], name: str) -> None:
    fill(stage)

    golden(f"{name}_wide", stage.call(*CASES[name], columns=140).stdout)


@pytest.mark.parametrize("noun", ["workflow", "run", "gate", "queue", "worker"])
def test_empty_lists_say_why_and_what_to_type(stage: Stage, golden: Callable[[str, str], None], noun: str) -> None:
    result = stage.call(noun, "list")

    assert (result.exit_code, result.stdout) == (0, "")
    golden(f"{noun}_list_empty", result.stderr.replace(stage.target, "localhost:7411"))
