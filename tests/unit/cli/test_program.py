"""The program as a whole: what it loads, what it lacks, how it is interrupted."""

import os
import signal
import subprocess
import sys
from importlib.metadata import EntryPoint, version
from pathlib import Path
from typing import Any

import pytest
import typer

from holdfast.cli import command, plugins
from holdfast.cli.app import build_app
from holdfast.cli.context import Cli
from holdfast.v1 import run_service_pb2 as runs
from tests.unit.cli import samples
from tests.unit.cli.stage import Stage

PROGRAM = [sys.executable, "-m", "holdfast"]
HEAVY = {
    "grpc",
    "google.protobuf",
    "holdfast.client",
    "holdfast.worker",
    "holdfast_server.app",
    "textual",
    "yaml",
}


def test_help_loads_nothing_heavy() -> None:
    program = (
        "import sys\nfrom holdfast.cli import main\nsys.argv = ['holdfast', 'run', 'start', '--help']\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\nprint('LOADED', *sys.modules)"
    )

    result = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)

    assert "Usage: " in result.stdout
    assert HEAVY & set(result.stdout.partition("LOADED")[2].split()) == set()


def test_it_is_a_module_too() -> None:
    result = subprocess.run([*PROGRAM, "--version"], check=True, capture_output=True, text=True)

    assert result.stdout.strip() == version("holdfast")


def test_without_a_command_it_shows_its_help(stage: Stage) -> None:
    for arguments in ((), ("run",), ("gate",)):
        result = stage.call(*arguments)
        assert (result.exit_code, "Usage: " in result.stdout) == (0, True)


@pytest.mark.parametrize("module", ["typer", "rich"])
def test_without_its_extra_it_says_what_to_install(module: str) -> None:
    program = f"import sys\nsys.modules[{module!r}] = None\nfrom holdfast.cli import main\nmain()"

    result = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True, text=True)

    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == f"error: the command line needs {module}\n  next: pip install 'holdfast[cli]'\n"


@pytest.mark.parametrize("command_name", sorted(plugins.HOMES))
def test_a_distribution_that_is_not_there_is_named(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, command_name: str
) -> None:
    monkeypatch.setattr(plugins, "entry_points", lambda **_: [])

    result = stage.call(command_name, "--whatever", "x")

    home = plugins.HOMES[command_name]
    assert result.exit_code == 2
    assert result.stderr == (
        f"error: `holdfast {command_name}` comes with {home}, which is not installed\n  next: pip install {home}\n"
    )
    assert f"needs {home}" in " ".join(stage.call("--help").stdout.replace("│", " ").split())


def test_a_distribution_that_is_broken_takes_nothing_with_it(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = EntryPoint("server", "no_such_module:commands", plugins.GROUP)
    monkeypatch.setattr(plugins, "entry_points", lambda **_: [broken])

    assert stage.call("run", "list").exit_code == 0
    assert "comes with holdfast-server" in stage.call("server").stderr


def test_other_distributions_add_commands_that_take_the_shared_options(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[Any] = []

    def add(app: typer.Typer) -> None:
        @command(app, "greet")
        def greet(cli: Cli, name: str) -> int:
            """Greet somebody."""
            said.append((cli.settings.namespace, name))
            return 7

    class Point:
        name, dist = "greetings", None

        def load(self) -> Any:
            return add

    monkeypatch.setattr(plugins, "entry_points", lambda **_: [Point()])

    assert stage.call("greet", "ada", "-n", "team").exit_code == 7
    assert said == [("team", "ada")]


def test_a_fault_of_ours_is_not_hidden(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("holdfast.cli.render.runs.run_list", lambda *_: 1 / 0)
    stage.answers["ListRuns"] = runs.ListRunsResponse(runs=[samples.summary()])

    with pytest.raises(ZeroDivisionError):
        stage.call("run", "list")


def test_ctrl_c_ends_a_wait_cleanly(stage: Stage) -> None:
    environment = {**os.environ, "HOLDFAST_TARGET": stage.target}
    with subprocess.Popen(
        [*PROGRAM, "run", "wait", "r-1"], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as waiting:
        stage.asked("WaitRuns")
        waiting.send_signal(signal.SIGINT)
        stdout, stderr = waiting.communicate(timeout=20)

    assert (waiting.returncode, stdout, stderr) == (130, "", "")


def test_ctrl_c_ends_a_watch_and_says_that_the_run_goes_on(stage: Stage) -> None:
    def watched(request: Any) -> Any:
        stage.asked("GetRun", times=1_000)
        yield from ()

    stage.answers["WatchRun"] = watched
    environment = {**os.environ, "HOLDFAST_TARGET": stage.target}
    with subprocess.Popen(
        [*PROGRAM, "run", "watch", "r-1"], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as watching:
        stage.asked("WatchRun")
        watching.send_signal(signal.SIGINT)
        _, stderr = watching.communicate(timeout=20)

    assert watching.returncode == 130
    assert stderr == "no longer watching; the run goes on: holdfast run watch r-1\n"


def test_a_reader_that_has_enough_is_no_crash(stage: Stage) -> None:
    summaries = [samples.summary(run_id=f"run-{number}") for number in range(900)]
    stage.answers["ListRuns"] = runs.ListRunsResponse(runs=summaries)
    environment = {**os.environ, "HOLDFAST_TARGET": stage.target}
    with subprocess.Popen(
        [*PROGRAM, "run", "list", "--limit", "0"], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as listing:
        assert listing.stdout is not None
        assert listing.stderr is not None
        listing.stdout.readline()
        listing.stdout.close()
        stderr = listing.stderr.read()

    assert stderr == b""


def test_a_terminal_without_our_characters_is_no_crash(stage: Stage) -> None:
    stage.answers["GetRun"] = runs.GetRunResponse(run=samples.run())
    environment = {**os.environ, "HOLDFAST_TARGET": stage.target, "PYTHONIOENCODING": "ascii"}

    result = subprocess.run(
        [*PROGRAM, "run", "show", "r-1"], env=environment, check=False, capture_output=True, text=True
    )

    assert (result.returncode, result.stderr) == (0, "")
    assert "\\u2714 plan" in result.stdout


def test_the_options_of_every_command_are_on_every_command() -> None:
    def commands(app: typer.Typer) -> Any:
        for group in app.registered_groups:
            yield from group.typer_instance.registered_commands if group.typer_instance else ()

    found = list(commands(build_app()))
    assert len(found) > 20
    for one in found:
        names = set(one.callback.__annotations__)
        assert names >= {"target", "namespace", "actor", "output", "no_color"}, one.name


def test_nothing_here_is_written_to_the_folder_it_runs_in(stage: Stage, tmp_path: Path) -> None:
    environment = {**os.environ, "HOLDFAST_TARGET": stage.target}

    subprocess.run([*PROGRAM, "run", "list"], env=environment, cwd=tmp_path, check=True, capture_output=True)

    assert list(tmp_path.iterdir()) == []
