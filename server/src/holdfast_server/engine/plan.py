"""The compiled form of a definition: what the engine walks instead of the message.

A plan is immutable and shared by all runs of a version. Everything an event handler needs per step is a plain
attribute here, so that the hot path reads no protobuf fields.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from holdfast.v1 import definition_pb2 as pb
from holdfast_server.engine.expressions import Condition, Expression, Template
from holdfast_server.engine.number_types import NumberTypes
from holdfast_server.engine.schemas import Schema
from holdfast_server.engine.scopes import Scope

__all__ = [
    "RUN",
    "BlockPlan",
    "EdgePlan",
    "ErrorRulePlan",
    "GatePlan",
    "Plan",
    "RetryPlan",
    "SleepPlan",
    "StepPlan",
    "WaitPlan",
]

RUN: Final = -1
"""Stands for the run itself among the steps that look into a payload."""


@dataclass(frozen=True, slots=True)
class EdgePlan:
    """An edge into a step."""

    source: int
    """Index of the source step in the block."""
    on: pb.EdgeOn.ValueType
    """Never UNSPECIFIED."""
    when: Condition | None


@dataclass(frozen=True, slots=True)
class RetryPlan:
    """A retry policy with its defaults filled in."""

    max_attempts: int
    initial_us: int
    backoff: float
    max_interval_us: int
    jitter: float
    non_retryable: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ErrorRulePlan:
    """One rule of `on_error`; exactly one of fallback, value, review, fail applies by `action`."""

    match: tuple[str, ...]
    action: str
    """`fallback`, `value`, `review` or `fail`."""
    handler: str = ""
    queue: str = ""
    retry: RetryPlan | None = None
    value: Template | None = None
    title: Template | None = None
    body: Template | None = None
    approvers: pb.Approvers | None = None
    deadline_us: int | None = None


@dataclass(frozen=True, slots=True)
class GatePlan:
    """What a gate step needs beyond its message."""

    spec: pb.GateStep
    title: Template
    body: Template | None
    args: Template | None
    args_schema: Schema | None
    response_schema: Schema | None
    decisions: tuple[pb.Decision.ValueType, ...]
    quorum: int
    veto: bool
    deadline_us: int | None
    on_deadline: pb.OnDeadline.ValueType
    escalation_us: int | None


@dataclass(frozen=True, slots=True)
class WaitPlan:
    """What a wait step needs."""

    signal: str
    when: Condition | None
    timeout_us: int | None


@dataclass(frozen=True, slots=True)
class SleepPlan:
    """What a sleep step needs; one of the two is set."""

    duration_us: int | None
    until: Template | None


@dataclass(frozen=True, slots=True)
class StepPlan:
    """A step with everything that is known before any run."""

    index: int
    name: str
    kind: str
    """`task`, `gate`, `wait`, `sleep` or `compute`: the name of the oneof member."""
    summary: str
    after: tuple[EdgePlan, ...]
    out: tuple[tuple[int, int], ...]
    """(target step, position in the target's `after`) of each edge out of this step."""
    join_mode: pb.JoinMode.ValueType
    """Never UNSPECIFIED."""
    join_count: int
    """Edges that must be taken for FIRST (1) and QUORUM; 0 otherwise."""
    cancel_others: bool
    cleanup: bool
    input: Template | None
    input_schema: Schema | None
    output_schema: Schema | None
    on_error: tuple[ErrorRulePlan, ...]
    exclusive_sources: frozenset[int]
    """For FIRST and QUORUM: steps all of whose paths lead to this join."""
    covering_joins: tuple[int, ...]
    """FIRST and QUORUM joins that have this step among their exclusive sources."""
    # task
    handler: str = ""
    queue: str = ""
    retry: RetryPlan | None = None
    schedule_to_start_us: int | None = None
    start_to_close_us: int | None = None
    schedule_to_close_us: int | None = None
    heartbeat_us: int | None = None
    # other kinds
    gate: GatePlan | None = None
    wait: WaitPlan | None = None
    sleep: SleepPlan | None = None
    looks_into: tuple[tuple[str, ...], ...] = ()
    """Heads of the payloads that its expressions look into, and those of the edges into and out of it."""


@dataclass(frozen=True, slots=True)
class BlockPlan:
    """A compiled block."""

    steps: tuple[StepPlan, ...]
    by_name: Mapping[str, int]
    entries: tuple[int, ...]
    """Steps without edges."""
    order: tuple[int, ...]
    """A topological order of all steps."""
    fail_fast: bool
    cleanups: tuple[int, ...] = field(init=False)
    """Cleanup steps, in topological order."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "cleanups", tuple(index for index in self.order if self.steps[index].cleanup))


@dataclass(frozen=True, slots=True)
class Plan:
    """A compiled workflow version."""

    workflow: str
    version: int
    definition_hash: bytes
    input_schema: Schema | None
    block: BlockPlan
    output: Template | None
    output_schema: Schema | None
    queries: Mapping[str, Expression]
    signals: Mapping[str, Schema | None]
    """Declared signals; empty means any name is taken."""
    timeout_us: int | None
    retention_us: int
    """How long closed runs are kept; 0 means as long as the server says."""
    attributes: Mapping[str, Template]
    deep_refs: Mapping[tuple[str, ...], tuple[int, ...]]
    """Heads (`("input",)`, `("steps", path, "output")`) of payloads that some expression looks into, so that the
    runtime can load the large ones before the engine decides; each with the steps that do so, `RUN` for the output."""
    looks_into_signals: bool
    """Whether some expression names `signals` or a wait has a condition over its payload."""
    scope: Scope
    """What queries may name."""
    numbers: NumberTypes
    """How schemas type numbers in expressions."""
