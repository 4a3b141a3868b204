"""Random graphs under random commands: whatever happens, a run keeps its rules, and ends once everything is answered.

The rules are checked by the driver after every command. `HYPOTHESIS_PROFILE=deep` looks much longer.
"""

import random
from collections.abc import Callable
from typing import Any

from google.protobuf.duration_pb2 import Duration
from hypothesis import strategies as some
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from holdfast.v1.definition_pb2 import Approvers
from holdfast.v1.history_pb2 import HistoryEvent
from holdfast.v1.run_pb2 import StepState
from holdfast_server.engine import commands as c, failures, state as st
from holdfast_server.engine.effects import Timer
from holdfast_server.engine.refusal import Refused
from holdfast_server.engine.steps import task
from tests.unit.engine.driver import Play
from tests.unit.engine.graphs import definitions

PICK = some.integers(0, 1_000)
"""Which one of those that are there, by remainder: what is there depends on what happened."""
VALUES = some.sampled_from((None, 1, 5, {"ok": True}, "text"))
FAILURES = some.sampled_from(("Oops", "Fatal", "Lost", "Canceled", ""))


def _chosen(options: Any, pick: int) -> Any:
    ordered = sorted(options)
    return ordered[pick % len(ordered)]


class EngineMachine(RuleBasedStateMachine):
    """One run of a random workflow."""

    @initialize(definition=definitions(), flag=some.sampled_from((True, False, None)), seed=PICK, after=PICK)
    def begin(self, definition: str, flag: bool | None, seed: int, after: int) -> None:
        self.play = Play(definition, entropy=random.Random(seed).random)  # noqa: S311 - jitter
        start_after_us = self.play.now_us + 3_000_000 if after % 8 == 7 else 0
        signals = (("go", 5),) if after % 3 == 2 else ()
        self.play.start(input={"flag": flag}, start_after_us=start_after_us, signals=signals)

    # -- what is there to act on -------------------------------------------------------------------------------------

    def _steps(self, *states: int) -> list[str]:
        play = self.play
        return [step.name for step in play.plan.block.steps if play.state(step.name) in states]

    def _gates(self) -> list[str]:
        return sorted(self.play.outside.gates)

    def _may(self, act: Callable[[], list[HistoryEvent]]) -> list[HistoryEvent]:
        """Does what may be refused; the driver checks that a refusal leaves no trace."""
        try:
            return act()
        except Refused:
            return []

    # -- workers -----------------------------------------------------------------------------------------------------

    @precondition(lambda self: self.play.outside.ready)
    @rule(pick=PICK)
    def take(self, pick: int) -> None:
        self.play.take(_chosen(self.play.outside.ready, pick))

    @precondition(lambda self: self.play.outside.ready)
    @rule()
    def take_all(self) -> None:
        for path in sorted(self.play.outside.ready):
            self.play.take(path)

    @precondition(lambda self: self._steps(st.QUEUED, st.RUNNING))
    @rule(pick=PICK, value=VALUES)
    def complete(self, pick: int, value: object) -> None:
        path = _chosen(self._steps(st.QUEUED, st.RUNNING), pick)
        made = self.play.complete(path, value)
        assert made, "a result of an open attempt is taken"

    @precondition(lambda self: self._steps(st.QUEUED, st.RUNNING))
    @rule(pick=PICK, kind=FAILURES, final=some.booleans(), wait=some.sampled_from((None, 0, 9)))
    def fail(self, pick: int, kind: str, final: bool, wait: int | None) -> None:
        path = _chosen(self._steps(st.QUEUED, st.RUNNING), pick)
        fields: dict[str, Any] = {"retryable": False} if final else {}
        if wait is not None:
            fields["retry_after"] = Duration(seconds=wait)
        assert self.play.fail(path, kind, **fields)

    @precondition(lambda self: self._steps(st.RUNNING))
    @rule(pick=PICK, how=some.sampled_from(("stop", "return", failures.LOST, failures.START_TO_CLOSE)))
    def interrupt(self, pick: int, how: str) -> None:
        path = _chosen(self._steps(st.RUNNING), pick)
        match how:
            case "stop":
                assert self.play.stop(path)
            case "return":
                assert self.play.give_back(path)
            case _:
                assert self.play.found(path, failures.failure(how, "found"))

    @rule(pick=PICK, offset=some.sampled_from((-1, 1)), value=VALUES)
    def come_late(self, pick: int, offset: int, value: object) -> None:
        path = _chosen(self._steps(*StepState.values()), pick)
        attempt = self.play.record(path).attempt + offset
        made = self._may(lambda: self.play.do(c.CompleteTask(path, attempt, None)))
        assert not made, "a result of another attempt is never taken"

    @rule(pick=PICK)
    def come_to_what_is_not_open(self, pick: int) -> None:
        others = set(self._steps(*StepState.values())) - set(self._steps(st.QUEUED, st.RUNNING))
        if others:
            path = _chosen(others, pick)
            assert not self._may(lambda: self.play.complete(path, 1))

    # -- people ------------------------------------------------------------------------------------------------------

    @precondition(lambda self: self._gates())
    @rule(
        pick=PICK,
        decision=some.sampled_from(("APPROVE", "REJECT", "RESPOND", "DELEGATE", "RETRY", "EDIT", "SKIP", "FAIL")),
        by=some.sampled_from(("bob", "cid", "ann")),
        value=VALUES,
    )
    def decide(self, pick: int, decision: str, by: str, value: object) -> None:
        path = _chosen(self._gates(), pick)
        to = Approvers(principals=["cid", "boss", "bob"]) if decision == "DELEGATE" else None
        self._may(lambda: self.play.say(path, decision, by, value, to=to))

    @rule(pick=PICK)
    def decide_where_no_gate_is_open(self, pick: int) -> None:
        others = set(self._steps(*StepState.values())) - set(self._gates())
        if others:
            path = _chosen(others, pick)
            assert not self._may(lambda: self.play.say(path, "APPROVE"))

    @rule(name=some.sampled_from(("go", "stop")), value=VALUES)
    def signal(self, name: str, value: object) -> None:
        made = self._may(lambda: self.play.signal(name, value))
        assert bool(made) == (self.play.run.open or bool(made))

    @rule(
        command=some.sampled_from(
            (c.Pause(), c.Resume(), c.Resume(), c.Pause(), c.Resume(), c.Cancel(), c.Retry(), c.Retry(), c.Terminate())
        )
    )
    def operate(self, command: c.Command) -> None:
        self._may(lambda: self.play.do(command, "ops"))

    @rule(pick=PICK, action=some.sampled_from(("retry", "skip", "fail", "fail")), value=VALUES)
    def act(self, pick: int, action: str, value: object) -> None:
        play = self.play
        path = _chosen(self._steps(*StepState.values()), pick)
        before, attempt, was_open = play.state(path), play.record(path).attempt, play.run.open
        match action:
            case "retry":
                made = self._may(lambda: play.do(c.RetryStep(path), "ops"))
                assert not made or before in (st.RUNNING, st.BACKING_OFF, st.IN_REVIEW)
            case "skip":
                made = self._may(lambda: play.skip(path, value))
                assert not made or play.state(path) == st.SUCCEEDED
            case _:
                made = self._may(lambda: play.do(c.FailStep(path, "Fatal"), "ops"))
                assert not made or play.state(path) == st.FAILED
                assert bool(made) == (was_open and before not in st.FINAL), "an open step can always be let fail"
        if made and before in st.HELD:
            late = self._may(lambda: play.do(c.CompleteTask(path, attempt, None)))
            assert not late, "a result of an attempt that an operator gave up is never taken"
            assert not task.settled(play.run, path, attempt, play.record(path).lease)

    # -- time and crashes --------------------------------------------------------------------------------------------

    @rule(seconds=some.sampled_from((0, 1, 4, 30, 200)))
    def elapse(self, seconds: float) -> None:
        self.play.elapse(seconds)

    @rule(seconds=some.sampled_from((0, 2, 60)), pick=PICK, timer=some.sampled_from(list(Timer)))
    def fire_anything(self, seconds: float, pick: int, timer: Timer) -> None:
        self.play.jump(seconds)
        path = _chosen(self._steps(*StepState.values()), pick)
        self.play.fire("" if timer in (Timer.START, Timer.RUN_TIMEOUT) else path, timer)

    @rule()
    def restart(self) -> None:
        self.play.restart()

    # -- the end -----------------------------------------------------------------------------------------------------

    def teardown(self) -> None:
        """Answers everything that is asked: the run must come to its end."""
        if not hasattr(self, "play"):
            return
        play = self.play
        for _ in range(400):
            if not play.run.open:
                return
            self._answer()
        raise AssertionError(f"the run does not end; it waits for {play.reasons()}")

    def _answer(self) -> None:
        play, outside = self.play, self.play.outside
        if play.run.paused:
            play.do(c.Resume())
        elif outside.ready:
            play.take(min(outside.ready))
        elif outside.held:
            play.complete(min(outside.held), 5)
        elif outside.gates:
            path = min(outside.gates)
            review = play.state(path) == st.IN_REVIEW
            gate = play.record(path).gate
            assert gate is not None
            said = {one.actor.name for one in gate.decisions if one.revision == play.record(path).revision}
            by = next(name for name in ("bob", "cid", "boss") if name not in said)
            play.say(path, "FAIL" if review else "APPROVE", by)
        elif outside.timers:
            play.elapse((min(outside.timers.values()) - play.now_us) / 1_000_000)
        else:
            for name in ("go", "stop"):
                for value in (5, {"ok": True}):
                    if play.run.open:
                        play.signal(name, value)


TestEngineMachine = EngineMachine.TestCase
