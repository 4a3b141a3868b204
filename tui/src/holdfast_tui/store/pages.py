"""What the pane of details shows of a selection: a head that ticks with the clock, a body, and sections."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from holdfast_tui.store.texts import Shown
from holdfast_tui.store.times import Moments
from holdfast_tui.store.words import Line, Span, Tone, line

__all__ = ["NotePage", "Page", "Section", "fact", "heading"]

LABEL_WIDTH = 11


class Section(NamedTuple):
    """A part of a page: lines, or a text with its line breaks.

    Attributes:
        title: Its heading.
        lines: Its lines.
        text: A payload; shown below the lines.
        is_above: Whether it is above the body.
    """

    title: str
    lines: tuple[Line, ...] = ()
    text: Shown | None = None
    is_above: bool = False


class Page(Protocol):
    """Something that is selected, with everything the screen says about it."""

    @property
    def key(self) -> Hashable:
        """What is selected; a page of another key is read from its beginning."""

    @property
    def title(self) -> str:
        """What the frame of the pane says."""

    @property
    def body(self) -> str:
        """Markdown; empty for none."""

    def head(self, moments: Moments) -> Sequence[Line]:
        """Return the lines above the body."""

    def sections(self, moments: Moments) -> Sequence[Section]:
        """Return what is above and below the body."""


@dataclass(frozen=True)
class NotePage:
    """A page that only says why there is nothing to see.

    Attributes:
        key: What is selected.
        title: What the frame of the pane says.
        lines: The sentences.
    """

    key: Hashable
    title: str
    lines: tuple[Line, ...]
    body: str = ""

    def head(self, moments: Moments) -> Sequence[Line]:  # noqa: ARG002 - the same at any time
        """Return the sentences."""
        return self.lines

    def sections(self, moments: Moments) -> Sequence[Section]:  # noqa: ARG002 - the same at any time
        """Return nothing."""
        return ()


def fact(label: str, *parts: Span | str) -> Line:
    """Return a label and its value; a long value goes on below where it began."""
    return line(Span(f"{label:<{LABEL_WIDTH}}", Tone.MUTED), *parts, hang=LABEL_WIDTH)


def heading(text: Span, *parts: Span | str) -> Line:
    """Return the first line of a page."""
    return line(Span(text.text, Tone.STRONG), *parts)
