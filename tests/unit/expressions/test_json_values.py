"""JSON values: exact integers, canonical text, depth."""

import json

import orjson
import pytest
import rfc8785
from hypothesis import given, settings, strategies as st

from holdfast_server.engine.json_values import canonical, decode, encode, too_deep

SAFE = 2**53 - 1
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-SAFE, SAFE) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=15,
)


@settings(deadline=None)
@given(VALUES)
def test_canonical_is_rfc_8785(value: object) -> None:
    assert canonical(value).encode() == rfc8785.dumps(value)  # type: ignore[arg-type] # any JSON value


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (2**53 + 1, "9007199254740993"),
        (-(2**80), "-1208925819614629174706176"),
        (1.0, "1"),
        (1e21, "1e+21"),
        ({"\N{GRINNING FACE}": 1, "\ufb33": 2, "a": 3}, '{"a":3,"\N{GRINNING FACE}":1,"\ufb33":2}'),
        ("\x01\n/\N{SNOWMAN}", '"\\u0001\\n/\N{SNOWMAN}"'),
    ],
)
def test_canonical(value: object, text: str) -> None:
    assert canonical(value) == text


def test_canonical_refuses_what_is_no_json() -> None:
    with pytest.raises(TypeError, match="bytes is not a JSON type"):
        canonical([b"x"])


@settings(deadline=None)
@given(st.recursive(st.integers() | st.text(), lambda inner: st.lists(inner, max_size=4), max_leaves=10))
def test_integers_of_any_size_come_back(value: object) -> None:
    assert decode(encode(value)) == value
    assert json.loads(encode(value)) == value


@pytest.mark.parametrize("data", [b"", b"{", b"nan", b"1" * 30 + b"x", b"[NaN, 1111111111111111111111]"])
def test_what_is_no_json_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        decode(data)


@pytest.mark.parametrize(("levels", "deep"), [(1, False), (64, False), (65, True), (200, True)])
def test_depth(levels: int, deep: bool) -> None:
    assert too_deep(b"[" * levels + b"]" * levels) is deep
    assert too_deep(b'{"a":' * levels + b"1" + b"}" * levels) is deep


def test_brackets_in_texts_are_no_depth() -> None:
    assert not too_deep(encode("[" * 500))
    assert not too_deep(encode([[]] * 500))
    assert not too_deep(encode(["[", "]" * 99, 'a"[', "\\"] * 99))


def _depth(value: object) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return isinstance(value, dict | list) + max(map(_depth, inner), default=0)


@given(
    st.recursive(
        st.text('[]{}"\\a', max_size=9) | st.integers(0, 9),
        lambda one: st.lists(one, max_size=4) | st.dictionaries(st.text('[]{}"\\', max_size=3), one, max_size=4),
    ),
    st.integers(50, 70),
)
def test_depth_is_that_of_the_value_whatever_its_texts(value: object, around: int) -> None:
    for _ in range(around):
        value = [value]
    assert too_deep(orjson.dumps(value)) is (_depth(value) > 64)
    assert too_deep(orjson.dumps(value, option=orjson.OPT_INDENT_2)) is (_depth(value) > 64)
