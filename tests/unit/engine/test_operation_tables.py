"""Decision tables of commands: what each does in each state of a run, and how it is refused."""

from collections.abc import Callable

import pytest

from holdfast.v1.definition_pb2 import DECISION_APPROVE
from holdfast.v1.errors_pb2 import ErrorReason
from holdfast.v1.failure_pb2 import Failure
from holdfast.v1.run_pb2 import RunState
from holdfast_server.engine import commands as c
from holdfast_server.engine.effects import Timer
from holdfast_server.engine.refusal import Refused
from holdfast_server.engine.settings import EngineSettings
from tests.unit.engine.driver import Play

DEFINITION = """
name: w
timeout: 60s
steps:
  - {name: a, task: {handler: h}, retry: {max_attempts: 1}}
  - {name: g, after: [{step: a, on: FINISHED}], gate: {title: Go?}}
"""


def _running(play: Play) -> None:
    play.take("a")


def _paused(play: Play) -> None:
    play.take("a")
    play.do(c.Pause())


def _canceling(play: Play) -> None:
    play.take("a")
    play.do(c.Cancel())


def _succeeded(play: Play) -> None:
    play.complete("a", 1)
    play.say("g", "APPROVE")


def _failed(play: Play) -> None:
    play.fail("a")


def _canceled(play: Play) -> None:
    play.do(c.Cancel())


def _terminated(play: Play) -> None:
    play.do(c.Terminate())


def _timed_out(play: Play) -> None:
    play.elapse(60)


STATES: dict[str, Callable[[Play], None]] = {
    "RUNNING": _running,
    "PAUSED": _paused,
    "CANCELING": _canceling,
    "SUCCEEDED": _succeeded,
    "FAILED": _failed,
    "CANCELED": _canceled,
    "TERMINATED": _terminated,
    "TIMED_OUT": _timed_out,
}
COMMANDS: dict[str, c.Command] = {
    "Pause": c.Pause(),
    "Resume": c.Resume(),
    "Cancel": c.Cancel(),
    "Terminate": c.Terminate(),
    "Retry": c.Retry(),
    "RetryStep": c.RetryStep("a"),
    "SkipStep": c.SkipStep("a"),
    "FailStep": c.FailStep("a"),
    "SendSignal": c.SendSignal("go", None),
    "CompleteTask": c.CompleteTask("a", 1, None),
    "FailTask": c.FailTask("a", 1, Failure(type="Oops"), reported=True),
    "StopTask": c.StopTask("a", 1),
    "ReturnTask": c.ReturnTask("a", 1, reported=False),
    "StartTask": c.StartTask("a", 1, "w2", 2),
    "FireTimer": c.FireTimer("", Timer.RUN_TIMEOUT),
}
DONE, NOTHING, CLOSED, ILLEGAL = "done", "nothing", "RUN_CLOSED", "ILLEGAL_STATE"
OPEN_OR_CLOSED = {"SUCCEEDED": CLOSED, "FAILED": CLOSED, "CANCELED": CLOSED, "TERMINATED": CLOSED, "TIMED_OUT": CLOSED}
EVERYWHERE = {"RUNNING": DONE, "PAUSED": DONE, "CANCELING": DONE} | OPEN_OR_CLOSED
TABLE = {
    "Pause": EVERYWHERE | {"PAUSED": NOTHING},
    "Resume": EVERYWHERE | {"RUNNING": NOTHING, "CANCELING": NOTHING},
    "Cancel": EVERYWHERE | {"CANCELING": NOTHING},
    "Terminate": EVERYWHERE,
    "Retry": dict.fromkeys(STATES, ILLEGAL) | dict.fromkeys(("FAILED", "CANCELED", "TIMED_OUT"), DONE),
    "RetryStep": EVERYWHERE | {"CANCELING": ILLEGAL},
    "SkipStep": EVERYWHERE,
    "FailStep": EVERYWHERE,
    "SendSignal": EVERYWHERE,
    "CompleteTask": EVERYWHERE,
    "FailTask": EVERYWHERE,
    "StopTask": EVERYWHERE,
    "ReturnTask": EVERYWHERE,
    "StartTask": EVERYWHERE,
    "FireTimer": dict.fromkeys(STATES, NOTHING),  # it is not due
}


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("name", COMMANDS)
def test_command_in_state(name: str, state: str) -> None:
    play = Play(DEFINITION)
    play.start()
    STATES[state](play)

    try:
        made = play.do(COMMANDS[name], "ops")
    except Refused as refused:
        outcome = ErrorReason.Name(refused.reason).removeprefix("ERROR_REASON_")
    else:
        outcome = DONE if made else NOTHING

    assert outcome == TABLE[name][state]


@pytest.mark.parametrize("state", STATES)
def test_states_are_what_their_names_say(state: str) -> None:
    play = Play(DEFINITION)
    play.start()
    STATES[state](play)

    assert RunState.Name(play.run.state).removeprefix("RUN_STATE_") == state.replace("CANCELING", "RUNNING")


REFUSED: dict[str, tuple[c.Command, str]] = {
    "a result for a step that is not there": (c.CompleteTask("x", 1, None), "TOKEN_STALE"),
    "a result for a step that has not started": (c.CompleteTask("g", 1, None), "TOKEN_STALE"),
    "a result of another attempt": (c.CompleteTask("a", 2, None), "TOKEN_STALE"),
    "a failure of another attempt": (c.FailTask("a", 2, Failure(), reported=True), "TOKEN_STALE"),
    "a stop of another attempt": (c.StopTask("a", 2), "TOKEN_STALE"),
    "a return of another attempt": (c.ReturnTask("a", 2, reported=True), "TOKEN_STALE"),
    "a start of another attempt": (c.StartTask("a", 2, "w", 1), "TOKEN_STALE"),
    "a decision where no gate is": (c.DecideGate("a", 1, b"", DECISION_APPROVE), "GATE_NOT_FOUND"),
    "a decision on a gate that is not open yet": (c.DecideGate("g", 1, b"", DECISION_APPROVE), "GATE_NOT_FOUND"),
    "a decision on a path that is none": (c.DecideGate("a/b", 1, b"", DECISION_APPROVE), "GATE_NOT_FOUND"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusals(case: str) -> None:
    command, reason = REFUSED[case]
    play = Play(DEFINITION)
    play.start()
    play.take("a")

    with pytest.raises(Refused) as caught:
        play.do(command, "ops")

    assert ErrorReason.Name(caught.value.reason) == f"ERROR_REASON_{reason}"
    assert caught.value.message


@pytest.mark.parametrize("timer", list(Timer))
@pytest.mark.parametrize("path", ["", "a", "g", "x", "a/b"])
def test_timers_that_mean_nothing_do_nothing(path: str, timer: Timer) -> None:
    play = Play(DEFINITION)
    play.start()
    play.take("a")

    assert play.fire(path, timer) == []


def test_the_limit_of_signals_counts_those_along_with_the_start() -> None:
    play = Play(DEFINITION, EngineSettings(unconsumed_signals=2))

    with pytest.raises(Refused) as caught:
        play.start(signals=(("go", 1), ("go", 2), ("go", 3)))

    assert caught.value.reason == ErrorReason.ERROR_REASON_LIMIT_EXCEEDED
    assert caught.value.metadata == {"limit": "unconsumed_signals", "value": "2", "actual": "3", "field": "signal"}


def test_start_is_no_command_for_a_run_that_exists() -> None:
    play = Play(DEFINITION)
    play.start()

    with pytest.raises(TypeError):
        play.do(c.Start("default", "r2", "", None))


def test_who_and_which_request_stand_in_the_first_event_only() -> None:
    play = Play(DEFINITION)
    play.start(request="q0")

    made = play.do(c.Cancel(), "ops", "q1")

    assert [event.HasField("actor") for event in made] == [True] + [False] * (len(made) - 1)
    assert [event.request.id for event in made] == ["q1"] + [""] * (len(made) - 1)
    assert {name: one.seq for name, one in play.run.requests.items()} == {"q0": 1, "q1": made[0].seq}


def test_the_last_thousand_requests_are_remembered() -> None:
    play = Play(DEFINITION, EngineSettings(unconsumed_signals=2_000))
    play.start(request="q0")
    for number in range(1, 1_002):
        play.do(c.SendSignal("go", None), "ops", f"q{number}")

    assert len(play.run.requests) == 1_000
    assert "q1" not in play.run.requests
    assert play.run.requests["q1001"].seq == play.run.seq
