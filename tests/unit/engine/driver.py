"""Plays one run: a worker, people and a clock, all deterministic, with everything checked after every command.

What is checked: the fold of the written history is the state; sequence and times have no gaps; an open run says why it
is not moving; there is one end per run epoch; what succeeded is never queued again; effects lead to what a restart
would set up; a refused command leaves no trace.
"""

from collections.abc import Callable
from typing import Any

import orjson

from holdfast.v1.actor_pb2 import Actor, ActorKind, RequestMark
from holdfast.v1.definition_pb2 import Approvers, Decision
from holdfast.v1.failure_pb2 import Failure
from holdfast.v1.history_pb2 import HistoryBatch, HistoryEvent
from holdfast.v1.payload_pb2 import Payload
from holdfast.v1.run_pb2 import RUN_STATE_FAILED, StepState, WaitingReason
from holdfast.v1.workflow_service_pb2 import DocumentFormat
from holdfast_server.definition import parse
from holdfast_server.engine import commands as c, decide as engine, state as st
from holdfast_server.engine.effects import Timer, standing
from holdfast_server.engine.evolve import fold
from holdfast_server.engine.payloads import PayloadBag
from holdfast_server.engine.plan import Plan
from holdfast_server.engine.refusal import Refused
from holdfast_server.engine.settings import EngineSettings
from holdfast_server.engine.snapshot import read_snapshot, write_snapshot
from holdfast_server.engine.state import RunState, StepRecord
from holdfast_server.engine.steps import task
from holdfast_server.engine.views import waiting_on
from tests.unit.engine.book import Book
from tests.unit.engine.outside import Outside

__all__ = ["START_US", "Play", "actor", "payload", "plan_of"]

START_US = 1_893_456_000_000_000
"""2030-01-01T00:00:00Z."""
SECOND_US = 1_000_000


def plan_of(source: str) -> Plan:
    """The plan of a definition in YAML or JSON."""
    parsed = parse(source, DocumentFormat.DOCUMENT_FORMAT_YAML)
    assert parsed.plan is not None, "\n".join(f"{one.line}: {one.path}: {one.message}" for one in parsed.diagnostics)
    return parsed.plan


def payload(value: object) -> Payload:
    """A JSON value as a client sends it."""
    return Payload(data=orjson.dumps(value))


def actor(name: str) -> Actor:
    """A person."""
    return Actor(kind=ActorKind.ACTOR_KIND_CLIENT, name=name)


class Play:
    """A run and the world around it.

    Attributes:
        run: its state.
        now_us: the clock.
        book: its history as it was read back from what was written.
        rejection: what the caller of the last command was told although it took effect.
    """

    def __init__(
        self, plan: Plan | str, settings: EngineSettings | None = None, entropy: Callable[[], float] = lambda: 0.5
    ) -> None:
        self.plan = plan if isinstance(plan, Plan) else plan_of(plan)
        self.settings = settings or EngineSettings()
        self.entropy = entropy
        self.now_us = START_US
        self.stored: dict[bytes, Payload] = {}
        self.outside = Outside()
        self.rejection: Refused | None = None
        self.run: RunState
        self.book = Book(self.plan)

    @property
    def events(self) -> list[HistoryEvent]:
        """Its history as it was read back from what was written."""
        return self.book.events

    # -- commands ----------------------------------------------------------------------------------------------------

    def start(self, by: str = "ann", request: str = "", **given: Any) -> list[HistoryEvent]:
        """Starts the run; `given` are fields of the command, `input` and signals as JSON values."""
        if given.get("input") is not None:
            given["input"] = payload(given["input"])
        given["signals"] = tuple((name, payload(value)) for name, value in given.pop("signals", ()))
        command = c.Start("default", given.pop("run_id", "r1"), given.pop("key", ""), given.pop("input", None), **given)
        bag = self._bag([])
        mark = RequestMark(id=request, hash=b"h") if request else None
        self.run, decision = engine.start_run(
            self.plan, command, self.now_us, self.entropy, bag, self.settings, actor(by), mark
        )
        return self._accept(decision, bag)

    def do(self, command: c.Command, by: str = "", request: str = "", rewind_us: int = 0) -> list[HistoryEvent]:
        """Carries out a command and gives the new events.

        Raises:
            Refused: it was not carried out; the run is as it was.
        """
        bag = self._bag(engine.needs(self.run))
        mark = RequestMark(id=request, hash=b"h") if request else None
        batch = HistoryBatch()
        try:
            decision = engine.decide(
                self.run,
                command,
                self.now_us - rewind_us,
                self.entropy,
                bag,
                self.settings,
                batch,
                actor(by) if by else None,
                mark,
            )
        except Refused:
            assert not batch.events
            assert self.run == self.book.run
            raise
        path = command.path if isinstance(command, c.CompleteTask | c.FailTask | c.StopTask) else ""
        return self._accept(decision, bag, path)

    def take(self, path: str, worker: str = "w1") -> list[HistoryEvent]:
        """Hands the waiting attempt of a step to a worker."""
        record = self.record(path)
        made = self.do(c.StartTask(path, record.attempt, worker, record.lease + 1))
        self.outside.hand_out(path)
        self._check()
        return made

    def complete(self, path: str, output: object = None, attempt: int = 0) -> list[HistoryEvent]:
        """A worker returns an output for the last attempt, or the given one."""
        value = payload(output) if output is not None else None
        return self._result(path, attempt, lambda number: c.CompleteTask(path, number, value))

    def fail(self, path: str, kind: str = "Oops", attempt: int = 0, **fields: Any) -> list[HistoryEvent]:
        """A worker returns a failure."""
        failure = Failure(type=kind, message=fields.pop("message", "it broke"), **fields)
        return self._result(path, attempt, lambda number: c.FailTask(path, number, failure, reported=True))

    def found(self, path: str, failure: Failure) -> list[HistoryEvent]:
        """The server finds that an attempt is lost or takes too long."""
        return self._result(path, 0, lambda number: c.FailTask(path, number, failure, reported=False))

    def stop(self, path: str, attempt: int = 0) -> list[HistoryEvent]:
        """A worker stops as it was asked to."""
        return self._result(path, attempt, lambda number: c.StopTask(path, number))

    def give_back(self, path: str, *, reported: bool = False) -> list[HistoryEvent]:
        """An attempt goes back to its queue: no worker has it, or its worker says so."""
        return self._result(path, 0, lambda number: c.ReturnTask(path, number, reported))

    def signal(self, name: str, value: object = None) -> list[HistoryEvent]:
        """Sends a signal."""
        return self.do(c.SendSignal(name, payload(value) if value is not None else None))

    def say(self, path: str, decision: str, by: str = "bob", value: object = None, **fields: Any) -> list[HistoryEvent]:
        """A person decides at a gate, on what is shown unless the fields say otherwise."""
        gate = self.record(path).gate
        to: Approvers | None = fields.pop("to", None)
        command = c.DecideGate(
            path,
            fields.pop("revision", self.record(path).revision),
            fields.pop("content_hash", gate.content_hash if gate is not None else b""),
            Decision.Value(f"DECISION_{decision}"),
            payload(value) if value is not None else None,
            fields.pop("comment", ""),
            to,
        )
        assert not fields
        return self.do(command, by)

    def skip(self, path: str, output: object = None, note: str = "", by: str = "ops") -> list[HistoryEvent]:
        """An operator gives the output of a step."""
        value = payload(output) if output is not None else None
        return self.do(c.SkipStep(path, value, note), by)

    def elapse(self, seconds: float) -> list[HistoryEvent]:
        """Lets time pass; timers fire when they are due."""
        until_us = self.now_us + round(seconds * SECOND_US)
        made: list[HistoryEvent] = []
        while True:
            due = sorted((due, name) for name, due in self.outside.timers.items() if due <= until_us)
            if not due:
                break
            due_us, (path, timer) = due[0]
            self.now_us = max(self.now_us, due_us)
            made += self.fire(path, timer)
        self.now_us = until_us
        return made

    def fire(self, path: str, timer: Timer) -> list[HistoryEvent]:
        """Fires a timer; one that is void, or not due, must do nothing."""
        if self.outside.timers.get((path, timer), self.now_us + 1) <= self.now_us:
            del self.outside.timers[path, timer]
        fresh = Outside()
        if self.run.open:
            fresh.perform(self.run, standing(self.run))
        due_us = fresh.timers.get((path, timer))
        made = self.do(c.FireTimer(path, timer))
        expected = due_us is not None and due_us <= self.now_us and not self.run.paused
        assert bool(made) == expected, f"{timer} of {path!r} due at {due_us}, now {self.now_us}, made {len(made)}"
        return made

    def jump(self, seconds: float) -> None:
        """Moves the clock without firing anything: a server that is busy or down."""
        self.now_us += round(seconds * SECOND_US)

    def restart(self) -> None:
        """The server crashed or the run was evicted: state is the fold, or its snapshot, and the rest what stands."""
        folded = fold(self.plan, self.events)
        self.run = read_snapshot(write_snapshot(folded)).state(self.plan)
        assert self.run == folded, "a snapshot holds all of a state"
        self.outside = Outside()
        if self.run.open:
            self.outside.perform(self.run, standing(self.run))
        self._check()

    # -- what is known -----------------------------------------------------------------------------------------------

    def record(self, path: str) -> StepRecord:
        """The record of an activation; an empty one if there is none of that path."""
        found = self.run.locate(path)
        return (found[0].steps[found[1].index] if found is not None else None) or StepRecord()

    def state(self, path: str) -> StepState.ValueType:
        """The state of an activation."""
        return self.record(path).state

    def reasons(self) -> list[tuple[str, str]]:
        """(reason, path) of everything the run waits for."""
        prefix = len("WAITING_REASON_")
        found = waiting_on(self.run, lambda _queue, _handler: True)
        return [(WaitingReason.Name(one.reason)[prefix:], one.step_path) for one in found]

    # -- inside ------------------------------------------------------------------------------------------------------

    def _result(self, path: str, attempt: int, make: Callable[[int], c.Command]) -> list[HistoryEvent]:
        number = attempt or self.record(path).attempt
        record = self.record(path)
        before = (record.attempt, record.lease)
        open_before = record.state in st.HELD
        made = self.do(make(number))
        if open_before and self.record(path).state not in st.HELD and isinstance(make(number), c.CompleteTask):
            assert task.settled(self.run, path, *before), "a repeated result must be answered like the first"
        return made

    def _bag(self, hashes: list[bytes]) -> PayloadBag:
        return PayloadBag({digest: self.stored[digest] for digest in hashes}, self.settings.inline_bytes)

    def _accept(self, decision: engine.Decision, bag: PayloadBag, path: str = "") -> list[HistoryEvent]:
        """Takes over what a decision made; `path` is that of a result: matching forgets its task before the effects."""
        self.stored.update(bag.new)
        self.rejection = decision.rejection
        written = HistoryBatch.FromString(decision.batch.SerializeToString())
        made = list(written.events)
        assert decision.first_seq == (made[0].seq if made else 0)
        for event in made:
            self.book.follow(event)
        if path:
            self.outside.drop_task(path)
        self.outside.perform(self.run, decision.effects)
        if not any(event.WhichOneof("body") == "step_started" for event in made):
            self._check()
        return made

    def _check(self) -> None:
        run = self.run
        assert run == self.book.run, "the fold of the history is not the state"
        assert run.open != self.book.ended
        assert (run.pause_us != 0) == run.paused
        assert (run.close_us == 0) == run.open
        assert (run.failure is not None) == (run.state == RUN_STATE_FAILED)
        for record in run.root.steps:
            assert record is None or record.worker_id == "" or record.state != st.QUEUED
            assert record is None or record.fence_us == 0 or record.state == st.RUNNING
            assert record is None or record.due_us == 0 or record.state not in st.FINAL
        states = [st.PENDING if record is None else record.state for record in run.root.steps]
        assert run.root.unfinished == sum(state not in st.FINAL for state in states)
        assert run.root.active == sum(state not in {*st.FINAL, st.PENDING} for state in states)
        if run.open:
            assert self.reasons(), "an open run that waits for nothing"
        else:
            assert all(record is not None and record.state in st.FINAL for record in run.root.steps)
            assert not run.waits
        self.outside.check(run)
