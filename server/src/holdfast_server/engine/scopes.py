"""What an expression may name at its place: only what is certain to be there when it is evaluated."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from holdfast_server.engine.faults import Faults, did_you_mean
from holdfast_server.engine.names import Ref, ref_text
from holdfast_server.engine.schemas import Schema

__all__ = ["GATE_OUTPUT", "RUN_FIELDS", "STEP_FIELDS", "Scope", "check_refs", "reference_faults"]

STEP_FIELDS: Final = ("output", "state", "failure", "attempts", "started_at", "finished_at")
RUN_FIELDS: Final = ("id", "workflow", "version", "start_time", "attributes")
GATE_OUTPUT: Final = ("resolution", "payload", "comment", "decided_by", "decided_at", "decisions")


@dataclass(frozen=True, slots=True)
class Scope:
    """What can be named at one place."""

    steps: Mapping[str, str]
    """All steps of the block, with their kinds."""
    numbers: Mapping[str, int]
    """Their numbers."""
    visible: int | None
    """The set of those that may be named, a bit for each; None for all."""
    reader: str
    """The step that reads, which cannot name itself; empty where that may be."""
    place: str
    """What reads, for messages."""
    roots: frozenset[str]
    """First members that may be named."""
    signals: frozenset[str]
    """Declared signals; empty if any name is taken."""
    schemas: Mapping[Ref, Schema]
    """Schemas of the values, by head."""

    def with_payload(self, schema: Schema | None) -> "Scope":
        """The scope of a wait's condition, in which `payload` is the signal's."""
        schemas = {**self.schemas, ("payload",): schema} if schema is not None else self.schemas
        return replace(self, roots=self.roots | {"payload"}, schemas=schemas)


def check_refs(refs: Iterable[Ref], scope: Scope, path: Ref, faults: Faults) -> None:
    """Note a fault at `path` for every reference that `scope` does not allow."""
    for ref in refs:
        message = _fault(ref, scope)
        if message is not None:
            faults.add(path, message)


def reference_faults(refs: Iterable[Ref], scope: Scope) -> list[str]:
    """What is wrong with references, one message each."""
    return [message for ref in refs if (message := _fault(ref, scope)) is not None]


def _fault(ref: Ref, scope: Scope) -> str | None:
    root = ref[0]
    if root not in scope.roots:
        if root == "payload":
            return "`payload` is known in the `when` of a wait only"
        return f"`{root}` is not known here; known: {', '.join(sorted(scope.roots))}"
    match root:
        case "steps":
            return _step_fault(ref, scope)
        case "signals":
            return _signal_fault(ref, scope)
        case "run":
            return _member_fault(ref, "run", RUN_FIELDS)
    return _schema_fault(ref, ref[:1], scope)


def _step_fault(ref: Ref, scope: Scope) -> str | None:
    if len(ref) == 1 or not isinstance(ref[1], str):
        return "`steps` alone cannot be read; name the step, such as `steps.plan.output`"
    name = ref[1]
    if name not in scope.steps:
        return f"unknown step '{name}' in `{ref_text(ref)}`{did_you_mean(name, scope.steps)}"
    if name == scope.reader:
        return f"step '{name}' cannot read itself in `{ref_text(ref)}`"
    if scope.visible is not None and not scope.visible >> scope.numbers[name] & 1:
        return (
            f"step '{name}' is not upstream of {scope.place}, so `{ref_text(ref)}` may not be there yet; "
            "lead an edge from it here"
        )
    fault = _member_fault(ref[1:], f"steps.{name}", STEP_FIELDS)
    if fault is not None or ref[2] != "output":
        return fault
    if scope.steps[name] == "gate" and len(ref) > 3 and ref[3] not in GATE_OUTPUT:  # noqa: PLR2004 - steps.x.output.y
        return f"the output of gate '{name}' has no '{ref[3]}'{did_you_mean(str(ref[3]), GATE_OUTPUT)}"
    return _schema_fault(ref, ref[:3], scope)


def _signal_fault(ref: Ref, scope: Scope) -> str | None:
    if len(ref) == 1 or not isinstance(ref[1], str):
        return "`signals` alone cannot be read; name the signal, such as `signals.go`"
    if scope.signals and ref[1] not in scope.signals:
        return f"signal '{ref[1]}' is not declared in `signals`{did_you_mean(ref[1], scope.signals)}"
    return None


def _member_fault(ref: Ref, owner: str, members: tuple[str, ...]) -> str | None:
    if len(ref) == 1:
        return f"`{owner}` alone cannot be read; name a member: {', '.join(members)}"
    if ref[1] not in members:
        return f"`{owner}` has no '{ref[1]}'{did_you_mean(str(ref[1]), members)}"
    return None


def _schema_fault(ref: Ref, head: Ref, scope: Scope) -> str | None:
    """A member that the value's schema rules out is a misspelling."""
    schema = scope.schemas.get(head)
    at: object = None if schema is None else schema.document
    for position in range(len(head), len(ref)):
        if not isinstance(at, dict) or not isinstance(ref[position], str) or "$ref" in at:
            return None
        properties = at.get("properties")
        if not isinstance(properties, dict):
            return None
        part = ref[position]
        if part not in properties:
            if at.get("additionalProperties") is False and not at.keys() & _OPEN:
                return (
                    f"the schema of `{ref_text(ref[:position])}` has no '{part}'{did_you_mean(str(part), properties)}"
                )
            return None
        at = properties[part]
    return None


_OPEN: Final = frozenset({"patternProperties", "allOf", "anyOf", "oneOf"})
"""Keywords that may allow members which `properties` does not list."""
