"""What an expression may look at and collect is counted before it is evaluated: at each limit, and one over."""

import pytest

from holdfast_server.engine.cel_work import COLLECTED_MAX, LOOKED_AT_MAX
from holdfast_server.engine.expressions import ExpressionError, compile_expression
from tests.unit.expressions.fake import FakeNames

MIB = 1024 * 1024
VALUE = 16
"""What a value counts for beside its characters."""


def value(text: str, **seen: object) -> object:
    return compile_expression(text).value(FakeNames({"input": seen}))


def refusal(text: str, **seen: object) -> str:
    with pytest.raises(ExpressionError) as caught:
        value(text, **seen)
    return caught.value.reason


def test_a_macro_collects_up_to_the_limit() -> None:
    most = list(range(2_000))

    assert value("input.l.map(x, x)", l=most) == most
    told = refusal("input.l.map(x, x)", l=[*most, 0])
    assert told.startswith(
        f"its macros could copy 2,002,000 values to collect what they do, the limit is {COLLECTED_MAX:,}"
    )


def test_macros_that_collect_in_a_row_and_inside_each_other_count_together() -> None:
    assert value("input.l.filter(x, x > 1).map(x, x + 1)", l=list(range(1_400))) == list(range(3, 1_401))
    assert "could copy" in refusal("input.l.filter(x, x > 1).map(x, x + 1)", l=list(range(1_500)))
    assert value("input.l.map(x, input.m.map(y, y))", l=list(range(90)), m=[1] * 90) == [[1] * 90] * 90
    assert "could copy" in refusal("input.l.map(x, input.m.map(y, y))", l=[1, 2], m=[1] * 2_000)


def test_lists_inside_of_what_a_macro_goes_through_count_by_the_longest() -> None:
    assert value("input.l.map(x, x.map(y, y))", l=[[1, 2]] * 500) == [[1, 2]] * 500
    assert "could copy" in refusal("input.l.map(x, x.map(y, y))", l=[[1] * 2_001])


def test_what_conditions_go_through_is_not_collected() -> None:
    assert value("input.l.exists(x, x == 9998)", l=list(range(9_999))) is True


def test_what_a_macro_looks_at_counts_in_each_turn() -> None:
    turns = 32
    fits = "x" * (LOOKED_AT_MAX // turns - VALUE)

    assert value("input.l.exists(x, input.t.contains('z'))", l=[0] * turns, t=fits) is False
    told = refusal("input.l.exists(x, input.t.contains('z'))", l=[0] * turns, t=f"{fits}x")
    assert told.startswith(f"it could look at {LOOKED_AT_MAX + turns:,} characters")
    assert f"the limit is {LOOKED_AT_MAX:,}" in told


def test_what_a_macro_goes_through_counts_once() -> None:
    assert value("input.l.exists(x, x == 'z')", l=["x" * 100_000] * 100) is False


def test_what_is_looked_at_without_a_macro_counts_by_place() -> None:
    sizes = ", ".join(["size(input.t)"] * 30)

    assert value(f"[{sizes}]", t="x" * MIB) == [MIB] * 30
    assert "it could look at" in refusal(f"[{sizes}]", t="x" * (3 * MIB))


@pytest.mark.parametrize("pattern", ["'(a|b)*a(a|b){500}c'", "input.p"])
def test_searching_counts_by_the_parts_of_the_regular_expression(pattern: str) -> None:
    assert value(f"input.t.matches({pattern})", t="ab" * 5_000, p="ab") is (pattern == "input.p")
    assert "it could look at" in refusal(f"input.t.matches({pattern})", t="ab" * MIB, p="ab")


def test_a_variable_that_is_named_like_the_run_s_data_is_the_macro_s() -> None:
    assert value("[1, 2].map(input, input + 1)") == [2, 3]
    assert value("[[1], [2]].map(x, x.map(x, x + 1))") == [[2], [3]]


def test_optionals_go_through_nothing() -> None:
    assert value("input.?l.optMap(x, size(x)).orValue(0)", l=list(range(9_000))) == 9_000
