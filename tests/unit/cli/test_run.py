"""`holdfast run`: what is sent, what is printed, how it ends."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from google.protobuf.json_format import MessageToDict

from holdfast.v1 import run_service_pb2 as runs
from holdfast.v1.history_pb2 import HistoryEvent
from holdfast.v1.run_pb2 import Run, RunState, WaitingReason
from tests.unit.cli import samples
from tests.unit.cli.samples import RUN_ID
from tests.unit.cli.stage import NOW, Refusal, Stage
from tests.unit.cli.test_golden import fill


def test_start_says_everything_it_was_told(stage: Stage, tmp_path: Path) -> None:
    fill(stage)
    (tmp_path / "in.json").write_text('{"big": 9007199254740993}')

    line = f"""run start report --input @{tmp_path}/in.json --key k1 --run-id r1 --on-conflict use-existing --version 2
      --attribute team=north -a n=3 --after 10m --timeout 24h --signal go --signal more=[1] --request-id once"""
    result = stage.call(*line.split())

    start = stage.got("StartRuns").starts[0]
    assert result.exit_code == 0
    assert (start.workflow, start.version, start.key, start.run_id) == ("report", 2, "k1", "r1")
    assert start.input.data == b'{"big": 9007199254740993}'
    assert start.on_conflict == runs.OnConflict.ON_CONFLICT_USE_EXISTING
    assert {name: value.json for name, value in start.attributes.items()} == {"team": '"north"', "n": "3"}
    assert start.start_after_time.ToDatetime(UTC) == NOW + timedelta(minutes=10)
    assert start.timeout.ToTimedelta() == timedelta(hours=24)
    assert [(signal.name, signal.payload.data) for signal in start.signals] == [("go", b""), ("more", b"[1]")]
    assert start.request_id == "once"


def test_start_reads_its_input_from_standard_input(stage: Stage) -> None:
    fill(stage)
    stage_input = b'{"from": "a pipe"}'

    stage.call("run", "start", "report", "-i", "-", input=stage_input)

    assert stage.got("StartRuns").starts[0].input.data == stage_input


def test_start_for_programs(stage: Stage) -> None:
    fill(stage)

    assert json.loads(stage.call("run", "start", "report", "-o", "json").stdout) == {
        "run_id": RUN_ID,
        "workflow": "report",
        "version": 3,
        "namespace": "default",
        "started": True,
    }


def test_a_run_that_was_there_is_told_apart(stage: Stage) -> None:
    accepted = {"run_id": RUN_ID, "started": False, "version": 3}
    stage.answers["StartRuns"] = runs.StartRunsResponse(results=[{"accepted": accepted}])  # type: ignore[list-item]

    assert stage.call("run", "start", "report").stdout.startswith(f"there already  {RUN_ID}")


def test_start_and_wait_ends_as_the_run_does(stage: Stage) -> None:
    fill(stage)

    result = stage.call("run", "start", "report", "--wait", "-o", "json")
    assert result.exit_code == 0
    assert json.loads(result.stdout)["output"] == {"pages": 3}

    failed = samples.outcome(RunState.RUN_STATE_FAILED)
    stage.answers["WaitRuns"] = [runs.WaitRunsResponse(outcomes=[failed])]
    result = stage.call("run", "start", "report", "--wait")
    assert result.exit_code == 1
    assert "RateLimited: the provider asks to slow down" in result.stdout


def test_start_and_watch(stage: Stage) -> None:
    fill(stage)

    result = stage.call("run", "start", "report", "--watch")

    assert result.exit_code == 0
    assert "RunSucceeded" in result.stdout


@pytest.mark.parametrize("state", ["FAILED", "CANCELED", "TERMINATED", "TIMED_OUT"])
def test_wait_is_0_only_for_succeeded(stage: Stage, state: str) -> None:
    ended = samples.outcome(RunState.Value(f"RUN_STATE_{state}"))
    stage.answers["WaitRuns"] = [runs.WaitRunsResponse(outcomes=[ended])]

    result = stage.call("run", "wait", RUN_ID)

    assert (result.exit_code, state in result.stdout) == (1, True)


def test_wait_gives_up_when_its_time_is_over(stage: Stage) -> None:
    result = stage.call("run", "wait", RUN_ID, "--timeout", "50ms")

    assert result.exit_code == 5
    assert f"error: run {RUN_ID} is still open after 0.05 s" in result.stderr
    assert f"holdfast run wait {RUN_ID}" in result.stderr


def test_show_says_which_worker_a_run_lacks(stage: Stage) -> None:
    lonely = samples.run()
    del lonely.waiting_on[0]
    next(one for one in lonely.activations if one.path == "fetch").queue = "tools"
    stage.answers["GetRun"] = runs.GetRunResponse(run=lonely)
    stage.typed = []

    assert "  next: holdfast worker MODULE --queue tools" in stage.call("run", "show", RUN_ID).stderr


def test_list_filters(stage: Stage) -> None:
    line = "run list --state running --state FAILED --workflow w --key k --waiting gate --since 2h --before 2026-11-23"
    stage.call(*line.split())

    asked = stage.got("ListRuns").filter
    assert list(asked.states) == [RunState.RUN_STATE_RUNNING, RunState.RUN_STATE_FAILED]
    assert (asked.workflow, asked.key) == ("w", "k")
    assert list(asked.waiting_reasons) == [WaitingReason.WAITING_REASON_GATE]
    assert asked.start_after_time.ToDatetime(UTC) == NOW - timedelta(hours=2)
    assert asked.start_before_time.ToDatetime(UTC) == datetime(2026, 11, 23, tzinfo=UTC)


def test_list_is_never_cut_without_a_word(stage: Stage) -> None:
    stage.answers["ListRuns"] = lambda request: runs.ListRunsResponse(
        runs=[samples.summary(run_id=f"r-{i}") for i in range(request.page_size)], next_page_token="more"
    )

    result = stage.call("run", "list", "--limit", "3", "-o", "json")
    assert [run["run_id"] for run in json.loads(result.stdout)] == ["r-0", "r-1", "r-2"]
    assert "these are the latest 3; there are more: --limit 0 shows all" in result.stderr


def test_list_that_is_not_cut_says_nothing(stage: Stage) -> None:
    stage.answers["ListRuns"] = runs.ListRunsResponse(runs=[samples.summary()])

    assert stage.call("run", "list", "--limit", "1").stderr == ""


def test_a_filter_without_matches_says_so(stage: Stage) -> None:
    assert "no run matches" in stage.call("run", "list", "--state", "FAILED").stderr


def test_an_empty_list_is_an_empty_document_for_programs(stage: Stage) -> None:
    result = stage.call("run", "list", "-o", "json")

    assert (json.loads(result.stdout), result.stderr) == ([], "")


def test_show_for_programs(stage: Stage) -> None:
    fill(stage)

    shown = json.loads(stage.call("run", "show", RUN_ID, "-o", "json").stdout)

    assert shown["input"]["big"] == 2**60
    assert shown["summary"]["attributes"] == {"team": "north", "size": 3}
    assert [one["state"] for one in shown["activations"][:2]] == ["SUCCEEDED", "BACKING_OFF"]


def test_long_payloads_are_cut_with_a_count_unless_all_is_wanted(stage: Stage) -> None:
    run = Run(summary=samples.summary(), input=samples.payload(list(range(1_000))))
    stage.answers["GetRun"] = runs.GetRunResponse(run=run)

    assert "… 982 more lines; all of it: --full" in stage.call("run", "show", RUN_ID).stdout
    assert "999" in stage.call("run", "show", RUN_ID, "--full").stdout


def test_a_step_that_is_not_there_is_told_with_those_that_are(stage: Stage) -> None:
    fill(stage)

    result = stage.call("run", "show", RUN_ID, "--step", "nope")

    assert result.exit_code == 1
    assert "it has: plan, search" in result.stderr


def test_history_for_programs_has_all_events_in_full(stage: Stage) -> None:
    fill(stage)

    events = json.loads(stage.call("run", "history", RUN_ID, "-o", "json").stdout)

    assert stage.got("GetHistory").payload_view == runs.PayloadView.PAYLOAD_VIEW_FULL
    assert [event["seq"] for event in events] == list(range(1, len(samples.history()) + 1))
    assert events[-1]["type"] == "RunSucceeded"
    assert events[-1]["body"]["output"] == {"pages": 3}


def test_every_event_of_the_contract_can_be_read(stage: Stage) -> None:
    bodies = list(HistoryEvent.DESCRIPTOR.oneofs_by_name["body"].fields)
    events = []
    for seq, field in enumerate(bodies, 1):
        event = HistoryEvent(seq=seq, time=samples.at(seq))
        getattr(event, field.name).SetInParent()
        events.append(event)
    stage.answers["GetHistory"] = runs.GetHistoryResponse(events=[*events, HistoryEvent(seq=99)])

    shown = stage.call("run", "history", RUN_ID).stdout

    names = {field.message_type.name for field in bodies if field.message_type is not None}
    assert len(names) == len(bodies)
    assert {name for name in names if name not in shown} == set()
    assert "an event that this version does not know" in " ".join(shown.split())


@pytest.mark.parametrize(("arguments", "field"), [(("progress",), "name"), (("-e", "1 + 1"), "expression")])
def test_query_prints_json_in_both_forms(stage: Stage, arguments: tuple[str, ...], field: str) -> None:
    fill(stage)

    for output in ("table", "json"):
        result = stage.call("run", "query", RUN_ID, *arguments, "-o", output)
        assert json.loads(result.stdout) == {"done": 3}
    assert stage.got("QueryRun").WhichOneof("query") == field


@pytest.mark.parametrize(
    ("verb", "option", "field"),
    [
        ("pause", "--note", "note"),
        ("resume", "--reason", "note"),
        ("cancel", "--reason", "reason"),
        ("terminate", "--note", "reason"),
        ("retry", "--note", "note"),
    ],
)
def test_changes_carry_why_and_show_the_run_afterwards(stage: Stage, verb: str, option: str, field: str) -> None:
    fill(stage)

    result = stage.call("run", verb, RUN_ID, option, "because", "-o", "json")

    asked = stage.got(f"{verb.capitalize()}Run")
    assert (asked.run_id, getattr(asked, field), bool(asked.request_id)) == (RUN_ID, "because", True)
    assert json.loads(result.stdout)["run_id"] == RUN_ID


def test_delete_tells_what_is_gone_and_when(stage: Stage) -> None:
    fill(stage)

    assert stage.call("run", "delete", RUN_ID).stdout == f"deleted  {RUN_ID} with its history\n"
    told = json.loads(stage.call("run", "delete", RUN_ID, "-o", "json").stdout)

    assert told == {"run_id": RUN_ID, "delete_time": samples.at(60).ToJsonString()}
    assert (stage.got("DeleteRun").run_id, bool(stage.got("DeleteRun").request_id)) == (RUN_ID, True)


@pytest.mark.parametrize(
    ("arguments", "action", "sent"),
    [
        (("retry",), "retry", {}),
        (("skip", "--payload", "[1, 2]"), "skip", {"output": {"data": "WzEsIDJd"}}),
        (("skip", "-p", "null"), "skip", {}),
        (
            ("fail", "-m", "it is down", "--type", "Provider.Down"),
            "fail",
            {"type": "Provider.Down", "message": "it is down"},
        ),
        (("fail",), "fail", {}),
    ],
)
def test_actions_on_steps_carry_what_and_why_and_show_the_step_afterwards(
    stage: Stage, arguments: tuple[str, ...], action: str, sent: dict[str, object]
) -> None:
    fill(stage)
    verb, *rest = arguments

    result = stage.call("step", verb, RUN_ID, "search", *rest, "--note", "because", "-o", "json")

    asked = stage.got("StepAction")
    assert (asked.run_id, asked.step_path, asked.note, bool(asked.request_id)) == (RUN_ID, "search", "because", True)
    assert asked.WhichOneof("action") == action
    assert MessageToDict(getattr(asked, action)) == sent
    shown = json.loads(result.stdout)
    assert (shown["path"], shown["state"], shown["output"]) == ("search", "SUCCEEDED", [])


def test_a_step_that_cannot_be_acted_on_is_told_with_what_to_type_next(stage: Stage) -> None:
    stage.answers["StepAction"] = Refusal("STEP_NOT_FOUND")

    result = stage.call("step", "skip", "r-1", "nope")

    assert result.exit_code == 1
    assert "next: see its steps: holdfast run show r-1" in result.stderr


def test_signal_carries_its_payload(stage: Stage) -> None:
    fill(stage)

    result = stage.call("run", "signal", RUN_ID, "more", "-p", "[1, 2]", "--request-id", "once", "-o", "json")

    sent = stage.got("SignalRuns").signals[0]
    assert (sent.signal.name, sent.signal.payload.data, sent.request_id) == ("more", b"[1, 2]", "once")
    assert json.loads(result.stdout) == {"run_id": RUN_ID, "signal": "more", "seq": 12}


def test_a_refused_item_of_a_batch_is_an_error_like_any(stage: Stage) -> None:
    stage.answers["StartRuns"] = Refusal("INTERNAL")
    item = {"code": 5, "reason": 1, "message": "there is no workflow 'x'"}
    stage.answers["StartRuns"] = runs.StartRunsResponse(results=[{"error": item}])  # type: ignore[list-item]

    result = stage.call("run", "start", "x")

    assert result.exit_code == 3
    assert result.stderr.startswith("error: there is no workflow 'x' (WORKFLOW_NOT_FOUND)")
