"""The top line: which server, which namespace, who decides, and how the connection stands; below it what is wrong."""

from collections.abc import Sequence

from textual.app import ComposeResult
from textual.containers import VerticalGroup
from textual.widgets import Static

from holdfast_tui.store.link import LinkState, LinkView
from holdfast_tui.store.words import Span, Tone, safe
from holdfast_tui.widgets.tones import content_of

__all__ = ["StatusBar"]

_TONES = {
    LinkState.CONNECTING: Tone.WARN,
    LinkState.LIVE: Tone.GOOD,
    LinkState.STALE: Tone.WARN,
    LinkState.RECONNECTING: Tone.BAD,
    LinkState.REFUSED: Tone.BAD,
}
_MARKS = {LinkState.LIVE: "●", LinkState.STALE: "◐"}


class StatusBar(VerticalGroup):
    """The top of the screen."""

    def __init__(self, target: str, namespace: str, actor: str, *, is_read_only: bool) -> None:
        super().__init__(id="status")
        self._target = target
        self._namespace = namespace
        self._actor = actor
        self._is_read_only = is_read_only
        self._drawn: object = None

    def compose(self) -> ComposeResult:
        """Build the line."""
        place: Sequence[Span] = (
            Span(" Holdfast ", Tone.STRONG),
            safe(f" {self._target}"),
            Span("  namespace ", Tone.MUTED),
            safe(self._namespace),
            Span("  as ", Tone.MUTED),
            safe(self._actor or "nobody"),
        )
        yield Static(content_of(place), id="place")
        yield Static(id="link")
        yield Static(id="banner", markup=False)

    def put(self, view: LinkView, *, is_frozen: bool) -> None:
        """Show how the connection stands."""
        if self._drawn == (view, is_frozen):
            return
        self._drawn = view, is_frozen
        spans = []
        if self._is_read_only:
            spans.append(Span("READ-ONLY  ", Tone.WARN))
        if is_frozen:
            spans.append(Span("FROZEN  ", Tone.WARN))
        spans.append(Span(f"{_MARKS.get(view.state, '○')} {view.label} ", _TONES[view.state]))
        self.query_one("#link", Static).update(content_of(spans))
        banner = self.query_one("#banner", Static)
        banner.update(content_of([Span(view.sentence)]))
        banner.display = bool(view.sentence)
