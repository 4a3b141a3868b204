"""The limit of a run's history: what would let it grow is refused, what brings it to its end is not."""

from dataclasses import replace

import pytest

from holdfast.v1.definition_pb2 import Approvers
from holdfast_server.engine import commands as c
from holdfast_server.engine.refusal import Refused
from holdfast_server.engine.settings import EngineSettings
from tests.unit.engine.driver import Play

SOURCE = """
name: long
signals: [{name: more}]
steps:
  - {name: work, task: {handler: work}, retry: {max_attempts: 9, initial_interval: 1s}}
  - {name: ask, gate: {title: Ask, decisions: [APPROVE, EDIT, DELEGATE]}, input: {n: 1}}
  - {name: next, task: {handler: next}, after: [{step: ask}]}
  - {name: tidy, cleanup: true, task: {handler: tidy}, after: [{step: work, on: FINISHED}]}
"""


def play() -> Play:
    made = Play(SOURCE)
    made.start()
    return made


def limit(made: Play, history_bytes: int) -> None:
    made.settings = replace(EngineSettings(), history_bytes=history_bytes)


def test_the_size_is_that_of_the_events() -> None:
    made = play()
    made.signal("more", "x" * 500)

    assert made.run.history_bytes == sum(event.ByteSize() for event in made.events)
    made.restart()
    assert made.run.history_bytes == sum(event.ByteSize() for event in made.events)


def test_at_the_limit_everything_is_taken_and_one_byte_over_it_is_told() -> None:
    made = play()
    limit(made, made.run.history_bytes)
    made.signal("more", "x" * 500)
    over = made.run.history_bytes

    with pytest.raises(Refused) as caught:
        made.signal("more")

    value = made.settings.history_bytes
    assert caught.value.message == f"the history of run 'r1' has {over}; the limit history_bytes is {value}"
    assert caught.value.metadata == {"limit": "history_bytes", "value": str(value), "actual": str(over)}
    limit(made, over)
    made.signal("more")


def test_over_it_what_would_let_it_grow_is_refused() -> None:
    made = play()
    limit(made, 10)

    for command in (c.SendSignal("more", None), c.Pause(), c.RetryStep("work")):
        with pytest.raises(Refused, match="history_bytes"):
            made.do(command)
    for decision, fields in (("EDIT", {"value": {"n": 2}}), ("DELEGATE", {"to": Approvers(principals=["eve"])})):
        with pytest.raises(Refused, match="history_bytes"):
            made.say("ask", decision, **fields)


def test_over_it_the_run_comes_to_its_end() -> None:
    made = play()
    limit(made, 10)

    made.say("ask", "APPROVE")
    made.take("next")
    made.complete("next")
    made.take("work")
    made.fail("work", "Oops")
    failure = made.record("work").failure
    assert failure is not None
    assert (failure.type, failure.cause.type) == ("LimitExceeded", "Oops")
    assert "the limit history_bytes is 10" in failure.message
    made.take("tidy")
    made.complete("tidy")
    assert not made.run.open
    with pytest.raises(Refused, match="history_bytes"):
        made.do(c.Retry())


@pytest.mark.parametrize("command", [c.Cancel("enough"), c.Terminate("enough")])
def test_over_it_the_run_can_be_ended(command: c.Command) -> None:
    made = play()
    made.do(c.Pause())
    limit(made, 10)

    assert made.do(c.Resume())
    assert made.do(command)


def test_over_it_an_attempt_that_comes_back_is_handed_out_again() -> None:
    made = play()
    limit(made, 10)

    made.take("work")
    made.give_back("work")
    made.take("work")
    made.complete("work")
