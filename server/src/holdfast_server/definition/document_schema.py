"""The JSON Schema of definition documents: the one place that says what an author may write.

It checks documents, it is what editors are given, and its descriptions are the ends of messages: "'x' is not *a
duration: …*". What no schema can say (names that must exist, fields of other step kinds, cycles) is checked on the
graph.
"""

import json
from typing import Final

__all__ = ["DOCUMENT_SCHEMA", "LATER_KINDS", "STEP_KINDS", "document_schema_text"]

STEP_KINDS: Final = ("task", "gate", "wait", "sleep", "compute")
LATER_KINDS: Final = ("map", "loop", "run")
"""Step kinds of the language that this version does not run."""

_Json = dict[str, object]


def _object(required: tuple[str, ...] = (), /, **properties: object) -> _Json:
    made: _Json = {"type": "object", "additionalProperties": False, "properties": properties}
    if required:
        made["required"] = list(required)
    return made


def _text(description: str, pattern: str | None = None, length_max: int = 256 * 1024) -> _Json:
    made: _Json = {"type": "string", "description": description, "minLength": 1, "maxLength": length_max}
    if pattern is not None:
        made["pattern"] = pattern
    return made


def _list(items: object, length_min: int = 0, length_max: int | None = None) -> _Json:
    made: _Json = {"type": "array", "items": items}
    if length_min:
        made["minItems"] = length_min
    if length_max is not None:
        made["maxItems"] = length_max
    return made


def _ref(name: str) -> _Json:
    return {"$ref": f"#/$defs/{name}"}


def _one_of(*names: str) -> list[_Json]:
    return [{"required": [name]} for name in names]


def _enum(*names: str) -> _Json:
    return {"enum": list(names)}


_ANY: Final[_Json] = {}
_BOOLEAN: Final[_Json] = {"type": "boolean"}

_DEFS: Final[_Json] = {
    "name": _text(
        "a name of letters, digits, '.', '_' and '-' that starts with a letter or digit, at most 128 characters",
        "^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$",
    ),
    "word": _text(
        "a name of lower-case letters, digits and '_' that starts with a letter, at most 63 characters",
        "^[a-z][a-z0-9_]{0,62}$",
    ),
    "duration": _text(
        "a duration: a number and a unit, such as 500ms, 60s, 10m, 24h or 7d",
        r"^[0-9]{1,12}(\.[0-9]{1,6})?(ms|s|m|h|d)$",
    ),
    "schema": {"type": ["object", "boolean"], "description": "a JSON Schema of draft 2020-12"},
    "condition": _text("a CEL condition", length_max=4096),
    "failure_type": _text(
        "a failure type: '*', a name such as RateLimited, or a prefix such as 'Timeout.*'",
        r"^(\*|[A-Za-z][A-Za-z0-9_.-]{0,124}(\.\*)?)$",
    ),
    "edge": {
        **_object(
            ("step",),
            step=_ref("word"),
            on=_enum("SUCCEEDED", "FAILED", "SKIPPED", "FINISHED"),
            when=_ref("condition"),
        ),
        "description": "an edge, written {step: <name>}",
    },
    "join": _object(
        ("mode",),
        mode=_enum("INCLUSIVE", "ALL", "FIRST", "QUORUM"),
        count={"type": "integer", "minimum": 1, "maximum": 256},
        cancel_others=_BOOLEAN,
    ),
    "retry": _object(
        max_attempts={"type": "integer", "minimum": 1, "maximum": 1_000_000},
        initial_interval=_ref("duration"),
        backoff={"type": "number", "minimum": 1, "maximum": 1000},
        max_interval=_ref("duration"),
        jitter={"type": "number", "minimum": 0, "maximum": 1},
        non_retryable=_list(_ref("failure_type")),
    ),
    "timeouts": _object(
        schedule_to_start=_ref("duration"),
        start_to_close=_ref("duration"),
        schedule_to_close=_ref("duration"),
        heartbeat=_ref("duration"),
    ),
    "approvers": _object(
        principals=_list(_text("the name of a principal", length_max=256)),
        roles=_list(_text("the name of a role", length_max=256)),
        exclude_starter=_BOOLEAN,
    ),
    "error_rule": {
        **_object(
            ("match",),
            match=_list(_ref("failure_type"), 1),
            fallback=_object(("handler",), handler=_ref("name"), queue=_ref("name"), retry=_ref("retry")),
            value=_ANY,
            review=_object(
                title=_text("a template of text"),
                body=_text("a template of text"),
                approvers=_ref("approvers"),
                deadline=_ref("duration"),
            ),
            fail={"type": "object", "additionalProperties": False, "description": "written {}"},
        ),
        "oneOf": _one_of("fallback", "value", "review", "fail"),
    },
    "action": _object(
        ("name",),
        name=_text("the name of an action", length_max=256),
        args=_ANY,
        args_schema=_ref("schema"),
        risk=_enum("LOW", "MEDIUM", "HIGH"),
    ),
    "task": _object(("handler",), handler=_ref("name"), queue=_ref("name")),
    "gate": _object(
        ("title",),
        title=_text("a template of text"),
        body=_text("a template of text"),
        action=_ref("action"),
        decisions=_list(_enum("APPROVE", "REJECT", "EDIT", "RESPOND", "DELEGATE"), 1),
        response_schema=_ref("schema"),
        approvers=_ref("approvers"),
        quorum={"type": "integer", "minimum": 1, "maximum": 1000},
        veto=_BOOLEAN,
        deadline=_ref("duration"),
        on_deadline=_enum("FAIL", "REJECT", "APPROVE", "ESCALATE"),
        escalation=_object(("approvers",), approvers=_ref("approvers"), deadline=_ref("duration")),
        fail_on_reject=_BOOLEAN,
    ),
    "wait": _object(("signal",), signal=_ref("word"), when=_ref("condition"), timeout=_ref("duration")),
    "sleep": {
        **_object(**{"for": _ref("duration"), "until": _text("a template of a timestamp or a duration")}),
        "oneOf": _one_of("for", "until"),
    },
    "compute": {
        "type": "object",
        "additionalProperties": False,
        "description": "written {}; what it computes is `input`",
    },
    "step": {
        **_object(
            ("name",),
            name=_ref("word"),
            summary=_text("a line of text", length_max=1024),
            after=_list(_ref("edge")),
            join=_ref("join"),
            cleanup=_BOOLEAN,
            input=_ANY,
            input_schema=_ref("schema"),
            output_schema=_ref("schema"),
            retry=_ref("retry"),
            timeouts=_ref("timeouts"),
            on_error=_list(_ref("error_rule"), 1, 64),
            **{kind: _ref(kind) for kind in STEP_KINDS},
        ),
        "oneOf": _one_of(*STEP_KINDS),
    },
}

DOCUMENT_SCHEMA: Final[_Json] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "Holdfast workflow definition",
    **_object(
        ("name", "steps"),
        name=_ref("name"),
        description=_text("text", length_max=16 * 1024),
        input_schema=_ref("schema"),
        output_schema=_ref("schema"),
        steps=_list(_ref("step"), 1, 1000),
        on_failure=_enum("FAIL_FAST", "FINISH_OTHERS"),
        output=_ANY,
        queries=_list(
            _object(
                ("name", "expression"),
                name=_ref("word"),
                expression=_text("a CEL expression", length_max=4096),
                schema=_ref("schema"),
            )
        ),
        signals=_list(_object(("name",), name=_ref("word"), schema=_ref("schema"))),
        timeout=_ref("duration"),
        attributes={"type": "object", "propertyNames": _ref("word")},
        retention=_ref("duration"),
    ),
    "$defs": _DEFS,
}
"""JSON Schema 2020-12 of a definition document."""


def document_schema_text() -> str:
    """The schema as it is published."""
    return json.dumps(DOCUMENT_SCHEMA, indent=2, ensure_ascii=False) + "\n"
