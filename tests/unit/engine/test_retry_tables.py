"""Decision tables of attempts: which failures are tried again, when, and which patterns match them."""

from collections.abc import Callable
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration

from holdfast.v1.errors_pb2 import ErrorReason
from holdfast_server.engine import commands as c, failures, state as st
from holdfast_server.engine.refusal import Refused
from holdfast_server.engine.settings import EngineSettings
from holdfast_server.engine.steps.task import settled
from tests.unit.engine.driver import SECOND_US, START_US, Play

ONE = """
name: w
steps:
  - {{name: a, task: {{handler: h}}, retry: {{jitter: 0{more}}}}}
"""


def _play(more: str = "", **kwargs: Any) -> Play:
    play = Play(ONE.format(more=more), **kwargs)
    play.start()
    play.take("a")
    return play


FOUND = {
    failures.START_TO_CLOSE: True,
    failures.HEARTBEAT: True,
    failures.LOST: True,
    failures.SCHEDULE_TO_START: False,
    failures.SCHEDULE_TO_CLOSE: False,
    failures.EXPRESSION_ERROR: False,
    failures.PAYLOAD_TOO_LARGE: False,
    failures.REJECTED: False,
}


@pytest.mark.parametrize("kind", FOUND)
def test_failures_of_the_server_are_tried_again_by_type(kind: str) -> None:
    play = _play()

    play.found("a", failures.failure(kind, "found"))

    assert play.state("a") == (st.BACKING_OFF if FOUND[kind] else st.FAILED)
    record = play.record("a")
    assert record.failure is not None
    assert record.failure.type == kind


@pytest.mark.parametrize("retryable", [None, True, False])
@pytest.mark.parametrize("kind", ["Oops", "RateLimited", "User.Lost", "x"])
def test_failures_of_handlers_are_tried_again_unless_marked(kind: str, retryable: bool | None) -> None:
    play = _play()

    play.fail("a", kind, **({} if retryable is None else {"retryable": retryable}))

    assert play.state("a") == (st.FAILED if retryable is False else st.BACKING_OFF)


@pytest.mark.parametrize("kind", sorted(failures.RESERVED))
def test_reserved_names_are_marked_as_the_users(kind: str) -> None:
    play = _play()

    play.fail("a", kind)

    failure = play.record("a").failure
    assert failure is not None
    assert failure.type == f"User.{kind}"


def test_marking_a_reserved_name_leaves_the_callers_message_alone() -> None:
    reported = failures.failure("Lost", "of the handler")

    assert failures.of_user(reported).type == "User.Lost"
    assert reported.type == "Lost"


MATCHES = [
    (("*",), "Oops", True),
    (("*",), "", True),
    (("Oops",), "Oops", True),
    (("Oops",), "Oops.More", False),
    (("Oops",), "oops", False),
    (("Timeout.*",), "Timeout.Wait", True),
    (("Timeout.*",), "Timeout.A.B", True),
    (("Timeout.*",), "Timeout", False),
    (("Timeout.*",), "TimeoutWait", False),
    (("Tim*",), "Timeout", False),
    (("A", "B"), "B", True),
    ((), "B", False),
]


@pytest.mark.parametrize(("patterns", "kind", "expected"), MATCHES)
def test_patterns_of_types(patterns: tuple[str, ...], kind: str, expected: bool) -> None:
    assert failures.matches(patterns, kind) is expected


@pytest.mark.parametrize(
    ("more", "waits_s"),
    [
        ("", [1, 2, 4, 8]),
        (", max_attempts: 1", []),
        (", max_attempts: 2", [1]),
        (", max_attempts: 7, initial_interval: 10s", [10, 20, 40, 60, 60, 60]),
        (", max_attempts: 4, backoff: 1", [1, 1, 1]),
        (", max_attempts: 5, initial_interval: 100ms, backoff: 1.5", [0.1, 0.15, 0.225, 0.3375]),
        (", max_attempts: 4, initial_interval: 0s", [0, 0, 0]),
        (", max_attempts: 4, initial_interval: 90s", [60, 60, 60]),
    ],
)
def test_backoff(more: str, waits_s: list[float]) -> None:
    play = Play(ONE.format(more=more))
    play.start()
    seen = []
    for _ in range(len(waits_s) + 1):
        play.take("a")
        play.fail("a")
        if not play.run.open:
            break
        seen.append((play.record("a").due_us - play.now_us) / SECOND_US)
        play.elapse(seen[-1])

    assert seen == waits_s
    assert play.state("a") == st.FAILED


def test_backoff_of_a_million_attempts_stays_at_its_longest_wait() -> None:
    play = _play(", max_attempts: 1000000, backoff: 1.0001")
    record = play.record("a")
    record.attempts_left = 1  # as after 999,999 attempts
    play.book.run.root.record(0).attempts_left = 1

    play.fail("a")

    assert record.due_us - play.now_us == 60 * SECOND_US


@pytest.mark.parametrize(("drawn", "wait_s"), [(0.0, 10), (0.5, 9), (0.999999, 8.000002)])
def test_jitter_only_shortens(drawn: float, wait_s: float) -> None:
    play = Play(ONE.format(more=", initial_interval: 10s").replace("jitter: 0", "jitter: 0.2"), entropy=lambda: drawn)
    play.start()
    play.take("a")

    play.fail("a")

    assert (play.record("a").due_us - START_US) / SECOND_US == pytest.approx(wait_s)


@pytest.mark.parametrize(("retry_after_s", "wait_s"), [(0, 0), (5, 5), (3600, 3600), (-7, 0)])
def test_retry_after_replaces_the_backoff(retry_after_s: int, wait_s: int) -> None:
    play = _play()

    play.fail("a", retry_after=Duration(seconds=retry_after_s))

    assert play.record("a").due_us == play.now_us + wait_s * SECOND_US


def test_retry_after_is_exact_to_the_microsecond() -> None:
    play = _play()

    play.fail("a", retry_after=Duration(seconds=1, nanos=500_001_999))

    assert play.record("a").due_us == play.now_us + 1_500_001


def test_retry_after_does_not_make_a_final_failure_retryable() -> None:
    play = _play()

    play.fail("a", retryable=False, retry_after=Duration(seconds=1))

    assert play.state("a") == st.FAILED


def test_too_large_an_output_tells_the_worker_which_limit() -> None:
    play = _play(settings=EngineSettings(payload_bytes=10))

    play.complete("a", "x" * 10)

    assert play.rejection is not None
    assert play.rejection.reason == ErrorReason.ERROR_REASON_PAYLOAD_TOO_LARGE
    assert "payload_bytes is 10" in play.rejection.message


def test_an_output_of_just_the_limit_is_taken() -> None:
    play = _play(settings=EngineSettings(payload_bytes=10))

    play.complete("a", "x" * 8)

    assert play.state("a") == st.SUCCEEDED


SETTLED: dict[str, tuple[Callable[[Play], object], bool]] = {
    "complete": (lambda play: play.complete("a", 1), True),
    "fail, tried again": (lambda play: play.fail("a"), True),
    "fail for good": (lambda play: play.fail("a", retryable=False), True),
    "lost": (lambda play: play.found("a", failures.failure(failures.LOST, "")), False),
    "lost for good": (lambda play: play.found("a", failures.failure(failures.SCHEDULE_TO_CLOSE, "")), False),
    "returned": (lambda play: play.give_back("a"), False),
}


@pytest.mark.parametrize("how", SETTLED)
def test_only_what_a_worker_said_is_answered_alike_again(how: str) -> None:

    act, expected = SETTLED[how]
    play = _play()

    act(play)

    assert bool(settled(play.run, "a", 1, 1)) is expected
    assert not settled(play.run, "a", 1, 2)
    assert not settled(play.run, "a", 2, 1)
    assert not settled(play.run, "b", 1, 1)


@pytest.mark.parametrize("seconds", [0, 29])
def test_a_worker_that_stopped_in_time_is_answered_alike_again(seconds: int) -> None:

    play = _play()
    play.do(c.Cancel())
    play.elapse(seconds)
    play.stop("a")

    assert settled(play.run, "a", 1, 1)


@pytest.mark.parametrize("reported", [True, False])
def test_of_a_cancelled_attempt_that_comes_back_only_the_word_of_its_worker_is_answered_alike(reported: bool) -> None:

    play = _play()
    play.do(c.Cancel())
    play.give_back("a", reported=reported)

    assert play.state("a") == st.CANCELED
    assert (settled(play.run, "a", 1, 1) is not None) is reported


def test_a_cancelled_attempt_that_is_lost_is_not_taken_for_an_accepted_one() -> None:

    play = _play()
    play.do(c.Cancel())
    play.found("a", failures.failure(failures.LOST, ""))

    assert play.state("a") == st.CANCELED
    assert not settled(play.run, "a", 1, 1)


def test_a_fenced_attempt_is_not_taken_for_an_accepted_one() -> None:

    play = _play()
    play.do(c.Cancel())
    play.elapse(30)

    assert play.state("a") == st.CANCELED
    assert not settled(play.run, "a", 1, 1)
    with pytest.raises(Refused):
        play.complete("a", 1)


@pytest.mark.parametrize(
    "rule", ["value: '${size(input.missing)}'", "value: text", "review: {body: '${size(input.missing)}'}"]
)
def test_a_rule_that_fails_after_a_timeout_makes_no_result_accepted(rule: str) -> None:
    more = (
        f"}}, output_schema: {{type: integer}}, on_error: [{{match: ['*'], {rule}}}], timeouts: {{schedule_to_close: 5s"
    )
    play = _play(more)

    play.elapse(5)

    assert play.state("a") == st.FAILED
    assert not settled(play.run, "a", 1, 1)
