"""The details as text: what each says, what is cut, and that nothing a server may send is too odd for them."""

import json
from datetime import UTC, timedelta, timezone

import pytest

from holdfast.v1.definition_pb2 import Decision, OnDeadline, Risk
from holdfast.v1.failure_pb2 import Failure
from holdfast.v1.gate_pb2 import Gate, GateReason, ResolutionRule
from holdfast.v1.payload_pb2 import JsonValue, Payload
from holdfast.v1.run_pb2 import RunState, StepState
from holdfast_tui.store.gate_page import GatePage, is_complete
from holdfast_tui.store.pages import Page
from holdfast_tui.store.run_page import STEPS_SHOWN_MAX, RunPage
from holdfast_tui.store.texts import SHOWN_MAX_CHARS, json_shown, payload_shown
from holdfast_tui.store.times import Moments, span_text, whole_text
from tests.tui.making import (
    NOW_S,
    at,
    gate,
    json_payload,
    markdown,
    reference,
    resolved,
    run,
    said,
    step,
    summary,
)

NOW = Moments(NOW_S, UTC)


def text_of(page: Page) -> str:
    lines = [line.plain for line in page.head(NOW)] + [page.body]
    for section in page.sections(NOW):
        lines += [section.title, *(line.plain for line in section.lines)]
        lines += [section.text.text] if section.text is not None else []
    return "\n".join(lines)


def test_a_gate_says_who_may_decide_and_what_was_said() -> None:
    made = gate(quorum=3, decided=[said("ada", Decision.DECISION_APPROVE, "fine"), said("bob", Decision.DECISION_EDIT)])
    made.approvers.principals.extend(["ada", "bob"])
    made.approvers.roles.append("lead")
    made.approvers.exclude_starter = True
    text = text_of(GatePage(made))
    assert "ada, bob, role lead, but not who started the run  1 of 3 so far" in text
    assert "APPROVE  ada at 17:46:10 (30s ago), revision 1: fine" in text
    assert "EDIT  bob" in text


def test_approvals_of_an_older_revision_do_not_count() -> None:
    assert "0 of 1 so far" in text_of(GatePage(gate(revision=2, decided=[said("ada", Decision.DECISION_APPROVE)])))


def test_the_arguments_of_an_action_are_above_the_body() -> None:
    with_action = GatePage(gate(action="pay", subject=json_payload({"sum": 7}), body=markdown("text")))
    without = GatePage(gate(subject=json_payload({"sum": 7})))
    assert [section.is_above for section in with_action.sections(NOW) if section.title == "Proposed"] == [True]
    assert [section.is_above for section in without.sections(NOW) if section.title == "Proposed"] == [False]


def test_a_body_that_is_json_is_shown_as_json() -> None:
    page = GatePage(gate(body=json_payload({"a": [1, 2]})))
    assert page.body == ""
    assert '"a": [\n' in text_of(page)


def test_a_review_shows_the_failure_and_what_to_type() -> None:
    made = gate(decisions=[Decision.DECISION_RETRY, Decision.DECISION_SKIP])
    made.reason = GateReason.GATE_REASON_ERROR_REVIEW
    made.failure.CopyFrom(Failure(type="Broken", message="no disk", step_path="a/b"))
    text = text_of(GatePage(made))
    assert "review of a failure" in text
    assert "a/b: Broken: no disk" in text
    assert "RETRY, SKIP: holdfast gate decide RETRY r1 review" in text


@pytest.mark.parametrize(
    ("rule", "words"), [(OnDeadline.ON_DEADLINE_UNSPECIFIED, "FAIL"), (OnDeadline.ON_DEADLINE_APPROVE, "APPROVE")]
)
def test_a_deadline_says_what_it_does(rule: OnDeadline.ValueType, words: str) -> None:
    made = gate(deadline_s=3 * 86_400 + 1)
    made.on_deadline = rule
    assert f"deadline Mar 20 17:46 (in 3d), then {words}" in text_of(GatePage(made))


def test_a_gate_its_deadline_resolved_says_so() -> None:
    made = resolved(gate())
    made.resolution_rule = ResolutionRule.RESOLUTION_RULE_DEADLINE
    assert "APPROVED by its deadline at 17:46:30 (10s ago)" in text_of(GatePage(made))


def test_words_this_client_does_not_know_are_shown_as_numbers() -> None:
    made = gate(action="x", decisions=[Decision.DECISION_APPROVE])
    made.decisions.append(77)  # type: ignore[arg-type]
    made.content.action.risk = 9  # type: ignore[assignment]
    made.resolution = 55  # type: ignore[assignment]
    text = text_of(GatePage(made))
    assert "risk 9" in text
    assert "APPROVE, 77" in text
    assert "55" in text
    assert "RUNNING" not in text_of(RunPage(run(summary(state=44), step("a", 33))))  # type: ignore[arg-type]


def test_an_empty_gate_and_an_empty_run_have_a_page() -> None:
    assert text_of(GatePage(Gate()))
    assert text_of(RunPage(run(summary())))


def test_a_gate_is_complete_only_when_everything_it_shows_is_here() -> None:
    assert is_complete(gate(subject=json_payload(1), body=markdown("x")))
    assert not is_complete(gate(subject=reference()))
    assert not is_complete(gate(body=reference()))
    with_payload = said("ada", Decision.DECISION_EDIT)
    with_payload.payload.CopyFrom(reference())
    assert not is_complete(gate(decided=[with_payload]))


def test_a_run_says_who_started_it_how_long_it_took_and_how_it_ended() -> None:
    of = summary(state=RunState.RUN_STATE_CANCELED, started_s=-100, closed_s=-40, message="nobody wants it")
    of.key = "order-7"
    of.run_epoch = 3
    text = text_of(RunPage(run(of)))
    assert "report v1  CANCELED  1m00s" in text
    assert "by ada" in text
    assert "order-7" in text
    assert "3, retried 2 times" in text
    assert "nobody wants it" in text


def test_an_open_run_says_when_it_times_out() -> None:
    assert "times out  17:51:40 (in 5m)" in text_of(RunPage(run(summary(), deadline_time=at(300))))


def test_steps_of_loops_are_indented_below_each_other() -> None:
    lines = text_of(RunPage(run(summary(), step("loop"), step("loop/a"), step("loop/a/b")))).splitlines()
    assert [line[:10] for line in lines if line.startswith("✔")] == ["✔ loop   S", "✔   a    S", "✔     b  S"]


def test_of_very_many_steps_the_telling_ones_are_shown_and_the_rest_is_counted() -> None:
    steps = [step(f"s{i}") for i in range(1_000)] + [step("x", StepState.STEP_STATE_RUNNING)]
    steps += [step(f"p{i}", StepState.STEP_STATE_PENDING) for i in range(500)]
    text = text_of(RunPage(run(summary(), *steps)))
    assert "▶ x" in text
    assert "and 701 SUCCEEDED, 500 PENDING: holdfast run show r1" in text
    assert len(text.splitlines()) < STEPS_SHOWN_MAX + 20


def test_payloads_left_on_the_server_say_how_to_see_them() -> None:
    text = text_of(RunPage(run(summary(), output=reference(12_345))))
    assert "12,345 bytes, left on the server: holdfast run show r1 --full" in text


def test_a_long_text_is_cut_and_says_how_much() -> None:
    shown = payload_shown(markdown("x" * (SHOWN_MAX_CHARS + 5)))
    assert (len(shown.text), shown.left_out_chars) == (SHOWN_MAX_CHARS, 5)
    page = GatePage(gate(body=markdown("x" * (SHOWN_MAX_CHARS + 5))))
    assert page.is_cut
    assert "… 5 characters more: holdfast gate show r1 review" in text_of(page)


@pytest.mark.parametrize(
    ("payload", "words"),
    [
        (Payload(), "null"),
        (json_payload({"ü": 2**70}), f'"ü": {2**70}'),
        (Payload(data=b"\xff\xfe"), "2 bytes, encoding json/utf-8, base64:\n//4="),
        (Payload(data=b"{not json"), "base64"),
        (Payload(data=b"[" * 100_000), "100,000 bytes"),
        (Payload(metadata={"encoding": b"text/plain"}, data=b"a\tb"), "a   b"),
        (Payload(metadata={"encoding": b"text/plain"}, data=b"\xff"), "base64"),
        (Payload(metadata={"encoding": b"binary/x"}, data=b"\x00\x01"), "encoding binary/x, base64:\nAAE="),
        (json_payload("\x1b[31m"), '"\\u001b[31m"'),
    ],
)
def test_any_payload_is_text(payload: Payload, words: str) -> None:
    assert words in payload_shown(payload).text


def test_a_schema_that_is_no_json_is_shown_as_it_is() -> None:
    assert json_shown(JsonValue(json="{oops")).text == "{oops"
    assert json.loads(json_shown(JsonValue(json='{"a":1}')).text) == {"a": 1}


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0.000s"),
        (9.5, "9.500s"),
        (59, "59s"),
        (61, "1m01s"),
        (3_700, "1h01m"),
        (90_000, "1d01h"),
        (-5, "-5.000s"),
    ],
)
def test_lengths_of_time(seconds: float, text: str) -> None:
    assert span_text(seconds) == text


def test_lengths_without_fractions() -> None:
    assert [whole_text(seconds) for seconds in (-3, 0.9, 12.7, 65)] == ["0s", "0s", "12s", "1m05s"]


def test_times_are_those_of_the_readers_zone() -> None:
    here = Moments(NOW_S, timezone(timedelta(hours=9)))
    assert here.clock(NOW_S) == "02:46:40"
    assert here.ago(NOW_S - 86_400) == "Mar 17 02:46 (1d ago)"
    assert here.clock(NOW_S + 400 * 86_400) == "2031-04-22 02:46"
    assert here.clock(1e18) == "1000000000000000000 s since 1970"
    assert (here.age(NOW_S + 5), here.until(NOW_S - 5)) == ("0s", "now")


def test_risk_is_told_in_words() -> None:
    risks = (Risk.RISK_UNSPECIFIED, Risk.RISK_LOW, Risk.RISK_MEDIUM, Risk.RISK_HIGH)
    words = [text_of(GatePage(gate(action="x", risk=risk))).split("risk ")[1].split("\n")[0] for risk in risks]
    assert words == ["LOW", "LOW", "MEDIUM", "HIGH"]
