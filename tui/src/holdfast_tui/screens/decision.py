"""The dialog of a decision: on what, a comment, and what became of it. It closes only when the server has answered."""

from typing import ClassVar
from uuid import uuid4

from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalGroup
from textual.content import Content
from textual.message import Message
from textual.screen import ModalScreen
from textual.widgets import Input, Static, TextArea

from holdfast.v1.definition_pb2 import Decision
from holdfast.v1.gate_pb2 import Gate, GateState
from holdfast_tui.client.deciding import Ending, Outcome
from holdfast_tui.messages import DecisionEnded, DecisionMade, Tick
from holdfast_tui.store.gate_page import GatePage
from holdfast_tui.store.pages import fact
from holdfast_tui.store.rows import gate_key, is_high_risk
from holdfast_tui.store.store import Store
from holdfast_tui.store.times import Clock, Moments, seconds_of
from holdfast_tui.store.words import Line, Span, Tone, decision_name, gate_outcome, line, resolved_by, risk_span, safe
from holdfast_tui.widgets.lines import Lines
from holdfast_tui.widgets.tones import content_of

__all__ = ["DecisionDialog"]

COMMENT_MAX_BYTES = 16 * 1024
_FINAL = frozenset({Ending.LATE, Ending.CHANGED, Ending.REFUSED})


class _Comment(TextArea):
    """A comment; Enter in an empty one is the decision itself."""

    class Entered(Message):
        """Enter was pressed while nothing was typed."""

    async def _on_key(self, event: events.Key) -> None:
        if event.key == "enter" and not self.text:
            event.prevent_default().stop()
            self.post_message(self.Entered())
            return
        await super()._on_key(event)


class DecisionDialog(ModalScreen[None]):
    """Asks for one decision on one gate exactly as it was shown."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+s", "send", "Send", priority=True),
        Binding("escape", "leave", "Back"),
    ]

    def __init__(self, page: GatePage, decision: Decision.ValueType, actor: str, store: Store, clock: Clock) -> None:
        """Build it.

        Args:
            page: The gate as it is shown.
            decision: APPROVE or REJECT.
            actor: Who decides.
            store: Tells when somebody else was faster.
            clock: Tells the time.
        """
        super().__init__()
        self._page = page
        self._gate = page.gate
        self._decision = decision
        self._actor = actor
        self._store = store
        self._clock = clock
        self._sent: DecisionMade | None = None
        self._is_sending = False
        self._is_over = False
        self._has_comment = False

    @property
    def _needs_run_id(self) -> bool:
        return self._decision == Decision.DECISION_APPROVE and is_high_risk(self._gate)

    @property
    def _needs_reason(self) -> bool:
        return self._decision == Decision.DECISION_REJECT

    def compose(self) -> ComposeResult:
        """Build the dialog."""
        with VerticalGroup(id="dialog", classes="-high" if self._needs_run_id else ""):
            yield Lines(self._facts(), id="facts")
            if self._needs_run_id:
                words = "The action is of HIGH risk: it cannot be undone. Type the run id to approve it."
                yield Static(content_of([Span(words, Tone.BAD)]), classes="ask")
                yield Input(placeholder="run id", id="run-id")
            label = "Reason (needed)" if self._needs_reason else "Comment (not needed; ctrl+s sends it)"
            yield Static(content_of([Span(label, Tone.MUTED)]), classes="ask")
            yield _Comment(id="comment", soft_wrap=True, tab_behavior="focus", highlight_cursor_line=False)
            yield Static(id="answer", markup=False)
            yield Static(self._hint(), id="hint")

    def on_mount(self) -> None:
        """Take the focus where something has to be typed."""
        self.query_one("#dialog").border_title = Content(f"{decision_name(self._decision).capitalize()} this gate?")
        self.query_one("#answer").display = False
        (self.query_one("#run-id") if self._needs_run_id else self.query_one(_Comment)).focus()

    def _facts(self) -> list[Line]:
        gate = self._gate
        lines = [line(safe(gate.content.title or gate.step_path, Tone.STRONG))]
        lines.append(fact("step", safe(gate.step_path), Span("  of run ", Tone.MUTED), safe(gate.run_id)))
        if gate.content.HasField("action"):
            action = gate.content.action
            lines.append(fact("action", safe(action.name or "unnamed"), "  risk ", risk_span(action.risk)))
        lines.append(fact("shown", f"revision {gate.revision}, hash {gate.content_hash.hex()[:12]}"))
        lines.append(fact("you are", safe(self._actor or "nobody")))
        if self._page.is_cut:
            lines.append(line(Span("Not all of it is on the screen; the details say how to see the rest.", Tone.WARN)))
        return lines

    def _hint(self) -> Content:
        word = decision_name(self._decision).lower()
        keys = [("esc", "back")]
        if self._needs_reason:
            keys.insert(0, ("ctrl+s", f"{word} with this reason"))
        elif self._has_comment:
            keys.insert(0, ("ctrl+s", f"{word} with this comment"))
        else:
            keys.insert(0, ("enter", word))
        return content_of(
            part for key, what in keys for part in (Span(key, Tone.STRONG), Span(f" {what}   ", Tone.MUTED))
        )

    @on(TextArea.Changed, "#comment")
    def _comment_changed(self, event: TextArea.Changed) -> None:
        self._has_comment = bool(event.text_area.text)
        if not self._is_over:
            self.query_one("#hint", Static).update(self._hint())

    # Sending

    @on(_Comment.Entered)
    def _comment_entered(self) -> None:
        self.action_send()

    @on(Input.Submitted, "#run-id")
    def _run_id_entered(self) -> None:
        self.action_send()

    def action_send(self) -> None:
        """Send the decision, if everything it needs is there."""
        if self._is_sending or self._is_over:
            return
        comment = self.query_one(_Comment).text.strip()
        fault = self._fault(comment)
        if fault:
            self._answer(fault, Tone.WARN)
            return
        # The same decision sent again counts once; one with another comment is another decision.
        is_again = self._sent is not None and self._sent.comment == comment
        request_id = self._sent.request_id if self._sent is not None and is_again else uuid4().hex
        self._sent = DecisionMade(self._gate, self._decision, comment, request_id)
        self._is_sending = True
        self._answer("Sent; waiting for the server's answer …", Tone.BUSY)
        self.post_message(DecisionMade(self._gate, self._decision, comment, request_id))

    def _fault(self, comment: str) -> str:
        if self._needs_run_id and self.query_one("#run-id", Input).value.strip() != self._gate.run_id:
            self.query_one("#run-id").focus()
            return "That is not the run id; nothing was sent."
        if self._needs_reason and not comment:
            self.query_one(_Comment).focus()
            return "A rejection needs a reason; nothing was sent."
        size_bytes = len(comment.encode())
        if size_bytes > COMMENT_MAX_BYTES:
            return f"The comment has {size_bytes:,} bytes, at most {COMMENT_MAX_BYTES:,} are taken; nothing was sent."
        return ""

    async def on_decision_ended(self, event: DecisionEnded) -> None:
        """Close, or tell what the server said."""
        event.stop()
        self._is_sending = False
        outcome = event.outcome
        if outcome.ending is Ending.RECORDED:
            await self.action_dismiss()
            return
        self._end(outcome)

    def _end(self, outcome: Outcome) -> None:
        self._answer(f"{outcome.sentence}\n{outcome.next}".rstrip(), Tone.BAD)
        if outcome.ending in _FINAL:
            self._close_for_good()

    def _close_for_good(self) -> None:
        self._is_over = True
        for field in self.query("Input, TextArea"):
            field.disabled = True
        self.query_one("#hint", Static).update(
            content_of([Span("esc", Tone.STRONG), Span(" back to the gate", Tone.MUTED)])
        )

    def _answer(self, text: str, tone: Tone) -> None:
        answer = self.query_one("#answer", Static)
        answer.update(content_of([Span(text, tone)]))
        answer.display = True

    def on_tick(self, event: Tick) -> None:
        """Notice when somebody else was faster."""
        event.stop()
        if self._is_sending or self._is_over:
            return
        now = self._store.gates.get(gate_key(self._gate))
        if now is None or (now.state == GateState.GATE_STATE_OPEN and now.content_hash == self._gate.content_hash):
            return
        self._end(self._overtaken(now))

    def _overtaken(self, now: Gate) -> Outcome:
        if now.state == GateState.GATE_STATE_OPEN:
            sentence = f"The gate shows revision {now.revision} by now."
            return Outcome(Ending.CHANGED, sentence, "Go back, read it again, and decide on that.")
        if now.state == GateState.GATE_STATE_RESOLVED:
            when = Moments(self._clock.now_s()).ago(seconds_of(now.resolve_time))
            sentence = f"Already {gate_outcome(now).text} by {resolved_by(now)} at {when}."
            return Outcome(Ending.LATE, sentence, "Nothing was changed by you.")
        return Outcome(Ending.LATE, "The gate was closed: its step was cancelled.", "Nothing was changed by you.")

    async def action_leave(self) -> None:
        """Go back without a decision; one that was sent is told about when it is answered."""
        await self.action_dismiss()
