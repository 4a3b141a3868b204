"""What a server would hold for one run outside of the engine: tasks, timers and gates, kept by effects alone.

After every command it is compared with what a server that starts now would set up from the run's state.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from holdfast_server.engine import effects as fx
from holdfast_server.engine.effects import Timer
from holdfast_server.engine.state import FINAL, RunState

__all__ = ["Outside"]


@dataclass(slots=True)
class Outside:
    """Tasks, timers and open gates of a run."""

    ready: dict[str, tuple[int, str, str]] = field(default_factory=dict)
    """(attempt, queue, handler) of attempts that can be handed out, by path."""
    held: dict[str, int] = field(default_factory=dict)
    """Attempts workers have, by path."""
    stopping: set[str] = field(default_factory=set)
    """Paths of attempts whose workers were asked to stop."""
    timers: dict[tuple[str, Timer], int] = field(default_factory=dict)
    gates: set[str] = field(default_factory=set)
    """Paths of gates that watchers see as open."""

    def perform(self, run: RunState, effects: Iterable[fx.Effect]) -> None:
        """What runtime, matching and timers do with effects."""
        for effect in effects:
            match effect:
                case fx.TaskReady():
                    self.drop_task(effect.path)
                    self.ready[effect.path] = (effect.attempt, effect.queue, effect.handler)
                case fx.TaskHeld():
                    self.held[effect.path] = effect.attempt
                case fx.TaskClosed():
                    self.drop_task(effect.path)
                case fx.TaskCancelRequested():
                    self.stopping.add(effect.path)
                case fx.TimerSet():
                    self.timers[effect.path, effect.timer] = effect.due_us
                case fx.TimersCleared():
                    self.timers = {name: due for name, due in self.timers.items() if name[0] != effect.path}
                case fx.GateChanged():
                    if effect.path in open_gates(run):
                        self.gates.add(effect.path)
                    else:
                        self.gates.discard(effect.path)
                case fx.RunClosed():
                    self.ready.clear()
                    self.held.clear()
                    self.stopping.clear()
                    self.timers.clear()
                    assert not self.gates, f"watchers still see gates of a closed run: {self.gates}"

    def drop_task(self, path: str) -> None:
        """An attempt was settled or withdrawn."""
        self.ready.pop(path, None)
        self.held.pop(path, None)
        self.stopping.discard(path)

    def hand_out(self, path: str) -> None:
        """A worker got an attempt."""
        attempt, _queue, _handler = self.ready.pop(path)
        self.held[path] = attempt

    def check(self, run: RunState) -> None:
        """Whether a restart would set up the same; timers that are void by now may be left over."""
        fresh = Outside()
        if run.open:
            fresh.perform(run, fx.standing(run))
        assert self.ready == fresh.ready
        assert self.held == fresh.held
        assert self.stopping == fresh.stopping
        assert self.gates == fresh.gates == open_gates(run)
        assert set(run.open_gates) == open_gates(run)
        missing = {name: due for name, due in fresh.timers.items() if self.timers.get(name) != due}
        # A timer that fired while the run is paused is not set again: resuming fires what is due.
        late = {name: due for name, due in missing.items() if run.paused and name not in self.timers}
        assert all(due <= run.time_us or run.paused for due in late.values())
        assert missing == late, f"timers that are not set: {missing}"
        finished = {scope.path(step) for scope, step, record in run.activations() if record and record.state in FINAL}
        # One whose time has come is about to fire and to do nothing: resuming was quicker.
        left = {path for (path, _), due_us in self.timers.items() if due_us > run.time_us}
        assert not finished & left, "timers of finished steps are left"


def open_gates(run: RunState) -> set[str]:
    """Paths of the gates that can be decided."""
    return {
        scope.path(step)
        for scope, step, record in run.activations()
        if run.open and record is not None and record.gate is not None and not record.gate.resolution
        if record.finish_us == 0
    }
