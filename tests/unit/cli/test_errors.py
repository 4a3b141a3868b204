"""Every way a command can fail: one line, where exactly, what to type next, and an exit code for scripts."""

import re

import grpc
import pytest

from holdfast.cli.hints import HINTS, hint
from holdfast.v1.errors_pb2 import ErrorReason
from tests.unit.cli.stage import Refusal, Stage

REASONS = [name.removeprefix("ERROR_REASON_") for name in ErrorReason.keys()[1:]]
FACTS = {
    "run": "r-1",
    "step": "review",
    "workflow": "report",
    "key": "k",
    "target": "host:1",
    "command": "holdfast run",
}


@pytest.mark.parametrize("reason", REASONS)
def test_every_reason_has_a_hint(reason: str) -> None:
    assert hint(reason, FACTS)
    assert "{" not in hint(reason, FACTS)
    assert "{" not in hint(reason, {})


def test_hints_are_for_reasons_that_exist() -> None:
    ours = {"UNAVAILABLE", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED", "UNIMPLEMENTED", "WAIT"}

    assert set(HINTS) == set(REASONS) | ours


@pytest.mark.parametrize("reason", sorted(HINTS))
def test_the_commands_in_hints_exist(stage: Stage, reason: str) -> None:
    for words in re.findall(r"holdfast((?: [a-z]+)+)", hint(reason, FACTS)):
        result = stage.call(*words.split()[:2], "--help")

        assert (result.exit_code, "Usage: " in result.stdout) == (0, True), words


def test_facts_are_quoted_for_the_shell_and_scrubbed() -> None:
    text = hint("RUN_CLOSED", {"run": "a b; rm -rf ~\x1b[2J"})

    assert "holdfast run show 'a b; rm -rf ~\\x1b[2J'" in text


def test_what_nobody_knows_is_a_placeholder() -> None:
    assert hint("INPUT_SCHEMA", {}).endswith("holdfast workflow show WORKFLOW")
    assert hint("GATE_RESOLVED", {"run": "r-1"}).endswith("holdfast gate show r-1")


@pytest.mark.parametrize(
    ("code", "exit_code"),
    [
        (grpc.StatusCode.NOT_FOUND, 3),
        (grpc.StatusCode.FAILED_PRECONDITION, 1),
        (grpc.StatusCode.INVALID_ARGUMENT, 1),
        (grpc.StatusCode.PERMISSION_DENIED, 1),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, 1),
        (grpc.StatusCode.INTERNAL, 1),
        (grpc.StatusCode.DEADLINE_EXCEEDED, 4),
    ],
)
def test_the_exit_code_tells_what_sort_of_failure(stage: Stage, code: grpc.StatusCode, exit_code: int) -> None:
    stage.answers["ListRuns"] = Refusal("INTERNAL", code)

    result = stage.call("run", "list")

    assert (result.exit_code, result.stdout) == (exit_code, "")


def test_a_refusal_is_one_line_its_violations_and_a_hint(stage: Stage) -> None:
    stage.answers["PauseRun"] = Refusal(
        "RUN_CLOSED",
        message="run 'r-1' is closed\nand more",
        violations={"note": "too long", "run_id": "run 'r-1' is closed"},
        metadata={"detail": "it ended yesterday"},
    )

    result = stage.call("run", "pause", "r-1")

    assert result.stderr.splitlines() == [
        "error: run 'r-1' is closed\\nand more (RUN_CLOSED)",
        "  note: too long",
        "  it ended yesterday",
        "  next: see how it ended: holdfast run show r-1; if it did not succeed, let it go on: holdfast run retry r-1",
    ]


def test_facts_of_the_error_fill_the_hint(stage: Stage) -> None:
    metadata = {"run_id": "r-9", "key": "order-1"}
    stage.answers["StartRuns"] = Refusal("KEY_IN_USE", grpc.StatusCode.ALREADY_EXISTS, metadata=metadata)

    result = stage.call("run", "start", "report", "--key", "order-1")

    assert "holdfast run list --workflow report --key order-1" in result.stderr


def test_an_unreachable_server_is_told_at_once_with_its_target(stage: Stage) -> None:
    result = stage.call("--target", "127.0.0.1:1", "run", "list")

    assert result.exit_code == 4
    assert result.stderr.splitlines()[0] == "error: no server answers at 127.0.0.1:1"
    assert "start one with: holdfast server" in result.stderr


def test_a_server_that_is_no_holdfast_server(stage: Stage) -> None:
    stage.answers["ListRuns"] = Refusal("", grpc.StatusCode.UNIMPLEMENTED, message="unknown service")

    result = stage.call("run", "list")

    assert result.exit_code == 1
    assert "error: unknown service (UNIMPLEMENTED)" in result.stderr
    assert f"the server at {stage.target} is older" in result.stderr


def test_json_output_keeps_errors_on_stderr(stage: Stage) -> None:
    stage.answers["GetRun"] = Refusal("RUN_NOT_FOUND", grpc.StatusCode.NOT_FOUND)

    result = stage.call("run", "show", "r-1", "-o", "json")

    assert (result.exit_code, result.stdout) == (3, "")
    assert result.stderr.startswith("error: ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("run", "start"), "missing argument 'WORKFLOW'"),
        (("run", "strat"), "no such command 'strat'. Did you mean 'start'?"),
        (("run", "list", "--stat", "x"), "no such option"),
        (("run", "start", "w", "--input", "{"), "--input: not JSON"),
        (("run", "start", "w", "--on-conflict", "maybe"), "--on-conflict 'maybe': is none of FAIL, USE_EXISTING"),
        (("run", "start", "w", "--after", "soon"), "--after 'soon': no time"),
        (("run", "start", "w", "--attribute", "x"), "--attribute 'x': write NAME=VALUE"),
        (("run", "list", "--state", "HAPPY"), "--state: 'HAPPY' is none of RUNNING"),
        (("run", "list", "--waiting", "HAPPY"), "--waiting: 'HAPPY' is none of START_TIME"),
        (("run", "list", "--limit", "-1"), "--limit"),
        (("run", "query", "r"), "give either the NAME of a query or --expression"),
        (("run", "query", "r", "q", "-e", "input"), "give either the NAME of a query or --expression"),
        (("gate", "respond", "r"), "an answer needs --payload"),
        (("gate", "decide", "MAYBE", "r"), "DECISION 'MAYBE': is none of APPROVE"),
        (("gate", "decide", "DELEGATE", "r"), "DELEGATE needs --to NAME"),
        (("gate", "decide", "FAIL", "r", "--to", "bob"), "DELEGATE needs --to NAME"),
        (("workflow", "register", "none.yaml"), "none.yaml: cannot be read: No such file"),
        (("worker", "run", "m", "--grace", "x"), "--grace 'x': no duration"),
        (("workflow", "register", "."), "name the files in it, as ./*.yaml"),
        (("--output", "xml", "run", "list"), "invalid value for '--output' / '-o': 'xml' is not one of"),
    ],
)
def test_errors_of_usage_send_nothing(stage: Stage, arguments: tuple[str, ...], message: str) -> None:
    result = stage.call(*arguments)

    assert result.exit_code == 2
    assert result.stderr.startswith("error: ")
    assert message in result.stderr
    assert stage.requests == {}
