"""The command line against a real server and a real worker: the main job, and every bad input with its next step."""

import json
import os
import pty
import re
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from holdfast.cli.app import build_app
from holdfast.testing import ServerProcess, WorkerProcess

HANDLERS = """
from holdfast import Failure, TaskContext, handler

@handler
async def plan(ctx: TaskContext, who: str) -> dict:
    return {"queries": [who], "big": 2**60}

@handler
async def flaky(ctx: TaskContext) -> str:
    if ctx.attempt == 1:
        raise Failure("slow down", type="RateLimited")
    return "done"

@handler
async def breaks(ctx: TaskContext) -> str:
    raise Failure("the disk is full", type="DiskFull", retryable=False)
"""
REPORT = """
name: report
input_schema: {type: object, required: [who], properties: {who: {type: string}}}
signals: [{name: more, schema: {type: array}}]
queries: [{name: plan, expression: "steps.plan.output.queries"}, {name: broken, expression: "steps.plan.output + 1"}]
steps:
  - name: plan
    task: {handler: plan}
    input: "${input.who}"
  - name: flaky
    after: [{step: plan}]
    task: {handler: flaky}
    retry: {initial_interval: 10ms}
  - name: review
    after: [{step: flaky}]
    gate:
      title: "Publish for ${input.who}?"
      body: "The draft for ${input.who}"
      action: {name: publish, args: {path: "out/${input.who}.md"}, risk: HIGH}
      decisions: [APPROVE, REJECT, EDIT, RESPOND]
      response_schema: {type: object}
output: "${steps.plan.output}"
"""
WAITING = """
name: waiting
steps:
  - name: go
    wait: {signal: go}
"""
REVIEWED = """
name: reviewed
steps:
  - name: breaks
    task: {handler: breaks}
    on_error: [{match: ["*"], review: {title: "It broke"}}]
output: "${steps.breaks.output}"
"""
LONELY = """
name: lonely
steps:
  - name: fetch
    task: {handler: fetch, queue: nobody}
"""
FILES = {"report": REPORT, "waiting": WAITING, "reviewed": REVIEWED, "lonely": LONELY}
TIMEOUT_S = 30.0


class Line:
    """A command line that talks to one server."""

    def __init__(self, target: str, folder: Path) -> None:
        self.target = target
        self.folder = folder

    def __call__(self, *arguments: str, code: int = 0) -> Result:
        """Run a command and expect an exit code."""
        runner = CliRunner(env={"HOLDFAST_TARGET": self.target, "HOLDFAST_ACTOR": "ada", "COLUMNS": "80"})
        result = runner.invoke(build_app(), arguments, catch_exceptions=False)
        assert result.exit_code == code, f"{arguments}: {result.output}"
        return result

    def json(self, *arguments: str, code: int = 0) -> object:
        """Run a command and return the document it prints."""
        return json.loads(self(*arguments, "--output", "json", code=code).stdout)


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Line]:
    """A command line, with a server, a worker and the definitions registered."""
    folder = tmp_path_factory.mktemp("cli")
    (folder / "cli_handlers.py").write_text(HANDLERS, encoding="utf-8")
    with (
        ServerProcess(folder / "holdfast.db") as server,
        WorkerProcess("cli_handlers", target=server.target, folder=folder),
    ):
        line = Line(server.target, folder)
        for name, text in FILES.items():
            (folder / f"{name}.yaml").write_text(text, encoding="utf-8")
        line("workflow", "register", *(str(folder / f"{name}.yaml") for name in FILES))
        yield line


def waiting_at(line: Line, run_id: str, reason: str) -> None:
    """Wait until a run waits for something: its events come as lines while it happens."""
    command = [sys.executable, "-m", "holdfast", "run", "watch", run_id]
    environment = {**os.environ, "HOLDFAST_TARGET": line.target}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as watching:
        assert watching.stdout is not None
        for text in watching.stdout:
            if f"waiting  {reason}" in text:
                break
        else:
            pytest.fail(f"run {run_id} never waited for {reason}")
        watching.kill()


def test_the_main_job(line: Line) -> None:
    started = line.json(
        "run", "start", "report", "--input", '{"who": "ann"}', "--run-id", "main", "--signal", "more=[]"
    )
    assert started == {"run_id": "main", "workflow": "report", "version": 1, "namespace": "default", "started": True}
    waiting_at(line, "main", "GATE")

    assert "Publish for ann?" in line("gate", "list").stdout
    assert "The draft for ann" in line("gate", "show", "main").stdout
    assert "Publish for ann?" in line("run", "show", "main").stdout
    assert line.json("run", "query", "main", "plan") == ["ann"]
    edited = line("gate", "edit", "main", "--payload", '{"path": "out/bob.md"}')
    assert '+  "path": "out/bob.md"' in edited.stderr
    assert "GATE_REVISION" in line("gate", "approve", "main", "--revision", "1", code=1).stderr
    line("gate", "approve", "main", "--payload", "{}", "--yes-i-mean", "main", "--comment", "good")

    assert line.json("run", "wait", "main") == {
        "run_id": "main",
        "state": "SUCCEEDED",
        "output": {"queries": ["ann"], "big": 2**60},
        "failure": None,
        "run_epoch": 1,
    }
    history = line("run", "history", "main").stdout
    assert "GateDecisionRecorded  review  APPROVE · revision 2 · “good”" in history
    assert "attempt 2" in history
    assert "more" in line("run", "show", "main").stdout, "a signal that nothing took is shown"


def test_operators_of_a_run(line: Line) -> None:
    line("run", "start", "waiting", "--run-id", "ops", "--key", "k-ops", "--attribute", "team=north")

    assert "PAUSED" in line("run", "pause", "ops", "--note", "lunch").stdout
    assert "RUNNING" in line("run", "resume", "ops").stdout
    line("run", "cancel", "ops", "--reason", "not needed")
    assert line.json("run", "wait", "ops", code=1)["state"] == "CANCELED"  # type: ignore[index]
    assert "RUNNING" in line("run", "retry", "ops").stdout
    line("run", "signal", "ops", "go", "--payload", "7")
    line("run", "wait", "ops")

    line("run", "start", "waiting", "--run-id", "ops-2", "--key", "k-ops")
    assert "TERMINATED" in line("run", "terminate", "ops-2").stdout
    assert [run["run_id"] for run in line.json("run", "list", "--key", "k-ops")] == ["ops-2", "ops"]  # type: ignore[attr-defined]


def test_a_review(line: Line) -> None:
    line("run", "start", "reviewed", "--run-id", "rev")
    waiting_at(line, "rev", "ERROR_REVIEW")

    assert "DiskFull: the disk is full" in line("gate", "show", "rev").stdout
    line("gate", "decide", "skip", "rev", "--payload", '"by hand"')

    assert line.json("run", "wait", "rev")["output"] == "by hand"  # type: ignore[index]


def test_who_is_there(line: Line) -> None:
    assert "default: breaks, flaky, plan" in line("worker", "list").stdout
    assert "default" in line("queue", "list").stdout
    assert "OK" in line("info").stdout
    assert line.json("info")["limits"]  # type: ignore[index]
    assert len(line.json("workflow", "list")) == len(FILES)  # type: ignore[arg-type]
    assert "plan" in line("workflow", "show", "report").stdout


def test_a_queue_without_a_worker_says_so_everywhere(line: Line) -> None:
    line("run", "start", "lonely", "--run-id", "alone")
    waiting_at(line, "alone", "NO_WORKER")

    said = "no worker serves handler 'fetch' on queue 'nobody'"
    assert said in " ".join(line("run", "show", "alone").stdout.replace("│", " ").split())
    assert said in " ".join(line("run", "list", "--waiting", "no_worker").stdout.split())
    assert "no worker serves: fetch" in line("queue", "list").stdout
    line("run", "terminate", "alone")


TWO_STEPS = """
name: x
steps:
  - name: a
    compute: {}
    after: %s
  - name: b
    compute: {}
    after: %s
"""
BAD_DOCUMENTS = {
    "steps: [": ("no YAML", 1),
    TWO_STEPS % ("[{step: nope}]", "[]"): ("unknown step 'nope'", 6),
    TWO_STEPS % ("[{step: b}]", "[{step: a}]"): ("cycle", 6),
    TWO_STEPS % ("[]", "[{step: a, when: 1 +}]"): ("`1 +`", 9),
    TWO_STEPS % ("[]", "[{step: a, on: maybe}]"): ("SUCCEEDED", 9),
}


@pytest.mark.parametrize("text", BAD_DOCUMENTS)
def test_a_bad_document_is_told_with_its_line(line: Line, tmp_path: Path, text: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text, encoding="utf-8")
    words, number = BAD_DOCUMENTS[text]

    for verb in ("register", "validate"):
        stderr = line("workflow", verb, str(path), code=1).stderr
        assert re.search(rf"^{re.escape(str(path))}:{number}:\d+: .*{re.escape(words)}", stderr, re.MULTILINE), stderr
        assert "(INVALID_DEFINITION)" in stderr
        assert "then check: holdfast workflow validate FILE" in stderr


@pytest.fixture(scope="module")
def closed(line: Line) -> str:
    """A run that has ended, with a gate that was decided."""
    line("run", "start", "report", "--input", '{"who": "eve"}', "--run-id", "closed", "--request-id", "once")
    waiting_at(line, "closed", "GATE")
    line("gate", "reject", "closed")
    line("run", "wait", "closed")
    line("run", "start", "waiting", "--run-id", "open", "--key", "taken")
    line("run", "start", "report", "--input", '{"who": "eve"}', "--run-id", "open-report")
    return "closed"


BAD_INPUT = [
    ("run start nothing", 3, "WORKFLOW_NOT_FOUND", "holdfast workflow list"),
    ("run start report --version 9 --input {}", 3, "WORKFLOW_NOT_FOUND", "holdfast workflow list"),
    ('run start report --input {"whom":1}', 1, "INPUT_SCHEMA", "holdfast workflow show report"),
    ('run start report --input {"who":"x"} --signal nope', 1, "SIGNAL_UNDECLARED", "holdfast workflow show report"),
    ('run start report --input {"who":"x"} --signal more=1', 1, "SIGNAL_SCHEMA", "holdfast workflow show report"),
    ("run start waiting --run-id closed", 1, "RUN_EXISTS", "holdfast run show closed"),
    ("run start waiting --key taken", 1, "KEY_IN_USE", "holdfast run list --workflow waiting --key taken"),
    ("run start waiting --request-id once", 1, "REQUEST_ID_REUSED", "leave out --request-id"),
    ("run start waiting --run-id a/b", 1, "INVALID_REQUEST", "holdfast run start --help"),
    ("run show nobody", 3, "RUN_NOT_FOUND", "holdfast run list"),
    ("run history nobody", 3, "RUN_NOT_FOUND", "holdfast run list"),
    ("run watch nobody", 3, "RUN_NOT_FOUND", "holdfast run list"),
    ("run wait nobody", 3, "RUN_NOT_FOUND", "holdfast run list"),
    ("run signal closed more --payload []", 1, "RUN_CLOSED", "holdfast run show closed"),
    ("run pause closed", 1, "RUN_CLOSED", "holdfast run show closed"),
    ("run cancel closed", 1, "RUN_CLOSED", "holdfast run show closed"),
    ("run retry closed", 1, "ILLEGAL_STATE", "holdfast run show closed"),
    ("run query closed nope", 3, "QUERY_NOT_FOUND", "holdfast workflow show report"),
    ("run signal open-report nope", 1, "SIGNAL_UNDECLARED", "holdfast workflow show report"),
    ("run signal open-report more --payload 1", 1, "SIGNAL_SCHEMA", "holdfast workflow show report"),
    ("run query closed broken", 1, "QUERY_FAILED", "holdfast run show closed"),
    ("run query closed --expression 1+", 1, "QUERY_FAILED", "holdfast run show closed"),
    ("step skip closed nope", 1, "RUN_CLOSED", "holdfast run show closed"),
    ("step skip nobody plan", 3, "RUN_NOT_FOUND", "holdfast run list"),
    ("step retry open-report nope", 3, "STEP_NOT_FOUND", "holdfast run show open-report"),
    ("step retry open-report plan", 1, "ILLEGAL_STATE", "holdfast run show open-report"),
    ("step fail open-report review --type Lost", 1, "INVALID_REQUEST", "holdfast step fail --help"),
    ("gate show closed nope", 3, "GATE_NOT_FOUND", "holdfast gate list --run closed"),
    ("gate approve closed", 3, "GATE_NOT_FOUND", "holdfast gate list --run closed"),
    ("gate approve closed review", 1, "GATE_RESOLVED", "holdfast gate show closed review"),
    ("workflow show nothing", 3, "WORKFLOW_NOT_FOUND", "holdfast workflow list"),
]


@pytest.mark.parametrize(("arguments", "code", "reason", "next_step"), BAD_INPUT, ids=[case[0] for case in BAD_INPUT])
def test_bad_input_has_its_reason_and_a_next_step(
    line: Line, closed: str, arguments: str, code: int, reason: str, next_step: str
) -> None:
    stderr = line(*arguments.split(), code=code).stderr

    first, *rest = stderr.splitlines()
    assert first.startswith("error: ")
    assert f"({reason})" in first
    assert next_step in rest[-1]


def test_a_decision_that_does_not_fit_leaves_the_gate_open(line: Line) -> None:
    line("run", "start", "report", "--input", '{"who": "zoe"}', "--run-id", "fit")
    waiting_at(line, "fit", "GATE")

    stderr = line("gate", "respond", "fit", "--payload", "3", "--yes-i-mean", "fit", code=1).stderr
    assert "(DECISION_SCHEMA)" in stderr
    stderr = line("gate", "decide", "retry", "fit", code=1).stderr
    assert "(DECISION_NOT_ALLOWED)" in stderr
    assert line.json("gate", "show", "fit")["state"] == "OPEN"  # type: ignore[index]
    line("run", "terminate", "fit")


def test_a_payload_that_is_too_large(line: Line, tmp_path: Path) -> None:
    large = tmp_path / "large.json"
    large.write_text(json.dumps({"who": "x" * 5_000_000}), encoding="utf-8")

    stderr = line("run", "start", "report", "--input", f"@{large}", code=1).stderr

    assert "(PAYLOAD_TOO_LARGE)" in stderr
    assert "holdfast info" in stderr


def test_two_servers_on_one_file(line: Line) -> None:
    command = [sys.executable, "-m", "holdfast", "server", "--listen", "127.0.0.1:0"]
    command += ["--database", str(line.folder / "holdfast.db")]

    result = subprocess.run(command, check=False, capture_output=True, text=True, timeout=TIMEOUT_S)

    assert result.returncode != 0
    assert "is in use by" in result.stderr + result.stdout


class Terminal:
    """A program at a terminal of 80 by 24."""

    def __init__(self, line: Line, *arguments: str) -> None:
        self._master, slave = pty.openpty()
        environment = {"PATH": os.environ["PATH"], "TERM": "xterm", "LANG": "C.UTF-8", "HOLDFAST_TARGET": line.target}
        environment |= {"COLUMNS": "80", "LINES": "24"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "holdfast", *arguments],
            env=environment,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
        )
        os.close(slave)
        self.seen = ""

    def until(self, text: str) -> None:
        """Read until a text was seen; colours do not count."""
        deadline_s = time.monotonic() + TIMEOUT_S
        while text not in self.seen:
            ready, _, _ = select.select([self._master], [], [], max(deadline_s - time.monotonic(), 0))
            assert ready, f"{text!r} was not seen in {self.seen}"
            self.seen += re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", os.read(self._master, 65_536).decode(errors="replace"))

    def type(self, text: str) -> None:
        """Type a line."""
        os.write(self._master, f"{text}\n".encode())

    def end(self) -> int:
        """Return the exit code."""
        code = self._process.wait(TIMEOUT_S)
        os.close(self._master)
        return code


def test_a_gate_approved_at_a_terminal_while_the_run_is_watched(line: Line) -> None:
    watching = Terminal(line, "run", "start", "report", "--input", '{"who": "tim"}', "--run-id", "tty", "--watch")
    watching.until("people decide: Publish for tim?")

    deciding = Terminal(line, "gate", "approve", "tty", "--payload", "{}")
    deciding.until("The draft for tim")
    deciding.until("type the run id: ")
    deciding.type("tty")
    deciding.until("APPROVED  review of tty")
    deciding.until("next: holdfast run watch tty")
    assert deciding.end() == 0

    watching.until("tty SUCCEEDED")
    watching.until('"big": 1152921504606846976')
    assert watching.end() == 0
