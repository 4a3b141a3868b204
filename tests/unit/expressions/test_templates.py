"""Templates: typed values, interpolation, pass-through, constants."""

from contextlib import suppress

import orjson
import pytest
from hypothesis import given, settings, strategies as st

from holdfast.v1.payload_pb2 import Payload, PayloadRef
from holdfast_server.engine.expressions import ExpressionError, compile_template
from tests.unit.expressions.fake import FakeNames

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize(
    ("template", "value"),
    [
        ("${input.one}", 1),
        ("${ input.list }", [1, None, 2.5]),
        ("${input.one + 1}", 2),
        ("n=${input.one}", "n=1"),
        ("${input.word}${input.one}", "a1"),
        ("${input.deep} and ${input.nothing}", '{"er":{"est":7}} and null'),
        ("$${input.one}", "${input.one}"),
        ("costs $5 and {braces}", "costs $5 and {braces}"),
        ("a $${b} ${input.one} c", "a ${b} 1 c"),
        ({"a": ["${input.one}", {"b": "${input.absent}"}], "c": True}, {"a": [1, {"b": None}], "c": True}),
        ({"$${k}": "v"}, {"${k}": "v"}),
        ("${ {'a': 1}.a }", 1),
        ("${'}'}", "}"),
        ("${\"}\" + '${'}", "}${"),
        ("${'''a}'''}", "a}"),
        ("${r'\\d}'}", "\\d}"),
        ("${input.one // a comment with }\n}", 1),
        ("${input.?absent}", None),
        (None, None),
        (7, 7),
        ("", ""),
    ],
)
def test_value(template: object, value: object) -> None:
    assert compile_template(template).value(FakeNames()) == value


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("${input.word}", "a"),
        ("${input.one}", "1"),
        ("${input.yes}", "true"),
        ("${input.deep}", '{"er":{"est":7}}'),
        ("Hi ${input.word}", "Hi a"),
        ("plain", "plain"),
    ],
)
def test_text(template: str, text: str) -> None:
    assert compile_template(template).text(FakeNames()) == text


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("${input.one", "`${` is not closed by `}`"),
        ("${'}", "`${` is not closed by `}`"),
        ("a ${} b", "`${}` has no expression in it"),
        ("${  }", "`${}` has no expression in it"),
        ({"${a}": 1}, "the key of an object is no template"),
        (["${input.one +}"], "no viable alternative"),
        ("${foo}", "unknown name 'foo'"),
    ],
)
def test_a_template_that_does_not_compile_says_why(template: object, reason: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        compile_template(template)

    assert reason in caught.value.reason or caught.value.reason.startswith("mismatched input")


def test_one_reference_passes_the_payload_through_undecoded() -> None:
    sealed = Payload(metadata={"encoding": b"binary/encrypted"}, data=b"\x00\x01")
    stored = Payload(ref=PayloadRef(sha256=b"h" * 32, size_bytes=9_000_000))
    names = FakeNames(payloads={("input",): sealed, ("steps", "plan", "output"): stored})

    assert compile_template("${input}").render(names) is sealed
    assert compile_template("${steps.plan.output}").render(names) is stored
    assert names.looked_up == []


def test_null_renders_to_no_payload() -> None:
    assert compile_template("${steps.skipped.output}").render(FakeNames()) is None
    assert compile_template("${input.nothing}").render(FakeNames()) is None
    assert compile_template(None).render(FakeNames()) is None


def test_a_constant_is_rendered_once() -> None:
    template = compile_template({"b": 1, "a": [2**70, "x"]})

    assert template.constant
    assert template.render(FakeNames()) is template.render(FakeNames())
    assert template.render(FakeNames()) == Payload(data=b'{"a":[1180591620717411303424,"x"],"b":1}')


def test_integers_beyond_64_bits_survive_beside_references() -> None:
    rendered = compile_template({"big": 2**70, "one": "${input.one}"}).render(FakeNames())

    assert rendered is not None
    assert rendered.data == b'{"big":1180591620717411303424,"one":1}'


@pytest.mark.parametrize(
    ("template", "heads"),
    [
        ("${input}", ()),
        ("${steps.plan.output}", ()),
        ("${input.one}", (("input",),)),
        ({"a": "${steps.plan.output}"}, (("steps", "plan", "output"),)),
        ("${size(steps.plan.output.queries) + size(signals.go)}", (("steps", "plan", "output"), ("signals",))),
        ("${steps.plan.state} ${run.id}", ()),
        ("text", ()),
    ],
)
def test_deep_refs_are_the_payloads_it_looks_into(template: object, heads: tuple[tuple[str, ...], ...]) -> None:
    assert compile_template(template).deep_refs == heads


def test_a_result_deeper_than_the_limit_is_refused() -> None:
    deep: object = 1
    for _ in range(60):
        deep = [deep]
    names = FakeNames({"input": {"deep": deep}})
    nested: object = "${input.deep}"
    for _ in range(4):
        nested = {"a": nested}

    assert compile_template(nested).render(names) is not None
    with pytest.raises(ExpressionError, match="deeper than 64 levels"):
        compile_template([nested]).render(names)


@settings(deadline=None)
@given(JSON)
def test_a_value_arrives_as_it_was(value: object) -> None:
    names = FakeNames({"input": {"value": value}})

    rendered = compile_template({"it": "${input.value}"}).render(names)

    assert rendered is not None
    assert orjson.loads(rendered.data) == {"it": value}


@settings(deadline=None)
@given(st.text(max_size=60))
def test_no_text_breaks_the_reader_of_templates(text: str) -> None:
    with suppress(ExpressionError):
        compile_template({"it": text}).text(FakeNames())


@settings(deadline=None)
@given(st.text(max_size=30))
def test_escaped_text_stands_for_itself(text: str) -> None:
    assert compile_template([text.replace("$", "").replace("{", "$${")]).value(FakeNames()) == [
        text.replace("$", "").replace("{", "${")
    ]
