"""From the text of a document to a definition, or to everything that is wrong with it."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from holdfast.v1 import definition_pb2 as pb
from holdfast.v1.workflow_service_pb2 import Diagnostic, DocumentFormat
from holdfast_server.definition.codec import to_message
from holdfast_server.definition.diagnostics import schema_faults
from holdfast_server.definition.positions import DocumentSyntaxError
from holdfast_server.definition.reader import ReadDocument, read_document
from holdfast_server.engine.compile import compile_plan
from holdfast_server.engine.faults import DefinitionFaultsError, Fault, Faults
from holdfast_server.engine.json_values import canonical
from holdfast_server.engine.names import Ref
from holdfast_server.engine.plan import Plan

__all__ = ["ParsedDocument", "parse"]


@dataclass(frozen=True, slots=True)
class ParsedDocument:
    """What became of a document: a definition with its plan, or diagnostics."""

    definition: pb.WorkflowDefinition | None
    plan: Plan | None
    """The compiled definition, with version 0 until it is given one."""
    diagnostics: tuple[Diagnostic, ...]
    """All faults in the order of the document; none means it is valid."""
    definition_hash: bytes
    """SHA-256 over the canonical JSON of the document; empty if it is faulty."""


def parse(source: str, format: DocumentFormat.ValueType) -> ParsedDocument:
    """Read, check and compile a document.

    Never raises for what a document says: every fault is a diagnostic with path, line and column. YAML costs about a
    millisecond per step, JSON a third of that: large documents belong off the event loop.

    Args:
        source: its text.
        format: how it is written; unspecified means YAML, which includes JSON.
    """
    try:
        read = read_document(source, format)
    except DocumentSyntaxError as error:
        line, column = error.position
        return _refused((Diagnostic(message=error.message, line=line, column=column),))
    faults = schema_faults(read.value)
    if faults:
        return _refused(_diagnostics(read, [*faults, *_graph_faults(read.value, faults)]))
    noted = Faults()
    definition = to_message(_as_document(read.value), noted)
    definition_hash = hashlib.sha256(canonical(read.value).encode()).digest()
    try:
        plan = compile_plan(definition, 0, definition_hash)
        noted.raise_any()
    except DefinitionFaultsError as error:
        return _refused(_diagnostics(read, dict.fromkeys((*noted.found, *error.faults))))
    return ParsedDocument(definition, plan, (), definition_hash)


def _refused(diagnostics: tuple[Diagnostic, ...]) -> ParsedDocument:
    return ParsedDocument(None, None, diagnostics, b"")


def _as_document(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        message = "a document that fits its schema is an object"
        raise TypeError(message)
    return value


def _diagnostics(read: ReadDocument, faults: Iterable[Fault]) -> tuple[Diagnostic, ...]:
    found = []
    for fault in faults:
        line, column = read.position(fault.parts, key=fault.message.startswith("unknown field"))
        found.append(Diagnostic(path=fault.path, message=fault.message, line=line, column=column))
    return tuple(sorted(found, key=lambda one: (one.line, one.column)))


_STAND_IN: Final = "compute"


def _graph_faults(value: object, known: list[Fault]) -> list[Fault]:
    """What is wrong with the graph of a document that does not fit its schema, as far as that can be known.

    A faulty step is replaced by one that does nothing and keeps its name and its edges; other faulty fields are left
    out. So an author sees an unknown step name and a misspelled field in one go.
    """
    if not isinstance(value, dict) or not isinstance(value.get("steps"), list):
        return []
    faulty = {fault.parts for fault in known}
    if ("steps",) in faulty:
        return []
    top = {parts[0] for parts in faulty if parts} - {"steps"}
    document = {"name": "unnamed"} | {name: inner for name, inner in value.items() if name not in top}
    steps: list[object] = []
    replaced: set[Ref] = set()
    for index, step in enumerate(value["steps"]):
        path: Ref = ("steps", index)
        inside = {parts for parts in faulty if _within(parts, path)}
        if not inside:
            steps.append(step)
            continue
        if not isinstance(step, dict) or not isinstance(step.get("name"), str) or (*path, "name") in inside:
            return []
        replaced.add(path)
        kept = {"name": step["name"], _STAND_IN: {}}
        if "after" in step and not any(_within(parts, (*path, "after")) for parts in inside):
            kept["after"] = step["after"]
        steps.append(kept)
    document["steps"] = steps
    if schema_faults(document):
        return []
    noted = Faults()
    try:
        compile_plan(to_message(document, noted), 0, b"")
    except DefinitionFaultsError as error:
        found = [*noted.found, *error.faults]
        return [fault for fault in found if not (fault.parts[:2] in replaced and fault.parts[2:3] != ("after",))]
    return list(noted.found)


def _within(parts: Ref, path: Ref) -> bool:
    return parts[: len(path)] == path
