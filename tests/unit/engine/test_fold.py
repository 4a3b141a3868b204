"""The fold: every event of the contract has its function, and a history out of order is refused."""

import pytest

from holdfast.v1.history_pb2 import HistoryEvent, RunPaused, StepStarted
from holdfast_server.engine import effects
from holdfast_server.engine.evolve import HANDLERS, evolve, fold
from tests.unit.engine.driver import Play

DEFINITION = """
name: w
steps:
  - {name: a, task: {handler: h}}
  - {name: b, after: [{step: a}], task: {handler: h}}
"""


def _bodies() -> set[str]:
    return {field.name for field in HistoryEvent.DESCRIPTOR.oneofs_by_name["body"].fields}


def test_every_event_of_the_contract_is_folded() -> None:
    assert set(HANDLERS) == _bodies()


def test_effects_follow_from_events_of_the_contract() -> None:
    assert set(effects.SOURCES) <= _bodies()


def test_every_part_of_a_history_folds_to_where_the_run_was() -> None:
    play = Play(DEFINITION)
    seen = {}
    play.start()
    seen[play.run.seq] = repr(play.run)
    for path in ("a", "b"):
        play.take(path)
        seen[play.run.seq] = repr(play.run)
        play.complete(path, 1)
        seen[play.run.seq] = repr(play.run)

    for seq, state in seen.items():
        assert repr(fold(play.plan, play.events[:seq])) == state


@pytest.mark.parametrize("seq", [0, 1, 2, 4])
def test_an_event_out_of_order_is_refused(seq: int) -> None:
    play = Play(DEFINITION)
    play.start()

    with pytest.raises(ValueError, match="does not follow event 2"):
        evolve(play.run, HistoryEvent(seq=seq, run_paused=RunPaused()))


def test_an_event_nobody_knows_is_refused() -> None:
    play = Play(DEFINITION)
    play.start()

    with pytest.raises(ValueError, match="no body this version knows"):
        evolve(play.run, HistoryEvent(seq=3))


def test_an_event_of_a_step_that_is_not_there_is_refused() -> None:
    play = Play(DEFINITION)
    play.start()

    with pytest.raises(ValueError, match="no step 'x'"):
        evolve(play.run, HistoryEvent(seq=3, step_started=StepStarted(path="x")))
