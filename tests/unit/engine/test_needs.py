"""`needs` names every stored payload a decision may look into: with those alone each of these runs goes on."""

import pytest

from holdfast.v1.definition_pb2 import Decision
from holdfast.v1.payload_pb2 import Payload
from holdfast.v1.run_pb2 import RUN_STATE_SUCCEEDED
from holdfast_server.engine import commands as c, decide as engine, state as st
from tests.unit.engine.driver import Play

BIG = Payload(data=b'"' + b"x" * 20_000 + b'"')


def test_what_a_template_around_an_output_shows_at_a_gate() -> None:
    play = Play(
        """
        name: w
        steps:
          - {name: a, task: {handler: h}}
          - {name: g, after: [{step: a}], input: {value: "${steps.a.output}", more: 1}, gate: {title: t}}
        """
    )
    play.start()
    play.do(c.CompleteTask("a", 1, BIG))
    _decide(play, Decision.DECISION_APPROVE)
    assert play.state("g") == st.SUCCEEDED


def test_what_a_gate_shows_that_comes_from_nowhere_else() -> None:
    long = "y" * 9_000
    play = Play(
        f'{{name: w, steps: [{{name: g, input: {{id: "${{run.id}}", text: "{long}"}}, '
        "gate: {title: t, decisions: [APPROVE, EDIT]}}]}"
    )
    play.start()
    _decide(play, Decision.DECISION_EDIT, BIG)
    _decide(play, Decision.DECISION_APPROVE)
    assert play.state("g") == st.SUCCEEDED


def test_an_output_that_is_passed_on_to_a_schema() -> None:
    play = Play(
        """
        name: w
        steps:
          - {name: a, task: {handler: h}}
          - {name: between, after: [{step: a}], task: {handler: h}}
          - name: b
            after: [{step: between}]
            task: {handler: h}
            input: "${steps.a.output}"
            input_schema: {type: string}
        output: "${steps.a.output}"
        output_schema: {type: string}
        """
    )
    play.start()
    play.do(c.CompleteTask("a", 1, BIG))
    play.complete("between")
    play.complete("b")
    assert not play.run.open


@pytest.mark.parametrize("buffered", [True, False])
def test_a_signal_that_a_wait_holds_against_a_schema(buffered: bool) -> None:
    play = Play(
        """
        name: w
        steps:
          - {name: a, task: {handler: h}}
          - {name: b, after: [{step: a}], wait: {signal: s}, output_schema: {type: string}}
        """
    )
    play.start()
    commands: list[c.Command] = [c.SendSignal("s", BIG), c.CompleteTask("a", 1, None)]
    for command in commands if buffered else reversed(commands):
        play.do(command)
    assert play.state("b") == st.SUCCEEDED


LOOKS_BACK = """
name: w
steps:
  - {name: a, task: {handler: h}}
  - {name: b, after: [{step: a}], task: {handler: h}, input: "${steps.a.output.x}"}
  - {name: c, after: [{step: b, when: "size(steps.b.output.x) > 0"}], task: {handler: h}, retry: {max_attempts: 1}}
  - {name: d, after: [{step: c}], task: {handler: h}, input: {all: "${steps.a.output.x}"}}
"""


def _needed(play: Play) -> list[str]:
    names = {digest: path for (_steps, path, _output), digest in play.run.large.items()}
    return sorted(names[digest] for digest in engine.needs(play.run))


def test_what_nobody_will_look_into_any_more_is_not_needed() -> None:
    play = Play(LOOKS_BACK)
    play.start()
    needed = []
    for name in "abcd":
        play.complete(name, {"x": name * 10_000})
        needed.append(_needed(play))

    assert play.run.state == RUN_STATE_SUCCEEDED
    # The condition over `b` is about an edge into `c`, so it may be needed until that has finished; a closed run can be
    # opened again, and then all of it may be.
    assert needed == [["a"], ["a", "b"], ["a"], ["a", "b"]]


def test_what_a_run_that_is_opened_again_looks_into_is_needed_again() -> None:
    play = Play(LOOKS_BACK)
    play.start()
    for name in "ab":
        play.complete(name, {"x": name * 10_000})
    play.fail("c")
    assert not play.run.open

    play.do(c.Retry())

    assert _needed(play) == ["a", "b"]
    play.complete("c")
    assert _needed(play) == ["a"]
    play.complete("d")
    assert play.run.state == RUN_STATE_SUCCEEDED


def _decide(play: Play, decision: Decision.ValueType, payload: Payload | None = None) -> None:
    record = play.record("g")
    assert record.gate is not None
    play.do(c.DecideGate("g", record.revision, record.gate.content_hash, decision, payload), by="x")
