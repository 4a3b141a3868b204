"""The demonstration as people run it: a process that starts server and worker and ends with a published report."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FRONT_MATTER = re.compile(r"\A---\n.*?\nidempotency_key: \"[^\"]+\"\n---\n\n# ", re.DOTALL)
PIDS = re.compile(r"Server: process (\d+) on \S+\. Worker: (\d+)\.")


@dataclass
class Ended:
    """A demonstration that ended."""

    code: int
    said: str
    reports: list[Path]

    @property
    def table(self) -> list[str]:
        """The lines of the tables."""
        return self.said[self.said.index("History") : self.said.index("Run ", self.said.index("History"))].splitlines()


def _command(out: Path) -> list[str]:
    return [sys.executable, "-m", "examples.research_report.demo", "--out", str(out)]


def _environment(**more: str) -> dict[str, str]:
    kept = {n: v for n, v in os.environ.items() if not n.startswith(("DEMO_", "OPENAI_"))}
    return {**kept, "DEMO_STEP_S": "0.05", **more}


def _play(out: Path, **environment: str) -> Ended:
    ended = subprocess.run(
        _command(out),
        cwd=ROOT,
        env=_environment(**environment),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    return Ended(ended.returncode, ended.stdout + ended.stderr, sorted(out.glob("*.md")) if out.exists() else [])


def _gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_approved_it_is_published(tmp_path: Path) -> None:
    ended = _play(tmp_path / "out", DEMO_DECISION="approve")

    assert ended.code == 0, ended.said
    assert len(ended.reports) == 1
    text = ended.reports[0].read_text(encoding="utf-8")
    assert FRONT_MATTER.match(text)
    assert "## Sources" in text
    assert str(ended.reports[0]) in ended.said
    assert "Nobody is asked (DEMO_DECISION=approve): the demo approves by itself.\nThe demo approved it." in ended.said
    assert "SUCCEEDED after" in ended.said
    assert max(map(len, ended.table)) <= 80


def test_without_a_terminal_it_decides_by_itself_and_says_so(tmp_path: Path) -> None:
    ended = _play(tmp_path / "out")

    assert ended.code == 0, ended.said
    assert "Nobody is asked (there is no terminal)" in ended.said
    assert len(ended.reports) == 1


def test_rejected_once_it_is_revised_and_published(tmp_path: Path) -> None:
    ended = _play(tmp_path / "out", DEMO_DECISION="reject")

    assert ended.code == 0, ended.said
    (report,) = ended.reports
    text = report.read_text(encoding="utf-8")
    assert "revision: 2" in text
    assert "## Changed in this revision" in text
    assert "revised once" in ended.said


def test_rejected_twice_it_succeeds_without_publishing_and_says_so(tmp_path: Path) -> None:
    ended = _play(tmp_path / "out", DEMO_DECISION="reject-twice")

    assert ended.code == 0, ended.said
    assert ended.reports == []
    assert "Not published: the draft and its revision were rejected." in ended.said
    assert "The step publish is SKIPPED: no report was written." in ended.said


@pytest.mark.slow
def test_killed_in_the_middle_it_still_ends_well(tmp_path: Path) -> None:
    ended = _play(tmp_path / "out", DEMO_DECISION="approve", DEMO_KILL="1", DEMO_STEP_S="1.0")

    assert ended.code == 0, ended.said
    assert len(ended.reports) == 1
    assert re.search(r"kill -9 of the server \(process \d+\) and the worker \(process \d+\)", ended.said)
    assert "Succeeded before and not run again:" in ended.said
    assert "BROKEN PROMISE" not in ended.said


def test_a_question_without_documents_fails_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    command = [*_command(tmp_path / "out"), "--folder", str(tmp_path / "empty")]
    ended = subprocess.run(
        command, cwd=ROOT, env=_environment(), stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )

    assert ended.returncode == 1, ended.stdout
    assert "NoDocuments: include: no text" in ended.stdout


@pytest.fixture
def waiting(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], tuple[int, int]]]:
    """A demonstration that is well under way, and the ids of its processes."""
    demo = subprocess.Popen(
        _command(tmp_path / "out"),
        cwd=ROOT,
        env=_environment(DEMO_STEP_S="60"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert demo.stdout is not None
    pids: tuple[int, int] | None = None
    for line in demo.stdout:
        if match := PIDS.search(line):
            pids = int(match.group(1)), int(match.group(2))
        if "RUNNING" in line:
            break
    assert pids is not None
    yield demo, pids
    demo.stdout.close()
    if demo.poll() is None:
        demo.kill()
    demo.wait()


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_interrupted_it_leaves_no_process_behind(
    waiting: tuple[subprocess.Popen[str], tuple[int, int]], sent: signal.Signals
) -> None:
    demo, pids = waiting
    assert demo.stdout is not None
    demo.send_signal(sent)
    said = demo.stdout.read()

    assert demo.wait() == 130
    assert "Interrupted; server and worker are ended." in said
    assert all(_gone(pid) for pid in pids)


def test_a_worker_that_ends_by_itself_ends_the_demonstration(
    waiting: tuple[subprocess.Popen[str], tuple[int, int]],
) -> None:
    demo, (_, worker) = waiting
    assert demo.stdout is not None
    os.kill(worker, signal.SIGKILL)
    said = demo.stdout.read()

    assert demo.wait() == 1
    assert "the worker ended by itself" in said
