"""The page of a run: where it stands, what it waits for, its steps as a tree, and how it ended."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from holdfast.scrub import scrub
from holdfast.v1.payload_pb2 import Payload
from holdfast.v1.run_pb2 import Activation, Run, StepState, WaitingOn, WaitingReason
from holdfast_tui.store.pages import Section, fact, heading
from holdfast_tui.store.texts import failure_lines, left_out_line, payload_shown
from holdfast_tui.store.times import Moments, seconds_of, span_text
from holdfast_tui.store.words import (
    OPEN_RUN_STATES,
    Line,
    Span,
    Tone,
    actor_name,
    line,
    run_state_span,
    safe,
    step_mark,
    step_state_span,
    waiting_span,
)

__all__ = ["STEPS_SHOWN_MAX", "RunPage"]

STEPS_SHOWN_MAX = 300
"""Most steps of the tree; what is finished or not begun is counted instead where there are more."""
NAME_WIDTH_MAX = 28
STATE_WIDTH = 12
_QUIET = (
    StepState.STEP_STATE_SKIPPED,
    StepState.STEP_STATE_PENDING,
    StepState.STEP_STATE_SUCCEEDED,
    StepState.STEP_STATE_CANCELED,
)
_FAILING = frozenset({StepState.STEP_STATE_FAILED, StepState.STEP_STATE_BACKING_OFF, StepState.STEP_STATE_IN_REVIEW})


@dataclass(frozen=True)
class RunPage:
    """Everything about one run but its history.

    Attributes:
        run: The run, as the server last told it.
    """

    run: Run
    body: str = ""

    @property
    def key(self) -> str:
        """Id of the run."""
        return self.run.summary.run_id

    @property
    def title(self) -> str:
        """What the frame of the pane says."""
        return f"Run {scrub(self.run.summary.run_id)}"

    @property
    def is_open(self) -> bool:
        """Whether the run goes on."""
        return self.run.summary.state in OPEN_RUN_STATES

    def head(self, moments: Moments) -> Sequence[Line]:
        """Return the facts."""
        return tuple(self._head(moments))

    def _head(self, moments: Moments) -> Iterator[Line]:
        run, summary = self.run, self.run.summary
        end_s = seconds_of(summary.close_time) if summary.HasField("close_time") else moments.now_s
        took = span_text(max(end_s - seconds_of(summary.start_time), 0.0))
        yield heading(safe(f"{summary.workflow} v{summary.version}"), "  ", run_state_span(summary.state), f"  {took}")
        yield fact("run", safe(summary.run_id))
        by = actor_name(run.started_by)
        yield fact("started", moments.ago(seconds_of(summary.start_time)), Span(f"  by {by}", Tone.MUTED))
        if summary.HasField("close_time"):
            yield fact("closed", moments.ago(seconds_of(summary.close_time)))
        if run.HasField("deadline_time") and self.is_open:
            yield fact("times out", moments.ago(seconds_of(run.deadline_time)))
        if summary.key:
            yield fact("key", safe(summary.key))
        if summary.run_epoch > 1:
            yield fact("epoch", f"{summary.run_epoch}, retried {summary.run_epoch - 1} times")
        if not self.is_open and summary.status_message and not run.HasField("failure"):
            yield fact("why", safe(summary.status_message))

    def sections(self, moments: Moments) -> Sequence[Section]:
        """Return why it failed, what it waits for, its steps, and its payloads."""
        return tuple(self._sections(moments))

    def _sections(self, moments: Moments) -> Iterator[Section]:
        run = self.run
        if run.HasField("failure"):
            yield Section("Failure", tuple(failure_lines(run.failure, indent=0)))
        general = [self._waiting(waiting, moments, hang=2) for waiting in run.waiting_on if not waiting.step_path]
        if general:
            yield Section("Waits for", tuple(general))
        yield Section("Steps", tuple(self._steps(moments)))
        if run.HasField("output"):
            yield self._payload("Output", run.output)
        if run.HasField("input"):
            yield self._payload("Input", run.input)
        if run.unconsumed_signals:
            lines = (
                line(safe(signal.name), f"  {moments.ago(seconds_of(signal.receive_time))}", hang=2)
                for signal in run.unconsumed_signals
            )
            yield Section("Signals that nothing has taken", tuple(lines))

    def _payload(self, title: str, payload: Payload) -> Section:
        shown = payload_shown(payload)
        command = scrub(f"holdfast run show {self.key} --full")
        if payload.HasField("ref"):
            return Section(title, (line(Span(f"{shown.text}: {command}", Tone.MUTED)),))
        return Section(title, (left_out_line(shown, command),) if shown.left_out_chars else (), shown)

    def _steps(self, moments: Moments) -> Iterator[Line]:
        shown, left_out = _fitting(self.run.activations)
        waits: dict[str, list[WaitingOn]] = {}
        for waiting in self.run.waiting_on:
            waits.setdefault(waiting.step_path, []).append(waiting)
        width = min(max((len(_name(activation)) for activation in shown), default=0), NAME_WIDTH_MAX)
        for activation in shown:
            yield self._step(activation, width, moments)
            hang = 4 + 2 * _depth(activation)
            if activation.state in _FAILING and activation.HasField("failure"):
                yield from failure_lines(activation.failure, indent=hang)
            for waiting in waits.get(activation.path, ()):
                if waiting.reason != WaitingReason.WAITING_REASON_TASK_RUNNING:  # its state says that already
                    yield self._waiting(waiting, moments, hang=hang)
        if left_out:
            counts = ", ".join(f"{count:,} {name}" for name, count in left_out.items())
            command = scrub(f"holdfast run show {self.key}")
            yield line(Span(f"and {counts}: {command}", Tone.MUTED))

    def _step(self, activation: Activation, width: int, moments: Moments) -> Line:
        name = _name(activation)
        state = step_state_span(activation.state)
        parts = [
            step_mark(activation.state),
            Span(f" {name:<{width}}  "),
            Span(f"{state.text:<{STATE_WIDTH}}", state.tone),
        ]
        if activation.HasField("schedule_time"):
            parts.append(Span(f"{_took(activation, moments):>8}", Tone.MUTED))
        if activation.attempt > 1:
            parts.append(Span(f"  attempt {activation.attempt}", Tone.WARN))
        detail = _detail(activation)
        if detail:
            parts.append(safe(f"  {detail}", Tone.MUTED))
        return line(*parts, hang=4 + 2 * _depth(activation))

    def _waiting(self, waiting: WaitingOn, moments: Moments, *, hang: int) -> Line:
        parts = [Span(" " * (hang - 2) + "↳ ", Tone.MUTED), waiting_span(waiting.reason), safe(f"  {waiting.message}")]
        times = []
        if waiting.HasField("since_time"):
            times.append(f"since {moments.clock(seconds_of(waiting.since_time))}")
        if waiting.HasField("until_time"):
            times.append(f"until {moments.ago(seconds_of(waiting.until_time))}")
        if times:
            parts.append(Span(f"  {', '.join(times)}", Tone.MUTED))
        return line(*parts, hang=hang)


def _depth(activation: Activation) -> int:
    return activation.path.count("/")


def _name(activation: Activation) -> str:
    last = activation.path.rpartition("/")[2] or activation.step
    return "  " * _depth(activation) + scrub(last)


def _took(activation: Activation, moments: Moments) -> str:
    end_s = seconds_of(activation.finish_time) if activation.HasField("finish_time") else moments.now_s
    return span_text(max(end_s - seconds_of(activation.schedule_time), 0.0))


def _detail(activation: Activation) -> str:
    """Return what little more there is to say: what it comes after, who does it, why it was skipped."""
    if activation.state == StepState.STEP_STATE_PENDING and activation.after:
        return f"after {', '.join(activation.after)}"
    if activation.state == StepState.STEP_STATE_RUNNING and activation.worker_id:
        return f"worker {activation.worker_id}"
    return activation.note


def _fitting(activations: Sequence[Activation]) -> tuple[list[Activation], dict[str, int]]:
    """Return the steps that are shown, and how many of each state are only counted."""
    if len(activations) <= STEPS_SHOWN_MAX:
        return list(activations), {}
    ranks = {state: len(_QUIET) - i for i, state in enumerate(_QUIET)}
    order = sorted(range(len(activations)), key=lambda i: ranks.get(activations[i].state, 0))
    kept = set(order[:STEPS_SHOWN_MAX])
    counts = Counter(step_state_span(a.state).text for i, a in enumerate(activations) if i not in kept)
    return [activation for i, activation in enumerate(activations) if i in kept], dict(counts)
