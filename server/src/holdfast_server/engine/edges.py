"""Edges and joins: which edges a finished step takes, and what that means for the steps behind them."""

from enum import Enum

from holdfast.v1.definition_pb2 import EDGE_ON_FAILED, JOIN_MODE_ALL, JOIN_MODE_INCLUSIVE, EdgeOn
from holdfast.v1.failure_pb2 import Failure
from holdfast.v1.history_pb2 import EdgeOutcome
from holdfast.v1.payload_pb2 import Payload
from holdfast.v1.run_pb2 import StepState
from holdfast_server.engine import failures, rendering, state as st
from holdfast_server.engine.expressions import ExpressionError
from holdfast_server.engine.payloads import OpaquePayloadError
from holdfast_server.engine.plan import StepPlan
from holdfast_server.engine.run_names import Finishing
from holdfast_server.engine.state import Scope, StepRecord
from holdfast_server.engine.turn import Turn

__all__ = [
    "Verdict",
    "can_still_be_met",
    "condition_failure",
    "failure_was_taken",
    "join_verdict",
    "resolve",
    "takes_failure",
]

FITS = {
    EdgeOn.EDGE_ON_SUCCEEDED: frozenset({st.SUCCEEDED}),
    EdgeOn.EDGE_ON_FAILED: frozenset({st.FAILED}),
    EdgeOn.EDGE_ON_SKIPPED: frozenset({st.SKIPPED}),
    EdgeOn.EDGE_ON_FINISHED: st.FINAL,
}
"""Which outcomes of the source take an edge."""


class Verdict(Enum):
    """What a join says of its step."""

    OPEN = "open"
    MET = "met"
    NOT_MET = "not met"
    ERROR = "error"


def resolve(
    turn: Turn,
    scope: Scope,
    step: StepPlan,
    state: StepState.ValueType,
    output: Payload | None,
    failure: Failure | None,
) -> list[EdgeOutcome]:
    """The outcomes of all edges out of a step that is about to finish in `state`."""
    outcomes: list[EdgeOutcome] = []
    for target_index, position in step.out:
        target = scope.block.steps[target_index]
        edge = target.after[position]
        resolution = st.TAKEN if state in FITS[edge.on] else st.DEAD
        if resolution == st.TAKEN and edge.when is not None:
            finishing = Finishing(scope, step.index, state, output, failure, turn.now_us)
            try:
                if not edge.when.holds(turn.names(scope, finishing)):
                    resolution = st.DEAD
            except (ExpressionError, OpaquePayloadError):
                resolution = st.ERROR
        outcomes.append(EdgeOutcome(target=target.name, index=position, resolution=resolution))
    return outcomes


def condition_failure(turn: Turn, scope: Scope, step: StepPlan) -> Failure:
    """The failure that the first condition of an edge into `step` is that could not be evaluated.

    Evaluated once more: the event of the source says that it failed, not how, and may be long ago.
    """
    resolved = scope.record(step.index).edges or b""
    for edge, resolution in zip(step.after, resolved, strict=False):
        if resolution != st.ERROR or edge.when is None:
            continue
        where = f"`when` of the edge from {scope.block.steps[edge.source].name!r} to {step.name!r}"
        try:
            edge.when.holds(turn.names(scope))
        except (ExpressionError, OpaquePayloadError) as error:
            return rendering.expression_fault(error, where).failure
        message = f"{where} could not be evaluated when its source finished"
        return failures.failure(failures.EXPRESSION_ERROR, message)
    message = f"step {step.name!r} has no edge that could not be evaluated"
    raise ValueError(message)


def takes_failure(scope: Scope, step: StepPlan, outcomes: list[EdgeOutcome]) -> bool:
    """Whether an `on: FAILED` edge among the outcomes was taken, which makes the failure handled."""
    return any(
        outcome.resolution == st.TAKEN and scope.block.steps[target].after[position].on == EDGE_ON_FAILED
        for outcome, (target, position) in zip(outcomes, step.out, strict=True)
    )


def failure_was_taken(scope: Scope, step: StepPlan) -> bool:
    """The same of a step that failed earlier, read from what its targets remember."""
    for target, position in step.out:
        record = scope.steps[target]
        taken = record is not None and record.edges is not None and record.edges[position] == st.TAKEN
        if taken and scope.block.steps[target].after[position].on == EDGE_ON_FAILED:
            return True
    return False


def join_verdict(step: StepPlan, record: StepRecord | None) -> Verdict:
    """What the edges resolved so far mean for a PENDING step with edges."""
    if record is None or record.edges is None:
        return Verdict.OPEN
    edges = record.edges
    if st.ERROR in edges:
        return Verdict.ERROR
    taken = edges.count(st.TAKEN)
    unresolved = edges.count(st.UNRESOLVED)
    mode = step.join_mode
    if mode == JOIN_MODE_INCLUSIVE:
        met, lost = unresolved == 0 and taken > 0, unresolved == 0
    elif mode == JOIN_MODE_ALL:
        met, lost = taken == len(edges), taken + unresolved < len(edges)
    else:
        met, lost = taken >= step.join_count, taken + unresolved < step.join_count
    if met:
        return Verdict.MET
    return Verdict.NOT_MET if lost else Verdict.OPEN


def can_still_be_met(scope: Scope, join: StepPlan) -> bool:
    """Whether a FIRST or QUORUM join has been met or can still be."""
    record = scope.steps[join.index]
    if record is None:
        return True
    if record.state == st.PENDING:
        return join_verdict(join, record) is not Verdict.NOT_MET
    return record.state != st.SKIPPED
