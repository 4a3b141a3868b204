"""`holdfast worker MODULE` runs a worker; `holdfast worker list` lists them."""

import logging
from pathlib import Path
from typing import Any

import pytest

from holdfast.cli.worker import log_to_stderr
from holdfast.errors import WorkerError
from holdfast.worker import module
from tests.unit.cli.stage import Stage


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the worker was asked to serve, in place of serving it."""
    asked: dict[str, Any] = {}

    def run_module(modules: list[str], **options: Any) -> None:
        if "missing" in modules:
            raise WorkerError("no module 'missing'")
        asked.update(modules=modules, **options)

    monkeypatch.setattr(module, "run_module", run_module)
    monkeypatch.setattr("holdfast.cli.worker.log_to_stderr", lambda: None)
    return asked


@pytest.mark.parametrize(
    "line",
    [
        "worker my.handlers other.py --slots 5 -n team",
        "worker run my.handlers other.py --slots 5 -n team",
        "worker --slots 5 my.handlers other.py -n team",
        "worker -n team my.handlers other.py --slots 5",
        "-n team worker --slots=5 my.handlers other.py",
    ],
)
def test_the_word_run_may_be_left_out(stage: Stage, served: dict[str, Any], line: str) -> None:
    assert stage.call(*line.split()).exit_code == 0
    assert (served["modules"], served["slots"], served["namespace"]) == (["my.handlers", "other.py"], 5, "team")


def test_everything_reaches_the_worker(stage: Stage, served: dict[str, Any]) -> None:
    line = "worker m --queue tools --id w-1 --build-id 42 --grace 5s --register --actor eve --target host:1"
    stage.call(*line.split())

    assert served == {
        "modules": ["m"],
        "target": "host:1",
        "namespace": "default",
        "actor": "eve",
        "register": True,
        "queue": "tools",
        "slots": 50,
        "worker_id": "w-1",
        "build_id": "42",
        "grace_s": 5.0,
    }


def test_a_module_of_that_name_can_still_be_run(stage: Stage, served: dict[str, Any]) -> None:
    stage.call("worker", "run", "list")

    assert served["modules"] == ["list"]


def test_a_worker_that_cannot_work_is_a_usage_error(stage: Stage, served: dict[str, Any]) -> None:
    result = stage.call("worker", "missing")

    assert result.exit_code == 2
    assert result.stderr == "error: no module 'missing'\n  next: see what it takes: holdfast worker run --help\n"


@pytest.mark.parametrize(
    ("source", "what", "where"),
    [
        ("import there_is_none\n", "ModuleNotFoundError: No module named 'there_is_none'", "line 1, in <module>"),
        ("x = 1\ny = = 2\n", "SyntaxError: invalid syntax", "line 2"),
        ("def f():\n    return 1 / 0\nf()\n", "ZeroDivisionError: division by zero", "line 2, in f"),
    ],
)
def test_a_module_that_cannot_be_imported_shows_where_in_it(
    stage: Stage, tmp_path: Path, source: str, what: str, where: str
) -> None:
    (tmp_path / "mine.py").write_text(source)

    result = stage.call("worker", str(tmp_path / "mine.py"))

    first, *rest, last = result.stderr.splitlines()
    assert result.exit_code == 2
    assert first.startswith(f"error: {tmp_path / 'mine.py'} cannot be imported: {what}")
    assert any(where in line for line in rest)
    assert "holdfast" not in "".join(rest)
    assert last == "  next: mend it, then start the worker again"


def test_a_handler_that_is_none_is_a_usage_error(stage: Stage, tmp_path: Path) -> None:
    (tmp_path / "odd.py").write_text("from holdfast import handler\n@handler\ndef odd(a, b): ...\n")

    result = stage.call("worker", str(tmp_path / "odd.py"))

    first, last = result.stderr.splitlines()
    assert result.exit_code == 2
    assert first.startswith("error: odd takes two inputs")
    assert last == "  next: mend it, then start the worker again"


@pytest.mark.parametrize("arguments", [("worker",), ("worker", "--help"), ("worker", "-n", "team", "--help")])
def test_help_of_the_group_names_both(stage: Stage, arguments: tuple[str, ...]) -> None:
    result = stage.call(*arguments)

    assert result.exit_code == 0
    assert "holdfast worker MODULE" in " ".join(result.stdout.replace("│", " ").split())
    assert "list" in result.stdout


def test_help_of_running_one_is_reached_without_run(stage: Stage) -> None:
    assert "--slots" in stage.call("worker", "run", "--help").stdout


def test_what_a_worker_logs_drives_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    kept, root.handlers = root.handlers, []
    try:
        log_to_stderr()
        logging.getLogger("holdfast.worker").warning("the provider says \x1b[2J no\nand more")
    finally:
        root.handlers = kept

    logged = capsys.readouterr().err
    assert "the provider says \\x1b[2J no\nand more" in logged
    assert "WARNING holdfast.worker:" in logged
