"""Everything the screens know: the two lists and how the connection stands."""

from holdfast_tui.store.books import GateBook, RunBook
from holdfast_tui.store.link import Link

__all__ = ["Store"]


class Store:
    """What the server told so far. It belongs to one event loop.

    Attributes:
        gates: The open gates, and how the latest others ended.
        runs: The runs.
        link: How the connection stands.
    """

    def __init__(self, target: str) -> None:
        self.gates = GateBook()
        self.runs = RunBook()
        self.link = Link(target)

    def take_changes(self) -> bool:
        """Return whether a list changed since this was last asked."""
        changed = self.gates.changed or self.runs.changed
        self.gates.changed = self.runs.changed = False
        return changed
