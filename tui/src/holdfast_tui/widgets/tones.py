"""Spans of the store as content of the terminal library: a tone becomes a colour of the theme, nothing is markup."""

from collections.abc import Iterable

from textual.content import Content
from textual.widget import Widget

from holdfast_tui.store.words import Span, Tone

__all__ = ["TONE_STYLES", "content_of", "put_title"]

TONE_STYLES: dict[Tone, str] = {
    Tone.PLAIN: "",
    Tone.MUTED: "$foreground-muted",
    Tone.STRONG: "bold",
    Tone.GOOD: "$text-success",
    Tone.BAD: "bold $text-error",
    Tone.WARN: "$text-warning",
    Tone.BUSY: "$text-accent",
    Tone.LABEL: "$text-secondary",
}


def content_of(spans: Iterable[Span]) -> Content:
    """Return spans as content."""
    return Content.assemble(*((span.text, TONE_STYLES[span.tone]) for span in spans))


def put_title(widget: Widget, text: str) -> None:
    """Write into the frame of a widget; where it has no corners, the library leaves no room beside the words."""
    has_corners = widget.styles.border_left[0] not in {"", "none"}
    widget.border_title = Content(text if has_corners else f" {text} ")
