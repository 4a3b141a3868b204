"""A table of bad documents: where the fault is and what is said about it."""

import pytest

from holdfast_server.definition import parse
from tests.unit.definition.documents import YAML, said

HEAD = "name: bad\nsteps:\n"
A = "  - {name: a, compute: {}}\n"

# (document with `^` where the fault is, path, part of the message)
TABLE = [
    ("^", "", "the document is empty"),
    ("name: x\nsteps: [^", "", "this is no YAML"),
    ("name: x\n^name: y\nsteps: []\n", "", "the key 'name' is there twice"),
    ("name: x\n^---\nname: y\n", "", "a second document starts here"),
    ("%YAML 1.1\n^---\nname: x\n", "", "only YAML 1.2 is read"),
    ("name: ^!!python/name:os.system x\n", "", "the tag tag:yaml.org,2002:python/name:os.system is not known"),
    ("name: ^*nope\n", "", "the alias *nope has no anchor"),
    ("a: &a [^*a]\n", "", "the alias *a stands inside of what it names"),
    ("^1: x\n", "", "a key must be a text; put it into quotes"),
    ("? ^[a]\n: x\n", "", "a key must be a text, not a list or an object"),
    ("a: ^.inf\n", "", ".inf is no JSON"),
    ("a: ^1e999\n", "", "the number 1e999 is too large"),
    ('a: ^"\\ud800"\n', "", "half of a character"),
    ("a: ^\x07\n", "", "this is no YAML"),
    ("^[]", "", "a definition is an object with the fields name and steps"),
    ("^just text", "", "a definition is an object"),
    ("^name: x\n", "", "the field 'steps' is missing"),
    ("name: ^a b\nsteps:\n  - {name: a, compute: {}}\n", "name", '"a b" is not a name of letters, digits'),
    ("name: x\nsteps: ^[]\n", "steps", "it is empty"),
    (HEAD + A + "^colour: red\n", "colour", "unknown field 'colour'; known: name, description"),
    (HEAD + A + "^outputs: 1\n", "outputs", "unknown field 'outputs'; did you mean 'output'?"),
    (HEAD + "  - {name: ^A, compute: {}}\n", "steps[0].name", '"A" is not a name of lower-case letters'),
    (HEAD + "  - ^{compute: {}}\n", "steps[0]", "the field 'name' is missing"),
    (HEAD + "  - ^{name: a}\n", "steps[0]", "it needs exactly one of task, gate, wait, sleep, compute"),
    (
        HEAD + "  - ^{name: a, compute: {}, wait: {signal: go}}\n",
        "steps[0]",
        "it needs exactly one of task, gate, wait, sleep, compute, not wait and compute",
    ),
    (
        HEAD + "  - name: a\n    ^map: {over: x}\n",
        "steps[0].map",
        "this version does not run map steps; step kinds are task, gate, wait, sleep, compute",
    ),
    (HEAD + "  - {name: a, ^loop: {}}\n", "steps[0].loop", "this version does not run loop steps"),
    (HEAD + "  - {name: a, ^run: {}}\n", "steps[0].run", "this version does not run run steps"),
    (HEAD + "  - {name: a, ^tsk: {}}\n", "steps[0].tsk", "unknown field 'tsk'; did you mean 'task'?"),
    (HEAD + "  - {name: a, task: ^{}}\n", "steps[0].task", "the field 'handler' is missing"),
    (HEAD + A + "  - {name: b, after: [^a], compute: {}}\n", "steps[1].after[0]", "write {step: a}"),
    (HEAD + A + "  - {name: b, after: ^a, compute: {}}\n", "steps[1].after", "is not a list of edges, such as"),
    (HEAD + "  - {name: a, sleep: {for: ^5}}\n", "steps[0].sleep.for", "5 is not a duration: a number and a unit"),
    (HEAD + "  - {name: a, sleep: {for: ^1h30m}}\n", "steps[0].sleep.for", "such as 500ms, 60s, 10m, 24h or 7d"),
    (HEAD + "  - {name: a, sleep: {for: ^99999d}}\n", "steps[0].sleep.for", "longer than 36500d"),
    (HEAD + "  - {name: a, sleep: ^{}}\n", "steps[0].sleep", "it needs exactly one of for, until"),
    (
        HEAD + A + "  - {name: b, after: [{step: a, on: ^failed}], compute: {}}\n",
        "steps[1].after[0].on",
        "is not one of SUCCEEDED, FAILED, SKIPPED, FINISHED; did you mean 'FAILED'?",
    ),
    (HEAD + "  - {name: a, compute:^ }\n", "steps[0].compute", "null is not written {}"),
    (HEAD + A + "attributes: ^{Team: x}\n", "attributes", "a key is not a name of lower-case letters"),
    (HEAD + A + "^<<: {a: 1}\n", "<<", "YAML 1.2 has no merge keys"),
    (HEAD + A + "  - {name: ^a, compute: {}}\n", "steps[1].name", "there is another step 'a'; names are unique"),
    (HEAD + "  - {name: ^in, compute: {}}\n", "steps[0].name", "'in' is a word of CEL and cannot name a step"),
    (HEAD + "  - {name: ^'true', compute: {}}\n", "steps[0].name", "'true' is a word of CEL"),
    (
        HEAD + "  - {name: search, compute: {}}\n  - {name: b, after: [{step: ^serach}], compute: {}}\n",
        "steps[1].after[0].step",
        "unknown step 'serach'; did you mean 'search'?",
    ),
    (
        HEAD + "  - {name: a, after: [{step: ^a}], compute: {}}\n",
        "steps[0].after[0].step",
        "step 'a' cannot come after itself",
    ),
    (
        HEAD + A + "  - {name: b, after: [{step: a}, ^{step: a}], compute: {}}\n",
        "steps[1].after[1]",
        "the same edge from 'a' is listed twice",
    ),
    (
        HEAD
        + "  - {name: a, after: [^{step: c}], compute: {}}\n"
        + "  - {name: b, after: [{step: a}], compute: {}}\n"
        + "  - {name: c, after: [{step: b}], compute: {}}\n",
        "steps[0].after[0]",
        "the edges make a cycle: a → b → c → a",
    ),
    (HEAD + "  - {name: a, join: ^{mode: ALL}, compute: {}}\n", "steps[0].join", "there is nothing to join"),
    (
        HEAD + A + "  - {name: b, after: [{step: a}], join: {mode: QUORUM, count: ^2}, compute: {}}\n",
        "steps[1].join.count",
        "`count` is from 1 to the number of edges, 1, not 2",
    ),
    (
        HEAD + A + "  - {name: b, after: [{step: a}], join: ^{mode: QUORUM}, compute: {}}\n",
        "steps[1].join",
        "`mode: QUORUM` needs a `count`, from 1 to the number of edges, 1",
    ),
    (
        HEAD + A + "  - {name: b, after: [{step: a}], join: {mode: ALL, count: ^1}, compute: {}}\n",
        "steps[1].join.count",
        "it is for `mode: QUORUM`",
    ),
    (
        HEAD + A + "  - {name: b, after: [{step: a}], join: {mode: ALL, cancel_others: ^true}, compute: {}}\n",
        "steps[1].join.cancel_others",
        "it is for `mode: FIRST` and `mode: QUORUM`",
    ),
    (HEAD + "  - {name: a, compute: {}, retry: ^{}}\n", "steps[0].retry", "a compute takes no `retry`"),
    (
        HEAD + "  - {name: a, gate: {title: t}, timeouts: ^{heartbeat: 1s}}\n",
        "steps[0].timeouts",
        "a gate takes no `timeouts`; a gate has a `deadline` of its own",
    ),
    (HEAD + "  - {name: a, compute: {}}\nretention: ^0s\n", "retention", "longer than 0"),
    (HEAD + "  - {name: a, sleep: {for: 1s}, input: ^1}\n", "steps[0].input", "a sleep takes no `input`"),
    (
        HEAD + "  - {name: a, compute: {}, on_error: [{match: ['*'], fallback: ^{handler: h}}]}\n",
        "steps[0].on_error[0].fallback",
        "only a task can fall back to another handler",
    ),
    (
        HEAD + "  - {name: a, task: {handler: h}, timeouts: {heartbeat: ^0s}}\n",
        "steps[0].timeouts.heartbeat",
        "longer than 0",
    ),
    (
        HEAD + "  - {name: a, compute: {}, output_schema: ^{type: strng}}\n",
        "steps[0].output_schema",
        'this is no usable JSON Schema at `type`: "strng"',
    ),
    (
        "name: bad\ninput_schema: ^{$ref: 'http://x/y'}\nsteps:\n  - {name: a, compute: {}}\n",
        "input_schema",
        "leads outside of the schema",
    ),
    (
        HEAD + A + "queries: [{name: q, expression: ^a}, {name: q, expression: '1'}]\n",
        "queries[0].expression",
        "unknown name 'a'; known are input, steps",
    ),
    (HEAD + A + "signals: [{name: s}, {name: ^s}]\n", "signals[1].name", "there is another signal 's'"),
]


def unmarked(marked: str) -> tuple[str, int, int]:
    """The document, and the line and column of its mark."""
    before, _, after = marked.partition("^")
    return before + after, before.count("\n") + 1, len(before) - before.rfind("\n")


@pytest.mark.parametrize(("marked", "path", "message"), TABLE, ids=[f"{row[1]}-{row[2][:30]}" for row in TABLE])
def test_fault(marked: str, path: str, message: str) -> None:
    source, line, column = unmarked(marked)

    parsed = parse(source, YAML)

    matching = [one for one in parsed.diagnostics if one.path == path and message in one.message]
    assert matching, said(parsed)
    assert (matching[0].line, matching[0].column) == (line, column)
    assert parsed.definition is None
    assert parsed.plan is None
    assert parsed.definition_hash == b""


@pytest.mark.parametrize("marked", [row[0] for row in TABLE if not row[1].startswith("queries")])
def test_one_fault_does_not_make_others(marked: str) -> None:
    assert len(parse(unmarked(marked)[0], YAML).diagnostics) == 1


def test_all_faults_come_at_once_in_the_order_of_the_document() -> None:
    source = """\
name: research report
color: red
steps:
  - name: plan
    task: {handler: h, qeue: x}
  - name: search
    after: [plan]
    task: {handler: search}
  - name: write
    after: [{step: serach}]
    compute: {}
    input: "${steps.plann.output + input.}"
  - name: a
    after: [{step: b}]
    compute: {}
  - name: b
    after: [{step: a}]
    gate: {title: "${nobody}"}
output: "${steps.nothing.output}"
"""
    diagnostics = parse(source, YAML).diagnostics

    assert [one.path for one in diagnostics] == [
        "name",
        "color",
        "steps[0].task.qeue",
        "steps[1].after[0]",
        "steps[2].after[0].step",
        "steps[2].input",
        "steps[3].after[0]",
        "steps[4].gate.title",
        "output",
    ]
    assert [one.line for one in diagnostics] == sorted(one.line for one in diagnostics)
