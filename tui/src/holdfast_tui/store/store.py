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

    @property
    def version(self) -> tuple[int, int]:
        """Changes with every change of a list."""
        return self.gates.version, self.runs.version
