"""What people who mean harm would write: documents, expressions, schemas, JSON. Each costs its author nothing."""

import json
from typing import Final

__all__ = ["DOCUMENTS", "EXPRESSIONS", "JSON_TEXTS", "QUERIES", "RUNNING", "SCHEMAS", "definition", "doubling"]

RUNNING: Final = """
name: fuzzed
signals: [{name: go}, {name: other}]
queries: [{name: q, expression: "1"}]
steps:
  - {name: ask, gate: {title: Ask, decisions: [APPROVE, REJECT, EDIT, RESPOND, DELEGATE]}, input: {n: 1}}
  - {name: hold, wait: {signal: go}}
  - {name: work, task: {handler: work}, on_error: [{match: ["*"], review: {title: Bad}}]}
"""
"""Valid, with something open of every kind."""


def doubling(levels: int, keyword: str = "anyOf") -> dict[str, object]:
    """A schema in which each definition applies the next one twice."""
    definitions = {f"a{n}": {keyword: [{"$ref": f"#/$defs/a{n + 1}"}] * 2} for n in range(levels)}
    return {"$defs": {**definitions, f"a{levels}": {"type": "string"}}, "$ref": "#/$defs/a0"}


_BRANCH: Final = {"type": "object", "required": ["a"], "properties": {"a": {"$ref": "#/$defs/a"}}}
SCHEMAS: Final[tuple[object, ...]] = (
    {"$ref": "#"},
    doubling(12),
    doubling(40),
    doubling(40, "allOf"),
    {"$defs": {"a": {"anyOf": [_BRANCH, _BRANCH]}}, "$ref": "#/$defs/a"},
    {"$defs": {"a": {"oneOf": [_BRANCH] * 20, "unevaluatedProperties": False}}, "$ref": "#/$defs/a"},
    {"items": {"enum": [[n] for n in range(2_000)]}},
    {"items": {"type": "string"}},
    {"propertyNames": {"pattern": "^[0-9]+$"}},
    {"pattern": "(a|b)*a(a|b){500}c"},
    {"items": {"pattern": "^(a+)+$"}},
    {"allOf": [{"pattern": f"\\w{{{n}}}"} for n in range(1, 300)]},
    {"pattern": "(a{1000}){1000}"},
    {"pattern": "(?=a)b\\1"},
    {"$ref": "http://127.0.0.1:9/schema"},
    {"$ref": "file:///etc/passwd"},
    {"$id": "http://a/b", "$defs": {"c": {"$id": "d", "$ref": "#/$defs/e"}}},
    {"const": "\0", "format": "regex"},
    {"multipleOf": 1e-300},
    {"minLength": 10**40},
    {"maximum": 10**400},
    {"uniqueItems": True, "contains": {"uniqueItems": True}},
    {"dependentSchemas": {"a": {"dependentSchemas": {"a": {"$ref": "#"}}}}},
    json.loads("[" * 60 + "]" * 60),
    {"type": "nothing"},
)
EXPRESSIONS: Final = (
    "input",
    "input.l.map(x, x)",
    "input.l.map(x, input.l.map(y, [x, y]))",
    "input.l.exists(x, input.t.matches('(a|b)*a(a|b){300}c'))",
    "input.l.exists(x, size(input.t) == x)",
    "input.l.filter(x, x in input.l)",
    "[1]" + ".map(x, [x, x])" * 12,
    "1" + "+1" * 100,
    "(" * 200 + "1" + ")" * 200,
    "'" + "x" * 5_000 + "'",
    "9223372036854775807 + 1",
    "1 / 0",
    "1.0 / 0.0",
    "int(1e300)",
    "timestamp('9999-12-31T23:59:59Z') + duration('1000000h')",
    "duration('1000000000000h')",
    "bytes('\\377')",
    "b'\\xff\\xfe'",
    "{1: 2}",
    "{'a': optional.none()}",
    "optional.of(optional.of(1))",
    "type(1)",
    "dyn(null) + 1",
    "input.a.b.c.d.e.f",
    "steps.nobody.output",
    "input['\\ud800']",
    "'\\U0001F600' + input.t",
    "has(input.a) ? input.a : 'none'",
    "string(input.l) + string(input.t)",
    "input.t.matches(input.t)",
    "\0",
    "run.id // comment",
    "input ? 1 : 2",
    "google.protobuf.Timestamp{seconds: 1}",
    "[].exists_one(x, x)",
    "input.all(k, k == k)",
)
QUERIES: Final = (*EXPRESSIONS, "signals", "steps", "run")


def definition(**fields: object) -> str:
    """A definition of one step with these fields, as JSON."""
    step = {"name": "a", "compute": {}, "input": "${input}"}
    return json.dumps({"name": "hostile", "steps": [step], **fields})


_LAUGHS: Final = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)
DOCUMENTS: Final = (
    "",
    "\0",
    "- 1",
    "{",
    "a: b: c",
    "\t",
    "%YAML 1.1\n---\na: 1",
    "a: &a [*a]",
    "a: *b",
    _LAUGHS,
    "a: !!python/object/apply:os.system [id]",
    "!!set {a, b}",
    "? [a]\n: 1",
    "a: 1\na: 2",
    '{"a": 1, "a": 2}',
    "[" * 5_000,
    "- " * 5_000,
    "a: " + "9" * 5_000,
    '{"name": "a", "steps": ' + "9" * 5_000 + "}",
    "a: 0x" + "f" * 2_000,
    "a: .inf",
    "a: 1e999",
    "a: !!binary aGk=",
    "a: 2026-01-01",
    "x" * 100_000,
    "---\na: 1\n---\nb: 2",
    '"\\ud800"',
    'name: "\\ud83d\\ude00"\nsteps: []',
    "\ufeff{}",
    "name: a\nsteps:\n" + "".join(f"- {{name: s{n}, compute: {{}}}}\n" for n in range(1_001)),
    "name: a\nsteps:\n- {name: z, compute: {}, after: [" + "{step: z}, " * 300 + "]}",
    json.dumps(
        {
            "name": "a",
            "steps": [{"name": f"s{n}", "compute": {}, "after": [{"step": f"s{(n + 1) % 50}"}]} for n in range(50)],
        }
    ),
    *(definition(input_schema=schema) for schema in SCHEMAS),
    *(definition(output=f"${{{text}}}") for text in EXPRESSIONS),
    *(definition(queries=[{"name": "q", "expression": text}]) for text in EXPRESSIONS[:12]),
    definition(output={"a": "${", "b": "$${", "c": "${}", "d": "${'}'}", "e": '${"\\"}"}'}),
    definition(attributes={"a": "${input.l}", "b": "${run.id}"}),
    definition(timeout="36500d"),
    definition(timeout="99999999999999999999d"),
)
JSON_TEXTS: Final = (
    b"",
    b"{",
    b"nul",
    b"[" * 65 + b"]" * 65,
    b"[" * 20_000,
    b"[" * 5_000 + b"]" * 5_000,
    b'{"a":' * 63 + b"1" + b"}" * 63,
    b"9" * 5_000,
    b"-" + b"9" * 400,
    b"1e400",
    b"1E-400",
    b"NaN",
    b"Infinity",
    b'{"a": 1, "a": 2}',
    b'"\\ud800"',
    b'"\xff"',
    b'"\\u0000"',
    b'{"": {"": ""}}',
    b'{"l": [1, 2, 3], "t": "' + b"ab" * 2_000 + b'", "a": null}',
    b'{"l": [' + b"1," * 3_000 + b'1], "t": "' + b"ab" * 20_000 + b'"}',
    b"[" + b"[]," * 2_000 + b"[]]",
    b"18446744073709551616",
    b"9223372036854775808",
    b"true",
    b"\xef\xbb\xbf1",
)
