"""Plain references: what is one, what it names, how it is walked."""

import pytest
from hypothesis import given, settings, strategies as st

from holdfast_server.engine.expressions import compile_condition, compile_expression, head_of
from holdfast_server.engine.names import Ref, parse_reference, ref_text
from tests.unit.expressions.fake import FakeNames


@pytest.mark.parametrize(
    ("text", "ref"),
    [
        ("input", ("input",)),
        (" input.one ", ("input", "one")),
        ("steps.a.output.b[0].c", ("steps", "a", "output", "b", 0, "c")),
        ("input['odd key']", ("input", "odd key")),
        ('input["a.b"].c', ("input", "a.b", "c")),
        ("input[12]", ("input", 12)),
    ],
)
def test_a_path_is_a_plain_reference(text: str, ref: Ref) -> None:
    assert parse_reference(text) == ref


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1",
        "true",
        "null",
        "input.",
        "input..a",
        "input.a + 1",
        "input[-1]",
        "input[01]",
        "input['a\\'b']",
        "size(a)",
        "input.?a",
        "'a'",
        "input[a]",
        "a b",
    ],
)
def test_everything_else_is_none(text: str) -> None:
    assert parse_reference(text) is None


@pytest.mark.parametrize(
    ("ref", "head"),
    [
        (("input", "a", "b"), ("input",)),
        (("steps", "a", "output", "b"), ("steps", "a", "output")),
        (("steps", "a"), ("steps", "a")),
        (("signals", "go", 0), ("signals", "go")),
        (("run", "id"), ("run", "id")),
        (("payload", "a"), ("payload",)),
    ],
)
def test_the_head_of_a_reference_is_one_value_of_the_run(ref: Ref, head: Ref) -> None:
    assert head_of(ref) == head


def test_a_missing_member_reads_as_null() -> None:
    names = FakeNames()

    assert compile_expression("steps.skipped.output.a.b[3]").value(names) is None
    assert compile_expression("input.word.letters").value(names) is None


def test_a_plain_condition_never_reaches_cel() -> None:
    names = FakeNames()

    assert compile_condition("steps.plan.output.ok").holds(names)
    assert names.looked_up == [("steps", "plan", "output", "ok")]


@pytest.mark.parametrize(
    ("text", "refs"),
    [
        ("input.one + input.deep.er.est", [("input", "one"), ("input", "deep", "er", "est")]),
        ("input.deep.er == input.deep", [("input", "deep")]),
        ("input.list[0] + 1", [("input", "list")]),
        ("input.list[input.one]", [("input", "list"), ("input", "one")]),
        ("input[input.word] == 1", [("input",)]),
        ("input['odd key'] + 1", [("input", "odd key")]),
        ("has(steps.plan.output.ok)", [("steps", "plan", "output", "ok")]),
        ("steps.plan.?output.?ok.orValue(false)", [("steps", "plan", "output", "ok")]),
        ("input[?'word'].orValue('')", [("input", "word")]),
        ("input.items.exists(i, i.n == input.one)", [("input", "items"), ("input", "one")]),
        ("input.items.exists(input, input.n == 1)", [("input", "items")]),
        (".input.one + 1", [("input", "one")]),
        (
            "{'a': input.one, input.word: [steps.plan.state]}",
            [("input", "one"), ("input", "word"), ("steps", "plan", "state")],
        ),
        ("size(signals.go) > 0 && run.id != ''", [("signals", "go"), ("run", "id")]),
        ("1 + 1", []),
    ],
)
def test_an_expression_knows_the_paths_it_names(text: str, refs: list[Ref]) -> None:
    assert sorted(compile_expression(text).refs, key=str) == sorted(refs, key=str)


def test_cel_looks_up_each_head_once() -> None:
    names = FakeNames()

    compile_expression("input.one + input.half + input.deep.er.est").value(names)

    assert names.looked_up == [("input",)]


@settings(deadline=None)
@given(st.text(max_size=40))
def test_no_text_breaks_the_reader_of_references(text: str) -> None:
    ref = parse_reference(text)

    assert ref is None or parse_reference(ref_text(ref)) == ref or any(not str(part).isidentifier() for part in ref)
