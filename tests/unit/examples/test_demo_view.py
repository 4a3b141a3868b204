"""What the demonstration makes of settings and events, without any process."""

import io
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from examples.research_report.demo.closing import close
from examples.research_report.demo.crash import Crash
from examples.research_report.demo.screen import Screen
from examples.research_report.demo.settings import COMMENT, INCLUDE, ROOT, settings_from
from examples.research_report.demo.stage import Stage
from examples.research_report.demo.view import RunView, detail_of, new_view
from holdfast.v1 import gate_pb2, history_pb2
from holdfast.v1.definition_pb2 import Decision
from holdfast.v1.history_pb2 import HistoryEvent

START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def _screen(*, terminal: bool = False) -> tuple[Screen, io.StringIO]:
    out = io.StringIO()
    return Screen(Console(file=out, force_terminal=terminal, width=100, highlight=False)), out


def _view(*bodies: tuple[float, str, dict[str, Any]]) -> RunView:
    """Return a view that has watched these events: (seconds after the start, name of the body, its fields)."""
    view = new_view("r1", [("plan", "Plan it"), ("figures", ""), ("review", ""), ("publish", "")])
    for seq, (after_s, body, fields) in enumerate(bodies, 1):
        event = HistoryEvent(seq=seq)
        message = getattr(event, body)
        message.SetInParent()
        for name, value in fields.items():
            setattr(message, name, value)
        event.time.FromDatetime(START + timedelta(seconds=after_s))
        view.apply(event)
    return view


FINISHED: tuple[tuple[float, str, dict[str, Any]], ...] = (
    (0.0, "run_started", {}),
    (0.0, "step_queued", {"path": "plan", "attempt": 1}),
    (0.5, "step_started", {"path": "plan", "attempt": 1, "lease": 1, "worker_id": "w1"}),
    (2.0, "step_succeeded", {"path": "plan", "attempt": 1}),
    (2.0, "step_skipped", {"path": "publish"}),
    (2.5, "run_succeeded", {}),
)
OUTPUT = {
    "message": "Not published: rejected.",
    "citations": 3,
    "sources": 2,
    "writer": "the extractive writer",
    "revisions": 2,
    "path": None,
}


def test_steps_are_followed_through_their_states() -> None:
    view = _view(*FINISHED)
    plan = view.steps["plan"]

    assert (view.state, view.closed, view.last_seq) == ("SUCCEEDED", True, 6)
    assert (plan.state, plan.worker, plan.starts, plan.successes) == ("SUCCEEDED", "w1", 1, 1)
    assert (plan.summary, view.steps["figures"].summary) == ("Plan it", "figures")
    assert plan.started is not None
    assert plan.finished is not None
    assert plan.finished - plan.started == timedelta(seconds=1.5)
    assert view.steps["publish"].state == "SKIPPED"
    assert view.steps["figures"].state == "PENDING"


@pytest.mark.parametrize(
    ("body", "fields", "detail"),
    [
        ("step_queued", {"attempt": 1}, ""),
        ("step_queued", {"attempt": 3}, "attempt 3"),
        ("step_queued", {"attempt": 1, "cause": history_pb2.QUEUE_CAUSE_RETURNED}, "handed out again"),
        ("step_queued", {"cause": history_pb2.QUEUE_CAUSE_FALLBACK, "handler": "other"}, "fallback other"),
        ("step_started", {"lease": 2, "worker_id": "w1"}, "by w1"),
        ("step_succeeded", {"answered_by": "other"}, "answered by other"),
        ("gate_decision_recorded", {"decision": Decision.DECISION_REJECT}, "REJECT by somebody"),
        ("gate_resolved", {"resolution": gate_pb2.RESOLUTION_APPROVED}, "APPROVED"),
        ("run_paused", {}, ""),
    ],
)
def test_events_are_told_in_words(body: str, fields: dict[str, Any], detail: str) -> None:
    assert detail_of(_view((0.0, body, fields)).events[0]) == detail


def test_the_ending_fits_eighty_columns_and_tells_what_became_of_it() -> None:
    screen, out = _screen()
    close(screen, _view(*FINISHED), OUTPUT)
    text = out.getvalue()

    tables = text[: text.index("Run r1:")]
    assert max(map(len, tables.splitlines())) <= 80
    assert "StepSucceeded" in text
    assert "1.500 s" in text
    assert "Run r1: SUCCEEDED after 2.50 s, 6 events." in text
    assert "Not published: rejected.\n3 citations of 2 sources, written by the extractive writer, revised once." in text
    assert "The step publish is SKIPPED: no report was written." in text


def test_the_ending_names_the_report() -> None:
    screen, out = _screen()
    close(screen, _view(*FINISHED), {**OUTPUT, "path": str(Path.cwd() / "out" / "a.md")})

    assert "The report: out/a.md" in out.getvalue()


def test_the_live_tree_shows_every_step_with_its_state() -> None:
    screen, out = _screen(terminal=True)
    with screen.live(_view(*FINISHED)):
        pass

    shown = out.getvalue()
    assert "plan" in shown
    assert "1.50 s" in shown
    assert "SKIPPED" in shown


def _crashed(view: RunView, in_flight: list[str], known_seq: int, missing: int = 0) -> tuple[bool, str]:
    screen, _ = _screen()
    crash = Crash(Stage(0.0), screen)
    crash._in_flight, crash._known_seq = in_flight, known_seq
    kept, lines = crash.verdict(view, view.events[missing:])
    return kept, "\n".join(lines)


def test_the_verdict_after_a_crash_names_what_was_lost() -> None:
    started = {"path": "figures", "attempt": 1, "worker_id": "w1"}
    again = (3.0, "step_started", {**started, "lease": 2})
    view = _view(*FINISHED[:4], (2.1, "step_started", {**started, "lease": 1}), again)

    assert _crashed(view, ["figures"], 5) == (
        True,
        (
            "The crash: 5 events were known before it; all are in the history, unchanged.\n"
            "Succeeded before and not run again: plan.\n"
            "Lost were only the attempts in flight; handed out again: figures."
        ),
    )


def test_the_verdict_after_a_crash_finds_broken_promises() -> None:
    again = (3.0, "step_started", {"path": "plan", "attempt": 1, "lease": 2})
    kept, text = _crashed(_view(*FINISHED[:4], again, (4.0, "step_succeeded", {"path": "plan"})), ["figures"], 4)

    assert not kept
    assert "succeeded more than once: plan" in text
    assert "run again although it had succeeded: plan" in text


def test_the_verdict_after_a_crash_compares_the_histories() -> None:
    kept, text = _crashed(_view(*FINISHED), ["figures"], 4, missing=1)

    assert not kept
    assert "BROKEN PROMISE: the 4 events known before the crash are not those of the history." in text


def test_without_a_terminal_the_demo_decides_and_says_why() -> None:
    settings = settings_from([], {}, terminal=False)

    assert (settings.decisions, settings.decided_because) == (("approve",), "there is no terminal")
    assert (settings.kill, settings.include, settings.folder) == (False, INCLUDE, ROOT)


def test_on_a_terminal_somebody_is_asked_unless_the_environment_decides() -> None:
    asked = settings_from([], {"DEMO_DECISION": "", "DEMO_KILL": ""}, terminal=True)
    given = settings_from([], {"DEMO_DECISION": "reject", "DEMO_KILL": "1", "DEMO_STEP_S": "0.1"}, terminal=True)

    assert (asked.decisions, asked.decided_because) == (None, "")
    assert (given.decisions, given.decided_because) == (("reject", "approve"), "DEMO_DECISION=reject")
    assert (given.kill, given.step_s) == (True, 0.1)
    assert COMMENT


def test_other_documents_can_be_named(tmp_path: Path) -> None:
    settings = settings_from(["--folder", str(tmp_path), "--question", "Why so?"], {}, terminal=False)

    assert (settings.folder, settings.include, settings.question) == (tmp_path, ("**/*",), "Why so?")


@pytest.mark.parametrize("environment", [{"DEMO_DECISION": "maybe"}, {"DEMO_STEP_S": "fast"}])
def test_nonsense_is_refused_with_what_is_allowed(
    environment: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        settings_from([], environment, terminal=False)

    assert ended.value.code == 2
    assert "must be" in capsys.readouterr().err
