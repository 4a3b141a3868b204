"""The help: every key and every state, in words."""

from collections.abc import Iterator
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen

from holdfast.v1.run_pb2 import StepState
from holdfast_tui.keymap import KEYS, READ_ONLY_HIDDEN
from holdfast_tui.store.link import STALE_AFTER_S
from holdfast_tui.store.words import Line, Span, Tone, line, step_mark, step_state_span
from holdfast_tui.widgets.lines import Lines

__all__ = ["HelpDialog"]

KEY_WIDTH = 12
_PLACES = {"overview": "On this screen", "list": "In a list", "app": "Everywhere"}
_LINK = (
    ("CONNECTING", "the first answer, or the first complete lists, are still to come"),
    ("LIVE", "what is shown is what the server knows"),
    ("STALE", f"no word from the server for more than {STALE_AFTER_S:g} s; the age says how long"),
    ("RECONNECTING", "no server answers; tried again with growing waits, at most 2 s. Nothing is lost"),
    ("REFUSED", "the server does not let you see this; the line below says why"),
)


class HelpDialog(ModalScreen[None]):
    """All keys."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,question_mark,q", "dismiss", "Close")]

    def __init__(self, *, is_read_only: bool) -> None:
        super().__init__()
        self._is_read_only = is_read_only

    def compose(self) -> ComposeResult:
        """Build the dialog."""
        with VerticalScroll(id="help"):
            yield Lines(tuple(self._lines()))

    def on_mount(self) -> None:
        """Name the frame."""
        self.query_one("#help").border_title = Content("Help")
        self.query_one("#help").border_subtitle = Content("esc closes")

    def _lines(self) -> Iterator[Line]:
        for place, title in _PLACES.items():
            yield line(Span(title, Tone.STRONG))
            for key in KEYS:
                is_hidden = self._is_read_only and key.action.partition("(")[0] in READ_ONLY_HIDDEN
                if key.place == place and not is_hidden:
                    yield _row(Span(key.display or key.keys, Tone.LABEL), key.help)
            if place == "overview":
                yield _row(Span("tab", Tone.LABEL), "next pane; shift+tab the one before")
            if place == "app":
                yield _row(Span("ctrl+p", Tone.LABEL), "all commands, and themes")
            yield line()
        yield line(Span("States of a step", Tone.STRONG))
        for state in StepState.values()[1:]:
            yield line("  ", step_mark(state), " ", step_state_span(state))
        yield line()
        yield line(Span("The connection", Tone.STRONG))
        for state_word, text in _LINK:
            yield _row(Span(state_word, Tone.LABEL), text, width=14)


def _row(key: Span, text: str, width: int = KEY_WIDTH) -> Line:
    return line("  ", Span(f"{key.text:<{width}}", key.tone), Span(text), hang=width + 2)
