"""Steps and the edges out of them, as the code that builds a workflow holds them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from holdfast.builder.expressions import Expression, Reference, cel, steps_in
from holdfast.errors import DefinitionError

__all__ = ["After", "Edge", "Gate", "Step"]

On = Literal["SUCCEEDED", "FAILED", "SKIPPED", "FINISHED"]
Condition = Expression | str


@dataclass(frozen=True, slots=True)
class Edge:
    """What must be finished before a step may start, and how.

    Attributes:
        step: The source.
        on: Outcome of the source that takes the edge.
        when: Condition over the source and what is upstream of it; None for always.
    """

    step: "Step"
    on: On = "SUCCEEDED"
    when: Condition | None = None

    def document(self) -> dict[str, Any]:
        """Return it as the document has it."""
        edge: dict[str, Any] = {"step": self.step.name}
        if self.on != "SUCCEEDED":
            edge["on"] = self.on
        if self.when is not None:
            edge["when"] = condition(self.when)
        return edge


class Step:
    """A step of a workflow under construction; other steps refer to it and come after it.

    Attributes:
        name: Its name.
        output: Its output, once it SUCCEEDED.
        state: Its state, for example `SUCCEEDED`.
        failure: Its failure, once it FAILED: `type`, `message`, `details`.
        attempts: How many attempts were made.
        started_at: When it started.
        finished_at: When it finished.
    """

    def __init__(self, name: str, document: dict[str, Any], upstream: frozenset[str], output_type: Any) -> None:
        self.name = name
        self._document = document
        self._upstream = upstream
        self.output = self._reference("output", output_type)
        self.state = self._reference("state", str)
        self.failure = self._reference("failure")
        self.attempts = self._reference("attempts", int)
        self.started_at = self._reference("started_at", datetime)
        self.finished_at = self._reference("finished_at", datetime)

    def __repr__(self) -> str:
        return f"<step {self.name}>"

    @property
    def upstream(self) -> frozenset[str]:
        """Names of the steps that are finished before this one starts."""
        return self._upstream

    def document(self) -> dict[str, Any]:
        """Return it as the document has it."""
        return dict(self._document)

    def on_succeeded(self, when: Condition | None = None) -> Edge:
        """Return an edge that is taken when this step succeeds and the condition holds."""
        return Edge(self, "SUCCEEDED", when)

    def on_failed(self, when: Condition | None = None) -> Edge:
        """Return an edge that is taken when this step fails; taking it makes the failure handled."""
        return Edge(self, "FAILED", when)

    def on_skipped(self, when: Condition | None = None) -> Edge:
        """Return an edge that is taken when this step is skipped."""
        return Edge(self, "SKIPPED", when)

    def on_finished(self, when: Condition | None = None) -> Edge:
        """Return an edge that is taken however this step ends."""
        return Edge(self, "FINISHED", when)

    def _reference(self, field: str, type_: Any = Any) -> Reference:
        return Reference(f"steps.{self.name}.{field}", frozenset({self.name}), type_)


class Gate(Step):
    """A gate under construction.

    Attributes:
        resolution: The outcome: `APPROVED`, `REJECTED` or `RESPONDED`, or `SKIPPED` by an operator.
        payload: The data that came with the deciding decision.
    """

    def __init__(self, name: str, document: dict[str, Any], upstream: frozenset[str], response_type: Any) -> None:
        super().__init__(name, document, upstream, Any)
        self.resolution: Reference = self.output.resolution
        self.payload = Reference(f"steps.{name}.output.payload", frozenset({name}), response_type)

    def on_approved(self) -> Edge:
        """Return an edge that is taken when the gate is approved."""
        return self.on_succeeded(self.resolution == "APPROVED")

    def on_rejected(self) -> Edge:
        """Return an edge that is taken when the gate is rejected."""
        return self.on_succeeded(self.resolution == "REJECTED")

    def on_responded(self) -> Edge:
        """Return an edge that is taken when the gate is answered with data."""
        return self.on_succeeded(self.resolution == "RESPONDED")


After = Step | Edge | Sequence[Step | Edge]
"""What a step comes after: steps that must succeed, or edges that say more."""


def edges_of(name: str, after: After, when: Condition | None) -> list[Edge]:
    """Return the edges into a step; `when` holds for every edge that has no condition of its own.

    Raises:
        DefinitionError: Something is neither step nor edge, or a condition has no edge to hold for.
    """
    members = [after] if isinstance(after, (Step, Edge)) else list(after)
    edges = []
    for member in members:
        if not isinstance(member, (Step, Edge)):
            raise DefinitionError(f"step {name!r} comes after steps and their edges, not after {member!r}")
        edge = member if isinstance(member, Edge) else Edge(member)
        edges.append(edge if edge.when is not None or when is None else Edge(edge.step, edge.on, when))
    if when is not None and not edges:
        raise DefinitionError(f"step {name!r} has a condition but comes after nothing; give `after` too")
    for edge in edges:
        allowed = edge.step.upstream | {edge.step.name}
        beyond = steps_in(edge.when) - allowed
        if beyond:
            raise DefinitionError(
                f"the condition of {name!r} after {edge.step.name!r} names {_names(beyond)}, "
                f"which need not be finished then; it may name {_names(allowed)}"
            )
    return edges


def check_upstream(name: str, upstream: frozenset[str], *values: object) -> None:
    """Find a reference to a step that need not be finished when this one starts.

    Raises:
        DefinitionError: There is one.
    """
    beyond = steps_in(list(values)) - upstream
    if beyond:
        raise DefinitionError(
            f"step {name!r} names {_names(beyond)}, which need not be finished when it starts; add it to `after`"
        )


def condition(when: Condition) -> str:
    """Return the CEL text of a condition; plain text is CEL already."""
    return when if isinstance(when, str) else cel(when)


def _names(names: frozenset[str]) -> str:
    return ", ".join(sorted(names)) or "nothing"
