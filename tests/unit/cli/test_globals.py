"""The options every command takes, wherever they stand."""

import json

import pytest

from holdfast.cli.settings import Settings
from tests.unit.cli.stage import Refusal, Stage


@pytest.mark.parametrize(
    "line",
    [
        "--namespace team --actor eve run list",
        "run --namespace team --actor eve list",
        "run list --namespace team --actor eve",
        "-n team run list --actor eve",
        "-n other --actor bob run list -n team --actor eve",
        "run -n other list --namespace=team --actor=eve",
    ],
)
def test_they_count_anywhere_and_the_innermost_wins(stage: Stage, line: str) -> None:
    assert stage.call(*line.split()).exit_code == 0
    assert (stage.got("ListRuns").namespace, stage.metadata["holdfast-actor"]) == ("team", "eve")


@pytest.mark.parametrize(
    "line",
    ["worker -n team list", "-n team worker list", "worker list -n team", "worker --no-color --namespace=team list"],
)
def test_also_in_front_of_the_commands_of_worker(stage: Stage, line: str) -> None:
    assert stage.call(*line.split()).exit_code == 0
    assert stage.got("ListWorkers").namespace == "team"


@pytest.mark.parametrize("line", ["-o json run list", "run -o json list", "run list --output json"])
def test_json_anywhere(stage: Stage, line: str) -> None:
    assert json.loads(stage.call(*line.split()).stdout) == []


def test_the_environment_says_what_the_line_does_not(stage: Stage) -> None:
    stage.call("run", "list", HOLDFAST_NAMESPACE="team", HOLDFAST_ACTOR="eve")
    assert (stage.got("ListRuns").namespace, stage.metadata["holdfast-actor"]) == ("team", "eve")

    stage.call("run", "list", "-n", "mine", "--actor", "me", HOLDFAST_NAMESPACE="team", HOLDFAST_ACTOR="eve")
    assert (stage.got("ListRuns").namespace, stage.metadata["holdfast-actor"]) == ("mine", "me")


def test_without_anything_it_is_the_default_namespace(stage: Stage) -> None:
    stage.call("run", "list")

    assert stage.got("ListRuns").namespace == "default"


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("host", "host:7411"),
        ("host:80", "host:80"),
        ("unix:/tmp/holdfast.sock", "unix:/tmp/holdfast.sock"),
        ("", "localhost:7411"),
    ],
)
def test_a_target_without_a_port_means_ours(said: str, meant: str) -> None:
    assert Settings.of({}, {"HOLDFAST_TARGET": said}).target == meant


def test_colours_only_where_they_are_wanted(stage: Stage) -> None:
    coloured = stage.call("run", "wait", FORCE_COLOR="1")
    assert "\x1b[" not in coloured.stdout

    assert "\x1b[" in stage.call("--target", "127.0.0.1:1", "run", "list", FORCE_COLOR="1").stderr
    plain = stage.call("--target", "127.0.0.1:1", "run", "list", "--no-color", FORCE_COLOR="1").stderr
    assert "\x1b[31m" not in plain
    assert "\x1b[31m" not in stage.call("--target", "127.0.0.1:1", "run", "list", FORCE_COLOR="1", NO_COLOR="1").stderr


def test_without_a_terminal_nothing_is_cut(stage: Stage) -> None:
    stage.answers["ListRuns"] = Refusal("INTERNAL", message="word " * 100)

    result = stage.call("run", "list", columns=None)

    assert len(result.stderr.splitlines()[0]) > 500
