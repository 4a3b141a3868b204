"""Workflows: the list, the versions, the page of one, the faults of a document."""

from collections.abc import Iterable, Iterator

from rich.console import Group, RenderableType
from rich.text import Text

from holdfast.cli.render.columns import Column, Listing
from holdfast.cli.render.payloads import facts, json_text, section
from holdfast.cli.render.times import Moments
from holdfast.cli.render.words import safe
from holdfast.v1.definition_pb2 import Step
from holdfast.v1.workflow_service_pb2 import Diagnostic, GetWorkflowResponse, WorkflowVersion

__all__ = ["fault_lines", "version_list", "workflow_list", "workflow_page"]

HASH_CHARS = 12


def workflow_list(workflows: Iterable[WorkflowVersion], moments: Moments) -> Listing:
    """Return workflows as a list; below each, what it is for."""
    listing = Listing([Column("WORKFLOW"), Column("VERSION", right=True), Column("STEPS", right=True), Column("SINCE")])
    for one in workflows:
        listing.add(
            safe(one.name),
            f"v{one.version}",
            str(one.steps),
            moments.when(one.register_time),
            notes=[safe(one.description, "dim")],
        )
    return listing


def version_list(versions: Iterable[WorkflowVersion], moments: Moments) -> Listing:
    """Return the versions of a workflow."""
    listing = Listing([Column("VERSION"), Column("STEPS", right=True), Column("SINCE"), Column("HASH")])
    for one in versions:
        digest = one.definition_hash.hex()[:HASH_CHARS]
        listing.add(f"v{one.version}", str(one.steps), moments.when(one.register_time), digest)
    return listing


def workflow_page(shown: GetWorkflowResponse, moments: Moments) -> Group:
    """Return one version of a workflow: its steps, what it takes and gives, what it can be told and asked."""
    return Group(*_parts(shown, moments))


def _parts(shown: GetWorkflowResponse, moments: Moments) -> Iterator[RenderableType]:
    version, definition = shown.workflow, shown.definition
    yield safe(f"Workflow {version.name} v{version.version}", "bold")
    pairs = [("since", Text(moments.full(version.register_time))), ("hash", Text(version.definition_hash.hex()))]
    if version.description:
        pairs.insert(0, ("for", safe(version.description)))
    yield facts(pairs)
    yield section("Steps", _steps(definition.block.steps))
    for title, present, schema in (
        ("Input must fit", definition.HasField("input_schema"), definition.input_schema),
        ("Output fits", definition.HasField("output_schema"), definition.output_schema),
    ):
        if present:
            yield section(title, json_text(schema, lines_max=None))
    if definition.signals:
        yield section("Signals", *_named((s.name, s.schema.json) for s in definition.signals))
    if definition.queries:
        yield section("Queries", *_named((q.name, q.expression) for q in definition.queries))


def _named(pairs: Iterable[tuple[str, str]]) -> Iterator[Text]:
    for name, text in pairs:
        yield Text("  ") + safe(name) + safe(f"  {text}" if text else "", "dim")


def _steps(steps: Iterable[Step]) -> Listing:
    listing = Listing([Column(), Column(), Column(shrinks=True), Column(shrinks=True)])
    for step in steps:
        kind = step.WhichOneof("kind") or ""
        after = ", ".join(dict.fromkeys(edge.step for edge in step.after))
        listing.add(
            safe(f"  {step.name}"),
            kind,
            safe(("cleanup: " if step.cleanup else "") + _about(step, kind)),
            safe(f"after {after}" if after else "", "dim"),
        )
    return listing


def _about(step: Step, kind: str) -> str:
    """Return what is particular to a step: who does it, what it asks or waits for."""
    if kind == "task":
        return step.task.handler + (f" on {step.task.queue}" if step.task.queue else "")
    if kind == "gate":
        return step.gate.title
    return f"signal {step.wait.signal}" if kind == "wait" else step.summary


def fault_lines(name: str, faults: Iterable[Diagnostic]) -> Iterator[Text]:
    """Return the faults of a document, each with where it is, in the form editors jump to."""
    for fault in faults:
        place = ":".join([name, *(str(n) for n in (fault.line, fault.column) if n)])
        path = f" {fault.path}:" if fault.path else ""
        yield Text.assemble(safe(f"{place}:", "bold"), safe(path, "dim"), safe(f" {fault.message}"))
