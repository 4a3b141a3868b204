"""What is known of a run: the fold of its history and nothing else.

Blocks are held as scopes so that nested ones (maps, loops) are more scopes and not another shape. Step records come
into being when something first happens to a step; a missing record means PENDING with no edge resolved.
"""

from collections.abc import Iterator, Set as AbstractSet
from dataclasses import dataclass, field

from holdfast.v1.actor_pb2 import Actor, RequestMark
from holdfast.v1.definition_pb2 import Approvers
from holdfast.v1.failure_pb2 import Failure
from holdfast.v1.gate_pb2 import GateContent, GateDecision, GateReason, Resolution, ResolutionRule
from holdfast.v1.history_pb2 import CancelCause, EdgeResolution, SkipReason
from holdfast.v1.payload_pb2 import JsonValue, Payload
from holdfast.v1.run_pb2 import RunState as RunStateEnum, StepState
from holdfast_server.engine.kept import actor_of, payload_of
from holdfast_server.engine.plan import BlockPlan, Plan, StepPlan

__all__ = [
    "FINAL",
    "HELD",
    "OPEN_RUN",
    "BufferedSignal",
    "GateRecord",
    "RequestRecord",
    "RunState",
    "Scope",
    "StepRecord",
]

PENDING = StepState.STEP_STATE_PENDING
QUEUED = StepState.STEP_STATE_QUEUED
RUNNING = StepState.STEP_STATE_RUNNING
BACKING_OFF = StepState.STEP_STATE_BACKING_OFF
WAITING = StepState.STEP_STATE_WAITING
IN_REVIEW = StepState.STEP_STATE_IN_REVIEW
SUCCEEDED = StepState.STEP_STATE_SUCCEEDED
FAILED = StepState.STEP_STATE_FAILED
SKIPPED = StepState.STEP_STATE_SKIPPED
CANCELED = StepState.STEP_STATE_CANCELED

RETRIED = Resolution.RESOLUTION_RETRIED

REMEMBERED_REQUESTS = 1_000
"""Changes of a run whose request ids are remembered; fixed, because every fold of a history must give the same."""

FINAL = frozenset({SUCCEEDED, FAILED, SKIPPED, CANCELED})
"""Step states that do not change any more within a run epoch."""

HELD = frozenset({QUEUED, RUNNING})
"""States in which an attempt can be settled: QUEUED too, by a worker that got it from a server that crashed since."""

PAUSED_RUN = RunStateEnum.RUN_STATE_PAUSED

OPEN_RUN = frozenset({RunStateEnum.RUN_STATE_RUNNING, RunStateEnum.RUN_STATE_PAUSED})
"""States of runs that are not closed."""

UNRESOLVED = EdgeResolution.EDGE_RESOLUTION_UNSPECIFIED
TAKEN = EdgeResolution.EDGE_RESOLUTION_TAKEN
DEAD = EdgeResolution.EDGE_RESOLUTION_DEAD
ERROR = EdgeResolution.EDGE_RESOLUTION_ERROR


@dataclass(slots=True)
class GateRecord:
    """A gate of a step, open or resolved."""

    reason: GateReason.ValueType
    content: GateContent
    content_hash: bytes
    open_us: int
    deadline_us: int = 0
    """0 means never."""
    approvers: Approvers | None = None
    """Set once delegated or escalated; else the definition's hold."""
    escalated: bool = False
    decisions: list[GateDecision] = field(default_factory=list)
    resolution: Resolution.ValueType = Resolution.RESOLUTION_UNSPECIFIED
    rule: ResolutionRule.ValueType = ResolutionRule.RESOLUTION_RULE_UNSPECIFIED
    resolve_us: int = 0
    failure: Failure | None = None
    review_rule: int = 0
    operator: Actor | None = None
    """Who ended it by acting on its step."""


@dataclass(slots=True)
class StepRecord:
    """One activation. Times are microseconds since the Unix epoch, 0 for never."""

    state: StepState.ValueType = PENDING
    attempt: int = 0
    attempts_left: int = 0
    """Attempts the policy in force still allows after the present one fails."""
    fallback_rule: int = 0
    lease: int = 0
    handler: str = ""
    queue: str = ""
    worker_id: str = ""
    packed_input: bytes | None = None
    input_revision: int = 0
    packed_output: bytes | None = None
    failure: Failure | None = None
    schedule_us: int = 0
    start_us: int = 0
    finish_us: int = 0
    fail_us: int = 0
    """When the last attempt that failed did."""
    due_us: int = 0
    """What BACKING_OFF or WAITING wait for."""
    schedule_to_start_us: int = 0
    schedule_to_close_us: int = 0
    fence_us: int = 0
    """When a cancelled attempt is fenced; 0 means no cancel was requested."""
    cancel_cause: CancelCause.ValueType = CancelCause.CANCEL_CAUSE_UNSPECIFIED
    settled: tuple[int, int] = (0, 0)
    """(attempt, lease) of the last result of a worker that ended an attempt."""
    settled_failure: str = ""
    """Type of the failure that result was or, an output that was refused, led to; empty if the output was accepted."""
    edges: bytearray | None = None
    """`EdgeResolution` of each edge into the step, a byte each, so that a wide join counts them at no cost; None means
    all unresolved."""
    skip_reason: SkipReason.ValueType = SkipReason.SKIP_REASON_UNSPECIFIED
    handled: bool = False
    answered_by: str = ""
    revision: int = 0
    """Last revision of a gate of this activation."""
    gate: GateRecord | None = None

    @property
    def input(self) -> Payload | None:
        """What the last attempt was or will be given; made anew each time."""
        return payload_of(self.packed_input)

    @property
    def output(self) -> Payload | None:
        """What the step ended with, if it ended well; made anew each time."""
        return payload_of(self.packed_output)

    @property
    def tried(self) -> bool:
        """Whether an attempt was queued in this run epoch; attempt numbers and inputs outlast a RetryRun."""
        return bool(self.handler)

    @property
    def last_attempt(self) -> int:
        """The last attempt of this run epoch; 0 if there was none."""
        return self.attempt if self.tried else 0

    @property
    def released(self) -> bool:
        """Whether a review said that a step that never started may start, which a pause may hold back."""
        return self.state == IN_REVIEW and self.gate is not None and self.gate.resolution == RETRIED


@dataclass(slots=True)
class Scope:
    """One block in execution."""

    prefix: str
    """What stands in front of step names in paths: empty for the run's own block, else it ends with `/`."""
    block: BlockPlan
    steps: list[StepRecord | None]
    unfinished: int
    """Steps that are not final."""
    active: int = 0
    """Of these, those that more than the end of another step can move: all that are not PENDING."""
    closing: RunStateEnum.ValueType = RunStateEnum.RUN_STATE_UNSPECIFIED
    """`RunState` the block is closing with (FAILED, CANCELED, TIMED_OUT); UNSPECIFIED while it goes on."""
    failure: Failure | None = None
    """The first unhandled failure."""

    def record(self, index: int) -> StepRecord:
        """The record of a step, made if there is none yet; for what is about to change it."""
        found = self.steps[index]
        if found is None:
            found = self.steps[index] = StepRecord()
        return found

    def state_of(self, index: int) -> StepState.ValueType:
        """The `StepState` of a step."""
        found = self.steps[index]
        return PENDING if found is None else found.state

    def path(self, step: StepPlan) -> str:
        """Path of a step's activation."""
        return self.prefix + step.name

    def start_over(self, reset: AbstractSet[int]) -> None:
        """Lets steps be PENDING again; what is counted on keeps its numbers, and edges out of them are open again."""
        for step in self.block.steps:
            record = self.steps[step.index]
            if record is None:
                continue
            if record.edges is not None:
                for position, edge in enumerate(step.after):
                    if edge.source in reset:
                        record.edges[position] = UNRESOLVED
            if step.index in reset:
                self.steps[step.index] = StepRecord(
                    attempt=record.attempt,
                    lease=record.lease,
                    packed_input=record.packed_input,
                    input_revision=record.input_revision,
                    revision=record.revision,
                    settled=record.settled,
                    settled_failure=record.settled_failure,
                    edges=record.edges,
                )
                self.unfinished += 1


@dataclass(frozen=True, slots=True)
class BufferedSignal:
    """A signal nothing has taken yet."""

    name: str
    payload: Payload | None
    receive_us: int


@dataclass(frozen=True, slots=True)
class RequestRecord:
    """A change that was made, so that its repetition gets the same answer."""

    hash: bytes
    seq: int
    """Sequence number of the first event it caused."""


@dataclass(slots=True)
class RunState:
    """A run."""

    plan: Plan
    namespace: str
    run_id: str
    key: str
    state: RunStateEnum.ValueType = RunStateEnum.RUN_STATE_RUNNING
    seq: int = 0
    time_us: int = 0
    """Time of the last event."""
    history_bytes: int = 0
    """Size of all events."""
    run_epoch: int = 1
    packed_input: bytes | None = None
    output: Payload | None = None
    failure: Failure | None = None
    attributes: dict[str, JsonValue] = field(default_factory=dict)
    packed_starter: bytes | None = None
    traceparent: str = ""
    start_us: int = 0
    close_us: int = 0
    start_after_us: int = 0
    begun: bool = False
    """False while a delayed start is waited for."""
    deadline_us: int = 0
    timeout_us: int = 0
    """Longest time of each run epoch; 0 means unlimited."""
    pause_us: int = 0
    cancel_reason: str = ""
    scopes: dict[str, Scope] = field(default_factory=dict)
    waits: dict[str, None] = field(default_factory=dict)
    """Paths of open waits, oldest first."""
    open_gates: dict[str, None] = field(default_factory=dict)
    """Paths of gates that are not resolved, oldest first."""
    signals: dict[int, BufferedSignal] = field(default_factory=dict)
    """By the sequence number of their event, oldest first."""
    requests: dict[str, RequestRecord] = field(default_factory=dict)
    large: dict[tuple[str, ...], bytes] = field(default_factory=dict)
    """Hashes of payloads kept by reference that expressions can name, by their head."""
    looked_into: dict[tuple[str, ...], bytes] = field(default_factory=dict)
    """Of these, what an expression looks into that may still be evaluated in this run epoch."""

    @property
    def input(self) -> Payload | None:
        """What the run was started with; made anew each time."""
        return payload_of(self.packed_input)

    @property
    def started_by(self) -> Actor | None:
        """Who started it; made anew each time."""
        return actor_of(self.packed_starter)

    @property
    def open(self) -> bool:
        """Whether the run is not closed."""
        return self.state in OPEN_RUN

    @property
    def paused(self) -> bool:
        """Whether nothing new may start."""
        return self.state == PAUSED_RUN

    @property
    def root(self) -> Scope:
        """The run's own block."""
        return self.scopes[""]

    def remember(self, request: RequestMark, seq: int) -> None:
        """Notes the request that caused an event, in place of the oldest once there are too many."""
        self.requests.setdefault(request.id, RequestRecord(request.hash, seq))
        if len(self.requests) > REMEMBERED_REQUESTS:
            del self.requests[next(iter(self.requests))]

    def locate(self, path: str) -> tuple[Scope, StepPlan] | None:
        """The scope and step an activation path names; None if there is no such activation."""
        root = self.root
        index = root.block.by_name.get(path)
        if index is not None:
            return root, root.block.steps[index]
        start = path.rfind("/") + 1
        scope = self.scopes.get(path[:start]) if start else None
        if scope is None:
            return None
        index = scope.block.by_name.get(path[start:])
        return None if index is None else (scope, scope.block.steps[index])

    def activations(self) -> Iterator[tuple[Scope, StepPlan, StepRecord | None]]:
        """All activations in the order of the definition."""
        for scope in self.scopes.values():
            for step in scope.block.steps:
                yield scope, step, scope.steps[step.index]


def new_scope(prefix: str, block: BlockPlan) -> Scope:
    """A block at its beginning."""
    return Scope(prefix, block, [None] * len(block.steps), len(block.steps))
