"""How the connection stands: what the header says, and how old what is shown may be."""

from dataclasses import dataclass
from enum import StrEnum

from holdfast.scrub import scrub
from holdfast_tui.store.times import whole_text

__all__ = ["STALE_AFTER_S", "STREAMS", "Link", "LinkState", "LinkView"]

STREAMS = frozenset({"runs", "gates"})
STALE_AFTER_S = 6.0
"""A server that is asked every two seconds and says nothing for three times that long is not known to be there."""


_TRANSPORT_WORDS = {"Connection refused": "connection refused", "Socket closed": "connection lost"}


class LinkState(StrEnum):
    """Where the connection stands."""

    CONNECTING = "CONNECTING"
    LIVE = "LIVE"
    STALE = "STALE"
    RECONNECTING = "RECONNECTING"
    REFUSED = "REFUSED"


@dataclass(frozen=True, slots=True)
class LinkView:
    """The connection as it is shown.

    Attributes:
        state: Where it stands.
        label: The word of the header, with an age where one matters.
        sentence: What is wrong and what helps; empty while all is well.
    """

    state: LinkState
    label: str
    sentence: str = ""


class Link:
    """Follows the connection. All times are those of a clock that only grows, in seconds."""

    def __init__(self, target: str) -> None:
        self._target = scrub(target)
        self._live: set[str] = set()
        self._heard_s: float | None = None
        self._lost_s: float | None = None
        self._lost_why = ""
        self._refused: dict[str, str] = {}
        self._health = ""

    def heard(self, now_s: float) -> None:
        """Note that the server answered anything."""
        self._heard_s = now_s

    def stream_heard(self, stream: str, now_s: float, *, live: bool) -> None:
        """Note a message of a stream; `live` says that its snapshot is complete."""
        self.heard(now_s)
        self._refused.pop(stream, None)
        if live:
            self._live.add(stream)
        else:
            self._live.discard(stream)  # a new snapshot began
        if self._live == STREAMS:
            self._lost_s = None

    def lost(self, why: str, now_s: float) -> None:
        """Note that no server answers; both streams have to come back."""
        self._live.clear()
        self._lost_why = _short(why)
        if self._lost_s is None:
            self._lost_s = now_s

    def refused(self, stream: str, message: str) -> None:
        """Note that the server refuses a stream, and why."""
        self._live.discard(stream)
        self._refused[stream] = scrub(message)

    def health(self, message: str) -> None:
        """Note what the server says about itself; empty for all is well."""
        self._health = scrub(message)

    @property
    def is_lost(self) -> bool:
        """Whether no server answers, or did until now and the streams are not back yet."""
        return self._lost_s is not None

    def view(self, now_s: float) -> LinkView:
        """Return how it stands."""
        if self._refused:
            why = next(iter(self._refused.values()))
            return LinkView(LinkState.REFUSED, LinkState.REFUSED, f"{self._target} refuses: {why}")
        if self._heard_s is None:
            return LinkView(LinkState.CONNECTING, LinkState.CONNECTING, self._never_heard())
        age = whole_text(now_s - self._heard_s)
        if self._lost_s is not None:
            away = whole_text(now_s - self._lost_s)
            sentence = f"No server answers{self._why()}. What is shown is {age} old; trying again."
            return LinkView(LinkState.RECONNECTING, f"{LinkState.RECONNECTING} {away}", sentence)
        if self._live != STREAMS:
            return LinkView(LinkState.CONNECTING, LinkState.CONNECTING)
        if now_s - self._heard_s > STALE_AFTER_S:
            sentence = f"No word from {self._target} for {age}; what is shown may be old."
            return LinkView(LinkState.STALE, f"{LinkState.STALE} {age}", sentence)
        return LinkView(LinkState.LIVE, LinkState.LIVE, self._health)

    def _never_heard(self) -> str:
        if self._lost_s is None:
            return ""
        return f"No server answers at {self._target}{self._why()}; trying again."

    def _why(self) -> str:
        return f" ({self._lost_why})" if self._lost_why else ""


def _short(why: str) -> str:
    """Return what the transport says without the addresses it tried: only its end tells something."""
    text = scrub(why)
    for sign, words in _TRANSPORT_WORDS.items():
        if sign in text:
            return words
    return text.rpartition(": ")[2][:80]
