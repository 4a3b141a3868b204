"""Decision tables of actions: what retry, skip and fail make of a step in each of its states, in every sort of run."""

from collections.abc import Callable

import pytest

from holdfast.v1.errors_pb2 import ErrorReason
from holdfast.v1.failure_pb2 import Failure
from holdfast.v1.gate_pb2 import Resolution
from holdfast.v1.payload_pb2 import Payload
from holdfast.v1.run_pb2 import StepState
from holdfast_server.engine import commands as c
from holdfast_server.engine.json_values import JSON_DEPTH_MAX
from holdfast_server.engine.refusal import Refused
from tests.unit.engine.driver import Play

DEFINITION = """
name: w
steps:
  - {name: other, wait: {signal: never}}
  - {name: before, wait: {signal: go}}
  - {name: task, after: [{step: before}], task: {handler: h}, on_error: [{match: [Fatal], review: {title: Bad}}]}
  - {name: gate, after: [{step: before}], gate: {title: Go?}}
  - {name: wait, after: [{step: before}], wait: {signal: later, timeout: 1h}}
  - {name: sleep, after: [{step: before}], sleep: {for: 1h}}
"""


def _pending(play: Play) -> None:
    play.restart()


def _queued(play: Play) -> None:
    play.signal("go")


def _running(play: Play) -> None:
    _queued(play)
    play.take("task")


def _backing_off(play: Play) -> None:
    _running(play)
    play.fail("task")


def _in_review(play: Play) -> None:
    _running(play)
    play.do(c.FailTask("task", 1, Failure(type="Fatal", retryable=False), reported=True))


def _stopping(play: Play) -> None:
    _running(play)
    play.do(c.Cancel())


def _succeeded(play: Play) -> None:
    _running(play)
    play.complete("task", 1)


STATES: dict[str, tuple[str, Callable[[Play], None]]] = {
    "PENDING": ("task", _pending),
    "QUEUED": ("task", _queued),
    "RUNNING": ("task", _running),
    "RUNNING, asked to stop": ("task", _stopping),
    "BACKING_OFF": ("task", _backing_off),
    "IN_REVIEW": ("task", _in_review),
    "WAITING for people": ("gate", _queued),
    "WAITING for a signal": ("wait", _queued),
    "WAITING for a time": ("sleep", _queued),
    "SUCCEEDED": ("task", _succeeded),
}
RETRY = {
    "RUNNING": "QUEUED",
    "BACKING_OFF": "QUEUED",
    "IN_REVIEW": "QUEUED",
}
"""What retry makes of a step; where it is not listed it is refused."""


def _outcome(play: Play, path: str, command: c.Command) -> str:
    try:
        play.do(command, "ops")
    except Refused as refused:
        return ErrorReason.Name(refused.reason).removeprefix("ERROR_REASON_")
    return StepState.Name(play.state(path)).removeprefix("STEP_STATE_")


def _prepared(state: str, *, paused: bool) -> tuple[Play, str]:
    play = Play(DEFINITION)
    play.start()
    path, prepare = STATES[state]
    prepare(play)
    assert StepState.Name(play.state(path)).removeprefix("STEP_STATE_") == state.partition(",")[0].partition(" ")[0]
    if paused:
        play.do(c.Pause())
    return play, path


@pytest.mark.parametrize("paused", [False, True], ids=["running", "paused"])
@pytest.mark.parametrize("state", STATES)
class TestActions:
    def test_retry(self, state: str, paused: bool) -> None:
        play, path = _prepared(state, paused=paused)
        attempt = play.record(path).attempt

        assert _outcome(play, path, c.RetryStep(path)) == RETRY.get(state, "ILLEGAL_STATE")
        assert play.record(path).attempt == attempt + (state in RETRY)
        assert (path in play.outside.ready) == (not paused and play.state(path) == StepState.STEP_STATE_QUEUED)

    def test_skip(self, state: str, paused: bool) -> None:
        play, path = _prepared(state, paused=paused)

        expected = "ILLEGAL_STATE" if state == "SUCCEEDED" else "SUCCEEDED"
        assert _outcome(play, path, c.SkipStep(path)) == expected
        _check_left(play, path, Resolution.RESOLUTION_SKIPPED)

    def test_fail(self, state: str, paused: bool) -> None:
        play, path = _prepared(state, paused=paused)

        expected = "ILLEGAL_STATE" if state == "SUCCEEDED" else "FAILED"
        assert _outcome(play, path, c.FailStep(path)) == expected
        _check_left(play, path, Resolution.RESOLUTION_FAILED)


def _check_left(play: Play, path: str, resolution: Resolution.ValueType) -> None:
    """Nobody has the step any more: no worker, no gate, no wait, no timer."""
    assert path not in play.outside.ready
    assert path not in play.outside.held
    assert path not in play.outside.gates
    assert path not in play.run.waits
    assert not [name for name in play.outside.timers if name[0] == path]
    gate = play.record(path).gate
    assert gate is None or (gate.resolution, gate.operator and gate.operator.name) == (resolution, "ops")


@pytest.mark.parametrize("command", [c.RetryStep("x"), c.SkipStep("x"), c.FailStep("x"), c.SkipStep("task/x")])
def test_a_step_that_is_not_there(command: c.Command) -> None:
    play = Play(DEFINITION)
    play.start()

    assert _outcome(play, "task", command) == "STEP_NOT_FOUND"


@pytest.mark.parametrize("kind", ["Lost", "Canceled", "Timeout.Anything", "Rejected"])
def test_types_of_the_servers_own_are_refused(kind: str) -> None:
    play = Play(DEFINITION)
    play.start()

    assert _outcome(play, "task", c.FailStep("task", kind)) == "INVALID_REQUEST"


def test_an_output_that_a_gate_would_nest_too_deep_is_refused() -> None:
    play, path = _prepared("WAITING for people", paused=False)
    deep = Payload(data=b"[" * JSON_DEPTH_MAX + b"]" * JSON_DEPTH_MAX)

    assert _outcome(play, path, c.SkipStep(path, deep)) == "LIMIT_EXCEEDED"
    assert _outcome(play, "wait", c.SkipStep("wait", deep)) == "SUCCEEDED"
