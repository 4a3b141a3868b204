"""The page of a gate: exactly what a decision would be on, who may decide, and what was said so far."""

from collections.abc import Iterator, Sequence
from functools import cached_property

from holdfast.scrub import scrub
from holdfast.v1.definition_pb2 import Decision
from holdfast.v1.gate_pb2 import Gate, GateReason, GateState
from holdfast_tui.store.pages import Section, fact, heading
from holdfast_tui.store.rows import GateKey, gate_key
from holdfast_tui.store.texts import Shown, failure_lines, has_reference, json_shown, left_out_line, payload_shown
from holdfast_tui.store.times import Moments, seconds_of
from holdfast_tui.store.words import (
    Line,
    Span,
    Tone,
    actor_name,
    decision_name,
    gate_outcome,
    line,
    on_deadline_name,
    resolved_by,
    risk_span,
    safe,
)

__all__ = ["GatePage", "approvals", "is_complete", "takes"]

HASH_CHARS = 12
_TAKEN_HERE = frozenset({Decision.DECISION_APPROVE, Decision.DECISION_REJECT})


def is_complete(gate: Gate) -> bool:
    """Return whether a gate carries everything it shows, so that a decision may be made on it."""
    return not has_reference(
        gate.content.body, gate.content.subject, *(decision.payload for decision in gate.decided), gate.failure.details
    )


def takes(gate: Gate, decision: int) -> bool:
    """Return whether a gate is open for a decision."""
    return gate.state == GateState.GATE_STATE_OPEN and decision in gate.decisions


def approvals(gate: Gate) -> int:
    """Return how many approve what the gate shows now."""
    return sum(said.revision == gate.revision and said.decision == Decision.DECISION_APPROVE for said in gate.decided)


class GatePage:
    """Everything about one gate."""

    def __init__(self, gate: Gate) -> None:
        self.gate = gate
        self.is_complete = is_complete(gate)

    @property
    def key(self) -> GateKey:
        """What the gate is addressed by."""
        return gate_key(self.gate)

    @property
    def title(self) -> str:
        """What the frame of the pane says."""
        return f"Gate {scrub(self.gate.step_path)}"

    @cached_property
    def body(self) -> str:
        """The body if it is Markdown; everything else is a section."""
        shown = self._body
        return "" if shown is None or shown.is_json else shown.text

    @cached_property
    def _body(self) -> Shown | None:
        return payload_shown(self.gate.content.body) if self.gate.content.HasField("body") else None

    @cached_property
    def _subject(self) -> Shown | None:
        return payload_shown(self.gate.content.subject) if self.gate.content.HasField("subject") else None

    @property
    def is_cut(self) -> bool:
        """Whether the screen does not show all of what is decided on."""
        return any(shown is not None and shown.left_out_chars > 0 for shown in (self._body, self._subject))

    @property
    def _command(self) -> str:
        return scrub(f"holdfast gate show {self.gate.run_id} {self.gate.step_path}")

    def head(self, moments: Moments) -> Sequence[Line]:
        """Return title and facts."""
        return tuple(self._head(moments))

    def _head(self, moments: Moments) -> Iterator[Line]:
        gate = self.gate
        yield heading(safe(gate.content.title or gate.step_path))
        yield fact("state", *self._state(moments))
        if gate.content.HasField("action"):
            action = gate.content.action
            yield fact("action", safe(action.name or "unnamed", Tone.STRONG), "  risk ", risk_span(action.risk))
        yield fact("run", safe(gate.run_id), safe(f"  {gate.workflow}, step {gate.step_path}", Tone.MUTED))
        yield fact("opened", *self._times(moments))
        yield fact("approvers", *self._approvers())
        if not self.is_complete:
            yield line(Span("Loading all of what is decided on …", Tone.WARN))
        yield from self._other_decisions()

    def _state(self, moments: Moments) -> Iterator[Span]:
        gate = self.gate
        yield gate_outcome(gate)
        if gate.state == GateState.GATE_STATE_RESOLVED:
            yield Span(f" by {resolved_by(gate)} at {moments.ago(seconds_of(gate.resolve_time))}")
        elif gate.state == GateState.GATE_STATE_OPEN:
            words = ", ".join(decision_name(decision) for decision in gate.decisions)
            yield Span(f"  takes {words}", Tone.MUTED)
        if gate.reason == GateReason.GATE_REASON_ERROR_REVIEW:
            yield Span("  review of a failure", Tone.WARN)

    def _times(self, moments: Moments) -> Iterator[Span]:
        gate = self.gate
        yield Span(moments.ago(seconds_of(gate.open_time)))
        if gate.HasField("deadline_time"):
            yield Span("  deadline ", Tone.MUTED)
            then = f", then {on_deadline_name(gate.on_deadline)}" if gate.state == GateState.GATE_STATE_OPEN else ""
            yield Span(moments.ago(seconds_of(gate.deadline_time)) + then)

    def _approvers(self) -> Iterator[Span]:
        approvers = self.gate.approvers
        people = [scrub(name) for name in approvers.principals] + [f"role {scrub(name)}" for name in approvers.roles]
        yield Span(", ".join(people) or "anyone")
        if approvers.exclude_starter:
            yield Span(", but not who started the run")
        yield Span(f"  {approvals(self.gate)} of {self.gate.quorum} so far")
        shown = f"  revision {self.gate.revision}, hash {self.gate.content_hash.hex()[:HASH_CHARS]}"
        yield Span(shown, Tone.MUTED)

    def _other_decisions(self) -> Iterator[Line]:
        """Yield what to type for decisions that are not made on this screen."""
        gate = self.gate
        others = [decision for decision in gate.decisions if decision not in _TAKEN_HERE]
        if gate.state != GateState.GATE_STATE_OPEN or not others:
            return
        where = f"{gate.run_id} {gate.step_path}"
        words = ", ".join(decision_name(decision) for decision in others)
        yield line(Span(f"{words}: ", Tone.MUTED), safe(f"holdfast gate decide {decision_name(others[0])} {where}"))

    def sections(self, moments: Moments) -> Sequence[Section]:
        """Return what is proposed, what came of it so far, and what a decision has to bring along."""
        return tuple(self._sections(moments))

    def _sections(self, moments: Moments) -> Iterator[Section]:
        gate = self.gate
        if gate.HasField("failure"):
            yield Section("Failure under review", tuple(failure_lines(gate.failure, indent=0)))
        if self._body is not None and (self._body.is_json or self._body.left_out_chars):
            yield self._payload("Body", self._body, with_text=self._body.is_json)
        if self._subject is not None:
            # The arguments of an action are what is allowed; below a long body they would be overlooked.
            yield self._payload("Proposed", self._subject)._replace(is_above=gate.content.HasField("action"))
        if gate.HasField("response_schema"):
            note = line("An approval has to bring data that fits; ", safe(self._approve_command()))
            yield Section("Data that has to come along", (note,), json_shown(gate.response_schema))
        if gate.decided:
            yield Section("Decisions", tuple(self._decided(moments)))

    def _payload(self, title: str, shown: Shown, *, with_text: bool = True) -> Section:
        lines = (left_out_line(shown, self._command),) if shown.left_out_chars else ()
        return Section(title, lines, shown if with_text else None)

    def _approve_command(self) -> str:
        return f"holdfast gate approve {self.gate.run_id} {self.gate.step_path} --payload JSON"

    def _decided(self, moments: Moments) -> Iterator[Line]:
        for said in self.gate.decided:
            name = decision_name(said.decision)
            tone = {"APPROVE": Tone.GOOD, "REJECT": Tone.BAD}.get(name, Tone.BUSY)
            when = moments.ago(seconds_of(said.time))
            parts = [Span(name, tone), Span(f"  {actor_name(said.actor)} at {when}, revision {said.revision}")]
            if said.comment:
                parts.append(safe(f": {said.comment}"))
            yield line(*parts, hang=2)
