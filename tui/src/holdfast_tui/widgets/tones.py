"""Lines of the store as content of the terminal library: a tone becomes a colour of the theme, nothing is markup."""

from collections.abc import Iterable

from textual.content import Content

from holdfast_tui.store.words import Line, Span, Tone

__all__ = ["TONE_STYLES", "content_of", "joined"]

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


def joined(lines: Iterable[Line]) -> Content:
    """Return lines below each other."""
    return Content("\n").join(content_of(line.spans) for line in lines)
