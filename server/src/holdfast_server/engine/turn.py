"""One decision under way: events are emitted, state follows at once, effects are collected.

State is always the fold of what was emitted so far, so rules that cascade (a step ends, an edge is taken, the next step
is queued) read it as they would after a restart.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from holdfast.v1.actor_pb2 import Actor, RequestMark
from holdfast.v1.history_pb2 import HistoryBatch
from holdfast_server.engine import effects
from holdfast_server.engine.effects import Effect
from holdfast_server.engine.evolve import apply
from holdfast_server.engine.payloads import PayloadBag
from holdfast_server.engine.refusal import Refused
from holdfast_server.engine.run_names import Finishing, RunNames
from holdfast_server.engine.settings import EngineSettings
from holdfast_server.engine.state import RunState, Scope

__all__ = ["Entropy", "Turn"]

Entropy = Callable[[], float]
"""Draws a number from [0, 1); decisions use it for jitter."""


@dataclass(slots=True)
class Turn:
    """What a decision has at hand, and what it has made so far.

    Attributes:
        now_us: the time of all its events: never before the last event of the run.
        rejection: set if the command took effect but its caller is to be told no (a result that fails its schema).
    """

    run: RunState
    now_us: int
    time: Timestamp
    """The same as events carry it."""
    entropy: Entropy
    bag: PayloadBag
    settings: EngineSettings
    batch: HistoryBatch
    effects: list[Effect]
    work: deque[tuple[Scope, int]]
    """Steps whose edges changed and that may start, fail or be skipped now."""
    restarts: deque[tuple[Scope, int]]
    """Steps a person lets start again."""
    actor: Actor | None = None
    """Who caused it; goes, like `request`, into the first event: the others follow from that one."""
    request: RequestMark | None = None
    closed: bool = False
    """Whether this turn has ended what a closing block had open."""
    rejection: Refused | None = None

    def emit(self, name: str, body: Any) -> None:
        """Adds an event and applies it."""
        run = self.run
        seq = run.seq + 1
        # Merging into what is there costs a third of handing the parts to `add`.
        event = self.batch.events.add()
        event.seq = seq
        event.time.MergeFrom(self.time)
        stored = getattr(event, name)
        stored.MergeFrom(body)
        if self.request is not None:
            event.request.CopyFrom(self.request)
            self.request = None
        if self.actor is not None:
            event.actor.CopyFrom(self.actor)
            self.actor = None
        apply(run, event, name, stored, seq, self.now_us)
        source = effects.SOURCES.get(name)
        if source is not None:
            self.effects.extend(source(run, stored))

    def names(self, scope: Scope, finishing: Finishing | None = None) -> RunNames:
        """What expressions of a block see now."""
        return RunNames(self.run, scope, self.bag, finishing)
