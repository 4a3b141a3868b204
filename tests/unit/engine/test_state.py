"""What is kept of a run for those who read it."""

import json

from google.protobuf.message import Message

from holdfast.v1.definition_pb2 import Approvers
from holdfast_server.engine import state as st
from holdfast_server.engine.evolve import fold
from tests.unit.engine.driver import START_US, Play

STUBBORN = """
name: w
steps:
  - name: a
    task: {handler: large, queue: gpu}
    input: {n: 1}
    retry: {max_attempts: 3, initial_interval: 0s}
    on_error:
      - {match: [Busy], fallback: {handler: small, retry: {max_attempts: 2}}}
      - {match: [Full], fallback: {handler: small, queue: cpu, retry: {max_attempts: 1}}}
      - {match: ["*"], review: {}}
"""


def test_what_the_start_fixes() -> None:
    play = Play("{name: w, timeout: 60s, steps: [{name: a, task: {handler: h}}]}")
    play.start(by="ann", run_id="r7", key="k", input={"n": 1}, traceparent="00-1-2-01", start_after_us=START_US + 5)

    run = play.run
    assert (run.namespace, run.run_id, run.key, run.traceparent) == ("default", "r7", "k", "00-1-2-01")
    assert run.started_by is not None
    assert run.started_by.name == "ann"
    assert (run.start_us, run.start_after_us, run.begun) == (START_US, START_US + 5, False)
    assert (run.deadline_us, run.timeout_us, run.run_epoch) == (START_US + 60_000_005, 60_000_000, 1)


def test_who_works_on_an_attempt() -> None:
    play = Play(STUBBORN)
    play.start()
    play.take("a", "w1")
    play.elapse(1)
    play.give_back("a")
    record = play.record("a")
    assert (record.state, record.worker_id, record.lease) == (st.QUEUED, "", 1)

    play.take("a", "w2")

    assert (record.worker_id, record.lease, record.schedule_us) == ("w2", 2, START_US)
    assert record.start_us == START_US + 1_000_000


def test_what_a_wait_shows() -> None:
    play = Play('{name: w, steps: [{name: a, wait: {signal: go, timeout: 5s}, input: "${input.n}"}]}')
    play.start(input={"n": 7})

    record = play.record("a")
    assert record.input is not None
    assert record.input.data == b"7"
    assert (record.schedule_us, record.due_us) == (START_US, START_US + 5_000_000)


def test_who_answered() -> None:
    play = Play(STUBBORN)
    play.start()
    play.take("a")
    play.fail("a", "Busy", retryable=False)
    record = play.record("a")
    assert (record.handler, record.queue, record.fallback_rule, record.attempts_left) == ("small", "gpu", 1, 1)

    play.complete("a", 5)

    assert record.answered_by == "small"
    assert record.failure is None
    assert record.output is not None
    assert json.loads(record.output.data) == 5


def test_a_review_gives_all_attempts_back() -> None:
    play = Play(STUBBORN)
    play.start()
    play.take("a")
    play.fail("a", retryable=False)
    play.say("a", "EDIT", value={"n": 2})
    record = play.record("a")
    assert (record.attempt, record.attempts_left, record.input_revision) == (2, 2, 2)
    assert record.input is not None
    assert json.loads(record.input.data) == {"n": 2}

    play.take("a")
    play.fail("a", retryable=False)
    play.say("a", "SKIP", by="eve", value="by hand")

    assert (record.state, record.answered_by) == (st.SUCCEEDED, "eve")


def test_a_review_goes_back_to_the_steps_own_handler_and_queue() -> None:
    play = Play(STUBBORN)
    play.start()
    play.take("a")
    play.fail("a", "Full", retryable=False)
    record = play.record("a")
    assert (record.handler, record.queue) == ("small", "cpu")
    play.take("a")
    play.fail("a")

    play.say("a", "RETRY")

    assert (record.handler, record.queue, record.fallback_rule) == ("large", "gpu", 0)


def test_failures_handed_back_by_a_join_are_handled_no_more() -> None:
    play = Play(
        """
        name: w
        steps:
          - {name: a, task: {handler: h}}
          - {name: b, task: {handler: h}}
          - {name: j, join: {mode: FIRST}, after: [{step: a}, {step: b}], task: {handler: h}}
        """
    )
    play.start()
    play.fail("a", retryable=False)
    assert play.record("a").handled

    play.fail("b", retryable=False)

    assert not play.record("a").handled
    assert not play.record("b").handled
    assert play.run.failure is not None
    assert play.run.failure.step_path == "a"


EVERYTHING = """
name: w
attributes: {who: "${input.who}"}
steps:
  - {name: a, task: {handler: h}, input: {n: 1}, on_error: [{match: ["*"], review: {}}]}
  - {name: b, task: {handler: h}, input: "${input}"}
  - name: g
    input: {x: 1}
    gate: {title: t, decisions: [APPROVE, EDIT, DELEGATE]}
  - {name: w, wait: {signal: go}, input: 7}
"""


def test_nothing_of_an_event_itself_is_kept() -> None:
    """A message inside an event would keep all of the event in memory, for as long as the run is there."""
    play = Play(EVERYTHING)
    play.start(input={"who": "x"})
    play.signal("other", {"y": 2})
    play.take("a")
    play.fail("a", retryable=False)
    play.take("b")
    play.complete("b", {"z": 3})
    play.say("g", "DELEGATE", to=Approvers(principals=["cyd"]))
    play.say("g", "EDIT", by="cyd", value={"x": 2})
    folded = fold(play.plan, play.events)
    assert folded == play.run

    for event in play.events:
        _scramble(event)

    assert folded == play.run


def _scramble(message: Message) -> None:
    """Makes something else of every text, and of all data, in a message."""
    for field, value in message.ListFields():
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            for key, entry in list(value.items()):
                if isinstance(entry, Message):
                    _scramble(entry)
                else:
                    value[key] = entry * 2
        elif field.message_type is not None:
            for one in value if field.is_repeated else [value]:
                _scramble(one)
        elif field.type in {field.TYPE_STRING, field.TYPE_BYTES}:
            if field.is_repeated:
                value[:] = [one * 2 for one in value]
            else:
                setattr(message, field.name, value * 2)
