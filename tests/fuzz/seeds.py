"""The inputs each entry begins with: hostile ones that are written down here, and those of the corpus.

`corpus/ENTRY/` holds what once broke something; each file is an input.
"""

import json
from pathlib import Path
from typing import Final

from holdfast.v1.failure_pb2 import Failure
from holdfast.v1.payload_pb2 import Payload
from holdfast.v1.task_pb2 import TaskResult
from holdfast_server.engine.snapshot import write_snapshot
from tests.fuzz.entries import SEPARATOR
from tests.fuzz.hostile import DOCUMENTS, EXPRESSIONS, JSON_TEXTS, RUNNING, SCHEMAS
from tests.unit.engine.driver import Play, plan_of

__all__ = ["CORPUS", "seeds"]

CORPUS: Final = Path(__file__).parent / "corpus"
SEEN: Final = (b'{"l": [1, 2, 3], "t": "abc", "a": {"b": 1}}', b'[1, "x", null, 1.5]')
TEMPLATES: Final = (
    b'{"a": "${input.l}", "b": ["$${", "x${input.t}y"], "c": {"d": "${input.a.b}"}}',
    b'"${input}"',
    b'"${"',
    b'"${ {\'a\': 1}[\\"a\\"] }"',
    b'{"${input}": 1}',
)
WAITING: Final = {
    "name": "w",
    "task": {"handler": "h"},
    "output_schema": {"type": "integer"},
    "retry": {"max_attempts": 2},
}
SLEEPING: Final = {
    "name": "b",
    "after": [{"step": "w", "when": "steps.w.output > 1"}],
    "sleep": {"until": "${input.at}"},
}
AT_ONCE: Final = {"name": "c", "compute": {}, "input": "${input}", "on_error": [{"match": ["*"], "value": 1}]}
RUNS: Final = (
    (RUNNING.encode(), b"{}", b'g{"n": 2}', b's{"x"}', b"o1", b"fOops", b"t", b"p", b"r", b"c", b"R"),
    (
        json.dumps({"name": "a", "steps": [WAITING, SLEEPING], "output": "${steps.w.output}"}).encode(),
        b'{"at": "0001-01-01T00:00:00+14:00"}',
        b"o2",
        b"t",
    ),
    (
        json.dumps({"name": "a", "steps": [{"name": "s", "sleep": {"until": "${input}"}}, AT_ONCE]}).encode(),
        b'"9999-12-31T23:59:59-14:00"',
        b"t" + b"x" * 200,
    ),
)
OTHERS: Final[dict[str, tuple[bytes, ...]]] = {
    "token": (b"", b"x" * 60, b"\x01" + b"\0" * 50),
    "page_token": (b"bm9uZQ", b"WyJydW5zIiwxLDJd", b"x" * 5_000, "\u2603".encode()),
    "duration": (b"500ms", b"7d", b"1.5h", b"9" * 400 + b"d", b"-1s", b"1e5s", "٣s".encode()),
    "scrubbed": (b"a\x1b[31mb", "\u202eabc\u200b".encode(), b"\xc2\x9b31m", b"\r\n\t\0"),
    "result": (
        TaskResult(token=b"t", output=Payload(data=b"1")).SerializeToString(),
        TaskResult(token=b"t", failure=Failure(type="A", cause=Failure(type="B"))).SerializeToString(),
    ),
}


def seeds(entry: str) -> list[bytes]:
    """The inputs an entry begins with, small ones first."""
    match entry:
        case "yaml_document" | "json_document":
            found = [RUNNING.encode(), *(text.encode("utf-8", "replace") for text in DOCUMENTS)]
        case "expression":
            found = [text.encode("utf-8", "replace") + SEPARATOR + seen for text in EXPRESSIONS for seen in SEEN]
        case "template":
            found = [text + SEPARATOR + seen for text in TEMPLATES for seen in SEEN]
            found += [json.dumps(f"${{{text}}}").encode() + SEPARATOR + SEEN[0] for text in EXPRESSIONS]
        case "schema":
            values = (*SEEN, b'{"a":' * 40 + b"{}" + b"}" * 40, b"[" + b'"x",' * 600 + b"1]")
            found = [json.dumps(one).encode() + SEPARATOR + value for one in SCHEMAS for value in values]
        case "payload":
            found = [*JSON_TEXTS, Payload(metadata={"encoding": b"x"}, data=b"1").SerializeToString()]
        case "snapshot":
            play = Play(plan_of(RUNNING))
            play.start(input={"n": 1})
            found = [write_snapshot(play.run)]
        case "run":
            found = [SEPARATOR.join(parts) for parts in RUNS]
        case _:
            found = list(OTHERS[entry])
    folder = CORPUS / entry
    found += [path.read_bytes() for path in sorted(folder.iterdir())] if folder.is_dir() else []
    return sorted(found, key=len)
