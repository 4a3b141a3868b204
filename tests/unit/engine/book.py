"""Follows one history as it is written, and keeps the book of what may happen once only, and when.

It reads events and the state before them, and knows of each rule no more than what it forbids: so it holds whoever
decided them to account, in the tests of the engine as in the simulation of the whole server.
"""

from typing import Any

from holdfast.v1.definition_pb2 import EdgeOn, JoinMode
from holdfast.v1.history_pb2 import EdgeResolution, HistoryEvent, QueueCause, TimerKind
from holdfast.v1.step_action_pb2 import StepActionKind
from holdfast_server.engine import failures, state as st
from holdfast_server.engine.evolve import evolve, start_state
from holdfast_server.engine.plan import Plan, RetryPlan, StepPlan
from holdfast_server.engine.state import RunState, Scope, StepRecord

__all__ = ["RUN_ENDS", "Book"]

RUN_ENDS = frozenset({"run_succeeded", "run_failed", "run_canceled", "run_terminated", "run_timed_out"})
STEP_ENDS = frozenset({"step_succeeded", "step_failed", "step_skipped", "step_canceled"})
STEP_STARTS = frozenset({"step_queued", "gate_opened", "wait_opened", "timer_started"})


class Book:
    """The history of one run.

    Attributes:
        events: all of it.
        run: its fold.
        ended: whether the run is closed.
        succeeded: activations that have succeeded; they never start again.
        settled: (path, attempt, lease) of results of workers that were accepted.
        marks: sequence number of the first event of each request.
        states: the `RunState` after each event.
        ends: (run epoch, state) of each time the run was closed.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.events: list[HistoryEvent] = []
        self.run: RunState
        self.ended = False
        self.succeeded: set[str] = set()
        self.settled: set[tuple[str, int, int]] = set()
        self.marks: dict[str, int] = {}
        self.states: list[int] = []
        self.ends: list[tuple[int, int]] = []
        self._finished: set[str] = set()
        self._tries: dict[str, int] = {}
        self._acted: dict[str, int] = {}
        """Steps an operator has taken in hand, and what for."""

    def follow(self, event: HistoryEvent) -> None:
        """Takes in the next event.

        Raises:
            AssertionError: it must not come here.
        """
        name = event.WhichOneof("body") or ""
        body = getattr(event, name)
        assert event.seq == len(self.events) + 1, f"event {event.seq} comes after {len(self.events)}"
        if event.HasField("request"):
            assert event.request.id not in self.marks, f"request {event.request.id} was carried out twice"
            self.marks[event.request.id] = event.seq
        if self.events:
            last = self.events[-1].time
            assert (last.seconds, last.nanos) <= (event.time.seconds, event.time.nanos), "time runs backwards"
            self._check_once(name, body)
            self._check_rules(name, body, event.time.ToMicroseconds())
            evolve(self.run, event)
        else:
            self.run = start_state(self.plan, event)
        self.events.append(event)
        self.states.append(self.run.state)
        if name in RUN_ENDS:
            self.ended = True
            self.ends.append((self.run.run_epoch, self.run.state))
        elif getattr(body, "path", ""):
            settled = self._record(body.path)[2].settled
            if settled[0]:
                self.settled.add((body.path, *settled))

    def _record(self, path: str) -> tuple[Scope, StepPlan, StepRecord]:
        found = self.run.locate(path)
        assert found is not None, f"there is no step {path}"
        scope, step = found
        return scope, step, scope.steps[step.index] or StepRecord()

    # -- once only ---------------------------------------------------------------------------------------------------

    def _check_once(self, name: str, body: Any) -> None:
        assert not self.ended or name == "run_reopened", f"{name} after the end of the run"
        if name == "run_reopened":
            assert self.ended, "a run that is open was reopened"
            self.ended = False
            reset = set(body.reset_paths)
            assert not self.succeeded & reset, f"what succeeded starts over: {self.succeeded & reset}"
            self._finished -= reset
            for path in reset:
                self._tries.pop(path, None)
        elif name in STEP_ENDS:
            assert body.path not in self._finished, f"{body.path} finished twice"
            self._finished.add(body.path)
            if name == "step_succeeded":
                self.succeeded.add(body.path)
        elif name in STEP_STARTS or name in ("step_started", "step_attempt_failed", "step_action_taken"):
            assert body.path not in self._finished, f"{name} of {body.path}, which is finished"
        elif name == "wait_matched":
            assert body.signal_seq in self.run.signals, f"signal {body.signal_seq} was taken twice"
        elif name == "gate_resolved":
            gate = self._record(body.path)[2].gate
            assert gate is not None, f"{body.path} has no gate"
            assert not gate.resolution, f"the gate {body.path} was decided twice"

    # -- rules of the graph, of attempts and of time -----------------------------------------------------------------

    def _check_rules(self, name: str, body: Any, time_us: int) -> None:
        run = self.run
        if name == "timer_fired":
            if body.kind == TimerKind.TIMER_KIND_START:
                _due("the start", run.start_after_us, time_us)
            elif body.kind == TimerKind.TIMER_KIND_RUN_TIMEOUT:
                _due("the timeout of the run", run.deadline_us, time_us)
            return
        if not getattr(body, "path", ""):
            return
        scope, step, record = self._record(body.path)
        if name == "step_action_taken":
            self._acted[body.path] = body.action
            return
        action = self._acted.pop(body.path, 0) if name != "gate_resolved" else 0
        if action:
            follows = FOLLOWS.get(action, name)
            assert name == follows, f"{name} of {body.path} follows an action that makes it {follows}"
        begins = name in STEP_STARTS and record.state == st.PENDING
        if begins and not step.cleanup and not getattr(body, "review_rule", 0):
            assert not scope.closing, f"{body.path} starts in a block that is closing"
            assert _is_met(step, record), f"{body.path} starts although its join is not met: {record.edges}"
        if name == "step_queued":
            self._check_queued(body, step, record, time_us)
        elif name == "step_succeeded" and step.kind == "sleep" and not action:
            _due(body.path, record.due_us, time_us)
        elif name in ("step_attempt_failed", "step_failed"):
            self._check_failed(name, body, step, record, time_us)
        edges = getattr(body, "edges", ())
        for edge in edges:
            self._check_edge(name, scope, body.path, edge)
        assert len({(edge.target, edge.index) for edge in edges}) == len(edges), f"{body.path} resolves an edge twice"

    def _check_queued(self, body: Any, step: StepPlan, record: StepRecord, time_us: int) -> None:
        policy = _policy(step, body.fallback_rule)
        returned = body.cause == QueueCause.QUEUE_CAUSE_RETURNED
        assert body.attempt == record.attempt + (not returned), f"attempt {body.attempt} comes after {record.attempt}"
        if returned:
            assert record.state == st.RUNNING, f"{body.path} comes back though nobody has it"
            return
        if body.cause == QueueCause.QUEUE_CAUSE_RETRY:
            assert record.state == st.BACKING_OFF, f"{body.path} is tried again though it has not failed"
            _due(f"the retry of {body.path}", record.due_us, time_us)
            self._tries[body.path] += 1
        elif body.cause == QueueCause.QUEUE_CAUSE_OPERATOR and record.state == st.BACKING_OFF:
            # One more, if the policy allows no other.
            self._tries[body.path] = min(self._tries[body.path] + 1, policy.max_attempts)
        else:
            self._tries[body.path] = 1
        tries = self._tries[body.path]
        assert tries <= policy.max_attempts, f"{body.path} is tried {tries} times; it may be {policy.max_attempts}"

    def _check_failed(self, name: str, body: Any, step: StepPlan, record: StepRecord, time_us: int) -> None:
        kind = body.failure.type
        if kind == failures.SCHEDULE_TO_START and record.state == st.QUEUED:
            _due(f"{kind} of {body.path}", record.schedule_to_start_us, time_us)
        elif kind == failures.WAIT and record.state == st.WAITING:
            _due(f"{kind} of {body.path}", record.due_us, time_us)
        elif kind == failures.GATE and step.kind == "gate" and record.gate is not None:
            _due(f"{kind} of {body.path}", record.gate.deadline_us, time_us)
        held = record.state in st.HELD
        if not held or step.kind != "task" or record.fence_us or body.failure.HasField("retryable"):
            return
        # A failure of a handler that says nothing of being final: it is tried again as often as the policy allows.
        policy = _policy(step, record.fallback_rule)
        left = policy.max_attempts - self._tries[body.path]
        final = any(failures.matches((one,), kind) for one in policy.non_retryable)
        if left and not final and not record.schedule_to_close_us and not failures.of_server(kind):
            retried = name == "step_attempt_failed" and body.HasField("retry_time")
            assert retried, f"{body.path} is given up with {left} attempts left"

    @staticmethod
    def _check_edge(name: str, scope: Scope, path: str, edge: Any) -> None:
        target = scope.block.steps[scope.block.by_name[edge.target]]
        plan = target.after[edge.index]
        assert scope.path(scope.block.steps[plan.source]) == path, f"{path} resolves the edge of another step"
        record = scope.steps[target.index]
        known = record.edges[edge.index] if record is not None and record.edges is not None else st.UNRESOLVED
        assert known == st.UNRESOLVED, f"edge {edge.index} into {edge.target} is resolved twice"
        state = STATE_AFTER[name]
        fits = state in FITS[plan.on]
        if plan.when is None or not fits:
            wanted = EdgeResolution.EDGE_RESOLUTION_TAKEN if fits else EdgeResolution.EDGE_RESOLUTION_DEAD
            assert edge.resolution == wanted, f"the edge from {path}, {name}, into {edge.target} is {edge.resolution}"


STATE_AFTER = {
    "step_succeeded": st.SUCCEEDED,
    "step_failed": st.FAILED,
    "step_skipped": st.SKIPPED,
    "step_canceled": st.CANCELED,
}
FOLLOWS: dict[int, str] = {
    StepActionKind.STEP_ACTION_KIND_SKIP: "step_succeeded",
    StepActionKind.STEP_ACTION_KIND_FAIL: "step_failed",
}
"""What an action makes of a step at once."""
FITS = {
    EdgeOn.EDGE_ON_SUCCEEDED: {st.SUCCEEDED},
    EdgeOn.EDGE_ON_FAILED: {st.FAILED},
    EdgeOn.EDGE_ON_SKIPPED: {st.SKIPPED},
    EdgeOn.EDGE_ON_FINISHED: set(st.FINAL),
}


def _due(what: str, due_us: int, time_us: int) -> None:
    assert due_us, f"{what} fires though nothing waits for it"
    assert due_us <= time_us, f"{what} fires {due_us - time_us} us too early"


def _policy(step: StepPlan, fallback_rule: int) -> RetryPlan:
    policy = step.on_error[fallback_rule - 1].retry if fallback_rule else step.retry
    assert policy is not None, f"{step.name} has no retry policy"
    return policy


def _is_met(step: StepPlan, record: StepRecord) -> bool:
    """Whether a step may start by its edges."""
    if not step.after:
        return True
    edges = record.edges or b""
    taken = edges.count(st.TAKEN)
    if step.join_mode in (JoinMode.JOIN_MODE_FIRST, JoinMode.JOIN_MODE_QUORUM):
        return taken >= step.join_count
    if step.join_mode == JoinMode.JOIN_MODE_ALL:
        return taken == len(step.after)
    return bool(taken) and st.UNRESOLVED not in edges
