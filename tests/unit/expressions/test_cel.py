"""What CEL expressions give on the values of a run."""

import sys

import pytest

from holdfast_server.engine.expressions import ExpressionError, compile_condition, compile_expression
from tests.unit.expressions.fake import FakeNames


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("input.one + 1", 2),
        ("5 / 2", 2),
        ("input.one + 0.5", 1.5),
        ("0.5 * input.one", 0.5),
        ("5 / 2.0 - 1", 1.5),
        ("input.half * 2 + 0", 1.0),
        ("(input.one + 1) * 0.5 - input.one / 2", 1.0),
        ("input.items.map(i, i.n * 0.5)[3]", 1.5),
        ("input.list.map(x, type(x) == int, x + 0.5)", [1.5]),
        ("input.half * 2 > 0 ? '' : 'x'", ""),
        ("size(input.list) / 2.0", 1.5),
        ("timestamp('2026-01-01T00:00:00Z') + duration('1h')", "2026-01-01T01:00:00Z"),
        ("duration('1h') + duration('1s')", "3601s"),
        ("duration('1500ms')", "1500ms"),
        ("input.word + 'b'", "ab"),
        ("[1] + [2]", [1, 2]),
        ("input.items.filter(i, i.n > 17)", [{"n": 18}, {"n": 19}]),
        ("input.nothing == null", True),
        ("[input.nothing, null, {'a': null}]", [None, None, {"a": None}]),
        ("has(input.nothing)", True),
        ("has(input.absent)", False),
        ("has(steps.skipped.output)", False),
        ("steps.skipped.?output.?a.orValue('none')", "none"),
        ("input.?absent", None),
        ("input.?one // the optional is unwrapped, whatever follows", 1),
        ("[?input.?absent, ?input.?one]", [1]),
        ("size(signals.go)", 1),
        ("size(signals.never)", 0),
        ("{'b': 1, 'a': 2}", {"a": 2, "b": 1}),
        ("b'ab'", "YWI="),
        ("1u + 1u", 2),
        ("'caf\\u00e9'", "caf\N{LATIN SMALL LETTER E WITH ACUTE}"),
        ("9223372036854775807", 2**63 - 1),
    ],
)
def test_value(text: str, value: object) -> None:
    found = compile_expression(text).value(FakeNames())

    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("input.absent + 1", 'there is no "absent"; guard it with has() or read it with `.?`'),
        ("steps.skipped.output.a == 1", 'there is no "output"; guard it with has() or read it with `.?`'),
        ("input.word + 1.5", "no operator or function takes"),
        ("1 / 0", "divide by zero"),
        ("input.one / 0.0", "its result is inf, which JSON cannot write"),
        ("9223372036854775807 + input.one", "integer overflow"),
        ("18446744073709551615u", "an integer does not fit into 64 bits"),
        ("{1: 2}", "the keys of an object must be text"),
        ("[input.?one]", "its result has an optional inside"),
        ("type(1)", "its result has a type, which is no JSON value"),
        ("input.list[7] + 1", "Index error: index=7 size=3"),
        ("!input.one", "no operator or function takes"),
    ],
)
def test_what_cannot_be_evaluated_says_why(text: str, reason: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        compile_expression(text).value(FakeNames())

    assert reason in caught.value.reason
    assert caught.value.expression == text


@pytest.mark.parametrize(
    ("text", "reason", "position"),
    [
        ("foo + 1", "unknown name 'foo'; known are input, steps, signals, run, payload", 0),
        ("now", "unknown name 'now'", 0),
        ("input.one +\n  bar", "unknown name 'bar'", 14),
        ("input.one ==", "mismatched input '<EOF>'", 11),
        ("input.in == 1", "no viable alternative at input '.in'", 6),
        ("'a' + 1", "`+` does not take (string, int)", 4),
        ("", "mismatched input '<EOF>'", 0),
    ],
)
def test_what_does_not_compile_says_where(text: str, reason: str, position: int) -> None:
    with pytest.raises(ExpressionError) as caught:
        compile_expression(text)

    assert caught.value.reason.startswith(reason)
    assert caught.value.position is not None
    assert abs(caught.value.position - position) <= 1


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("input.one == 1 && input.list.exists(x, x == 2.5)", True),
        ("input.items.all(i, i.n < 20)", True),
        ("input.items.exists_one(i, i.n == 3)", True),
        ("size(steps.plan.output.queries) > 2", False),
        ("steps.plan.state == 'SUCCEEDED'", True),
        ("input.items.exists(i, i.n * 0.5 > 4.0)", True),
        ("input.absent == 1 || input.yes", True),
        ("true", True),
        ("input.?absent.orValue(false)", False),
    ],
)
def test_condition(text: str, holds: bool) -> None:
    assert compile_condition(text).holds(FakeNames()) is holds


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("input.one", "1"),
        ("input.nothing", "null"),
        ("input.word", '"a"'),
        ("input.absent", "null"),
        ("input.one + 1", "2"),
    ],
)
def test_a_condition_is_never_true_by_accident(text: str, shown: str) -> None:
    with pytest.raises(ExpressionError, match="a condition must be true or false") as caught:
        compile_condition(text).holds(FakeNames())

    assert caught.value.value == shown


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("1 + 1", "a condition must be true or false, this is int"),
        ("'yes'", "a condition must be true or false, this is string"),
        ("input.?yes", "add `.orValue(false)`"),
        ("input.list.map(x, x) == []", "a condition cannot use `map`; use `exists`, `all` or `exists_one`"),
        ("input.list.filter(x, true) == []", "a condition cannot use `filter`"),
        ("input.?list.optMap(x, [x, x]).hasValue()", "macros that collect values"),
        ("input.word + 'b' == 'ab'", "in conditions `+` is for numbers and times"),
        ("input.list + [1] == []", "in conditions `+` is for numbers and times"),
    ],
)
def test_a_condition_that_can_never_be_one_is_refused(text: str, reason: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        compile_condition(text)

    assert reason in caught.value.reason


def test_nulls_cost_no_reference_to_none() -> None:
    # On Python 3.11 the binding's own conversion would end the process after some 5,000 nulls.
    expression = compile_expression("[input.nothing, {'a': null}, null]")
    names = FakeNames()
    before = sys.getrefcount(None)

    for _ in range(5_000):
        expression.value(names)

    assert abs(sys.getrefcount(None) - before) < 1_000


def test_mixed_arithmetic_keeps_nothing() -> None:
    # Functions of our own inside CEL would keep their arguments for ever: 128 bytes a call.
    expression = compile_expression("input.one * 0.5")
    names = FakeNames()
    expression.value(names)
    before = sys.getallocatedblocks()

    for _ in range(5_000):
        expression.value(names)

    assert sys.getallocatedblocks() - before < 1_000
