"""Expressions and values made to hurt: each ends in a typed error, and soon."""

import pytest

from holdfast_server.engine.expressions import (
    ExpressionError,
    compile_condition,
    compile_expression,
    compile_template,
)
from tests.unit.expressions.fake import FakeNames

MIB = 1024 * 1024


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("1" + "+1" * 40, "nested deeper than 32 levels"),
        ("(" * 300 + "1" + ")" * 300, "nested deeper than 32 levels"),
        ("[" * 300 + "]" * 300, "nested deeper than 32 levels"),
        ("input" + ".a" * 300 + " + 1", "nested deeper than 32 levels"),
        ("'" + "x" * 5000 + "'", "it is 5,002 bytes long, the limit is 4,096"),
        ("[1]" + ".map(x, [x, x])" * 14, "multiply a value more than 10,000 times"),
        (
            "[1].map(x, [x, x, x, x, x, x, x, x, x, x])" + ".map(x, [x, x, x, x, x, x, x, x, x, x, x])" * 4,
            "multiply a value",
        ),
        ("optional.of(1)" + ".optMap(x, [x, x])" * 5, "multiply a value"),
        ("optional.of(1)" + ".optMap(x, [x, x])" * 14, "expand to more than 100,000 nodes"),
    ],
)
def test_refused_when_compiled(text: str, reason: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        compile_expression(text)

    assert reason in caught.value.reason


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("input.l.all(a, input.l.all(b, input.l.all(c, true)))", "take more than 10,000 turns"),
        ("input.l.map(a, input.l.map(b, input.l.map(c, 1)))", "could copy"),
        ("input.l.map(a, input.big + input.big)", "could look at"),
        ("input.l.exists(a, input.big + input.big == input.big)", "could look at"),
        ("input.l.map(a, input.l.map(b, a + input.big))", "could copy"),
        ("[input.big].map(x, [x, x, x, x]).map(x, [x, x, x, x]).map(x, [x, x, x, x])", "could build up"),
    ],
)
def test_refused_before_it_grows(text: str, reason: str) -> None:
    names = FakeNames({"input": {"l": list(range(1_000)), "big": "x" * MIB}})

    with pytest.raises(ExpressionError) as caught:
        compile_expression(text).value(names)

    assert reason in caught.value.reason


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (2**63, "an integer does not fit into 64 bits"),
        ([{"a": [-(2**63) - 1]}], "an integer does not fit into 64 bits"),
        (["x" * MIB] * 17, "it sees 17,825,793 characters, the limit is 16,777,216"),
        (list(range(100_001)), "it sees more than 100,000 values"),
    ],
)
def test_values_over_a_limit_are_not_shown_to_cel(value: object, reason: str) -> None:
    names = FakeNames({"input": {"v": value}})

    with pytest.raises(ExpressionError) as caught:
        compile_condition("size(input.v) > 1").holds(names)

    assert reason in caught.value.reason


def test_only_what_is_named_counts() -> None:
    names = FakeNames({"input": {"huge": list(range(200_000)), "ok": 1, "big": 2**70}})

    assert compile_condition("input.ok + 1 == 2").holds(names)


def test_data_deeper_than_the_limit_is_not_shown_to_cel() -> None:
    deep: object = 1
    for _ in range(20_000):
        deep = [deep]
    names = FakeNames({"input": {"v": deep}})

    with pytest.raises(ExpressionError, match="nested deeper than 64 levels"):
        compile_condition("size(input.v) > 1").holds(names)


def test_a_regular_expression_cannot_run_away() -> None:
    names = FakeNames({"input": {"v": "a" * 10_000 + "b"}})

    assert not compile_condition("input.v.matches('^(a+)+$')").holds(names)


def test_a_large_result_is_refused() -> None:
    names = FakeNames({"input": {"l": [["x"] * 300] * 300}})

    with pytest.raises(ExpressionError, match="its result has more than 100,000 values"):
        compile_expression("[input.l, input.l]").value(names)


def test_an_unknown_template_of_many_expressions_fails_at_the_first() -> None:
    with pytest.raises(ExpressionError, match="unknown name 'x1'"):
        compile_template({f"k{n}": f"${{x{n}}}" for n in range(1, 2_000)})
