"""What a handler raises, as the failure the server is told."""

from datetime import timedelta

import pytest

from holdfast import Converter, Failure, NonRetryable
from holdfast.failures import CAUSES_MAX, MESSAGE_MAX_BYTES, STACK_MAX_BYTES, TYPE_MAX_CHARS, failure_of

CONVERTER = Converter()


class QuotaError(Failure):
    """A failure of the user's own."""


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


def test_any_exception_is_a_retryable_failure_of_its_name() -> None:
    failure = failure_of(ZeroDivisionError("by zero"), CONVERTER)
    assert (failure.type, failure.message) == ("ZeroDivisionError", "by zero")
    assert not failure.HasField("retryable")
    assert not failure.HasField("retry_after")
    assert not failure.HasField("details")


@pytest.mark.parametrize(
    ("fault", "type_", "retryable"),
    [
        (Failure("m"), "Failure", True),
        (Failure("m", type="Mine"), "Mine", True),
        (QuotaError("m", retryable=False), "QuotaError", False),
        (NonRetryable("m"), "NonRetryable", False),
        (NonRetryable("m", retryable=True), "NonRetryable", True),
    ],
)
def test_a_failure_says_more(fault: Failure, type_: str, retryable: bool) -> None:
    failure = failure_of(fault, CONVERTER)
    assert (failure.type, failure.message, failure.retryable) == (type_, "m", retryable)


@pytest.mark.parametrize(
    ("after", "milliseconds"), [(2, 2000), (0.25, 250), (timedelta(minutes=1), 60_000), (timedelta(seconds=-1), 0)]
)
def test_retry_after_is_kept(after: float | timedelta, milliseconds: int) -> None:
    failure = failure_of(Failure("m", retry_after=after), CONVERTER)
    assert failure.HasField("retry_after")
    assert failure.retry_after.ToMilliseconds() == milliseconds


def test_details_travel_and_unreadable_ones_do_not_hide_the_failure() -> None:
    assert failure_of(Failure("m", details={"a": 1}), CONVERTER).details.data == b'{"a":1}'
    lost = failure_of(Failure("m", details=object()), CONVERTER)
    assert lost.message == "m"
    assert b"no JSON form" in lost.details.data


def test_causes_are_told_as_python_tells_them() -> None:
    def of(raising: str) -> BaseException:
        try:
            try:
                raise KeyError("first")
            except KeyError as first:
                if raising == "from":
                    raise ValueError("second") from first
                if raising == "none":
                    raise ValueError("second") from None
                raise ValueError("second")  # noqa: B904 - the context is what is looked at
        except ValueError as second:
            return second

    assert failure_of(of("from"), CONVERTER).cause.type == "KeyError"
    assert failure_of(of("context"), CONVERTER).cause.type == "KeyError"
    assert not failure_of(of("none"), CONVERTER).HasField("cause")


def test_a_chain_of_causes_is_bounded_also_when_it_is_a_circle() -> None:
    first: BaseException = ValueError("0")
    fault = first
    for number in range(20):
        following = ValueError(str(number + 1))
        following.__cause__ = fault
        fault = following
    failure, depth = failure_of(fault, CONVERTER), 1
    while failure.HasField("cause"):
        failure, depth = failure.cause, depth + 1
    assert depth == CAUSES_MAX

    first.__cause__ = first
    assert not failure_of(first, CONVERTER).HasField("cause")


def test_long_texts_are_cut_and_say_so() -> None:
    def deep(n: int) -> None:
        if n:
            deep(n - 1)
        raise ValueError("ä" * 20_000)

    try:
        deep(300)
    except ValueError as fault:
        failure = failure_of(fault, CONVERTER)

    assert len(failure.message.encode()) <= MESSAGE_MAX_BYTES
    assert failure.message.endswith("… (40000 bytes in all)")
    assert len(failure.stack_trace.encode()) <= STACK_MAX_BYTES
    assert len(failure_of(Failure("m", type="T" * 500), CONVERTER).type) == TYPE_MAX_CHARS


def test_an_exception_without_a_text_is_told_all_the_same() -> None:
    failure = failure_of(Unprintable(), CONVERTER)
    assert (failure.type, failure.message) == ("Unprintable", "(its text could not be made: RuntimeError)")


def test_a_lone_surrogate_does_not_break_the_message() -> None:
    assert failure_of(ValueError("\ud800"), CONVERTER).message == "?"
