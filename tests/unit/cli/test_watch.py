"""`holdfast run watch`: JSON lines, log lines, or a live tree, whatever reads it."""

import json
from collections.abc import Iterator
from typing import Any

from holdfast.v1 import run_service_pb2 as runs
from holdfast.v1.run_pb2 import Run, RunState, RunSummary
from tests.unit.cli import samples
from tests.unit.cli.samples import RUN_ID
from tests.unit.cli.stage import Stage
from tests.unit.cli.test_golden import fill


def test_programs_get_a_line_of_json_for_each_event(stage: Stage) -> None:
    fill(stage)

    result = stage.call("run", "watch", RUN_ID, "-o", "json")

    events = [json.loads(line) for line in result.stdout.splitlines()]
    assert result.exit_code == 0
    assert [event["seq"] for event in events] == [event.seq for event in samples.history()]
    assert stage.got("WatchRun").payload_view in (
        runs.PayloadView.PAYLOAD_VIEW_UNSPECIFIED,
        runs.PayloadView.PAYLOAD_VIEW_FULL,
    )


def test_programs_learn_of_a_failure_by_the_exit_code(stage: Stage) -> None:
    fill(stage)
    stage.answers["WaitRuns"] = [runs.WaitRunsResponse(outcomes=[samples.outcome(RunState.RUN_STATE_FAILED)])]

    assert stage.call("run", "watch", RUN_ID, "-o", "json").exit_code == 1


def test_when_nothing_happens_lines_say_what_it_waits_for_once(stage: Stage) -> None:
    fill(stage)
    events = samples.history()

    def answer(request: Any) -> Iterator[Any]:
        yield runs.WatchRunResponse(events=events[:2])
        stage.asked("GetRun", times=3)
        yield runs.WatchRunResponse(events=events[2:])

    stage.answers["WatchRun"] = answer

    lines = stage.call("run", "watch", RUN_ID).stdout.splitlines()

    assert [line for line in lines if "waiting" in line] == [
        "waiting  GATE  review: people decide: Publish the report?",
        "waiting  NO_WORKER  fetch: no worker serves handler 'fetch' on queue 'tools'",
    ]
    assert "StepQueued" in lines[1]
    assert "waiting" in lines[2]
    assert "RunSucceeded" in lines[len(events) + 1]


def test_at_a_terminal_it_is_a_tree_that_ends_with_the_output(stage: Stage) -> None:
    fill(stage)
    closed = samples.run()
    closed.summary.state = RunState.RUN_STATE_SUCCEEDED
    del closed.waiting_on[:]

    def watched(request: Any) -> Iterator[Any]:
        yield runs.WatchRunResponse(events=samples.history()[:2])
        stage.asked("GetRun", times=3)
        stage.answers["GetRun"] = runs.GetRunResponse(run=closed)

    stage.answers["WatchRun"] = watched

    result = stage.call("run", "watch", RUN_ID, FORCE_COLOR="1", TERM="xterm")

    assert result.exit_code == 0
    assert "\x1b[?25l" in result.stdout, "the cursor is hidden while it draws"
    assert result.stdout.rstrip().endswith("}")
    last = result.stdout.rpartition("\x1b[?25h")[2]
    assert "SUCCEEDED" in last
    assert "├─ " in last
    assert '"pages": 3' in last


def test_a_tree_that_is_higher_than_the_terminal_counts_the_quiet_steps(stage: Stage) -> None:
    fill(stage)
    run = Run(summary=RunSummary(run_id=RUN_ID, state=RunState.RUN_STATE_RUNNING, start_time=samples.at(-9)))
    for number in range(100):
        run.activations.add(path=f"s{number}", step=f"s{number}", state=7 if number < 60 else 1)
    run.activations.add(path="busy", step="busy", state=3)

    def watched(request: Any) -> Iterator[Any]:
        stage.asked("GetRun", times=3)
        yield from ()

    stage.answers |= {"GetRun": runs.GetRunResponse(run=run), "WatchRun": watched}

    result = stage.call("run", "watch", RUN_ID, FORCE_COLOR="1", TERM="xterm", LINES="20")

    live, _, last = result.stdout.rpartition("\x1b[?25h")
    assert "busy" in live
    assert "60 SUCCEEDED" not in last
    assert "s99" in last
    assert "└─ and " in live
