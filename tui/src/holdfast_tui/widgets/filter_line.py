"""The line a filter is typed into, with the filters typed before."""

from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.message import Message
from textual.widgets import Input

__all__ = ["FilterLine"]


class FilterLine(Input):
    """A filter while it is typed: each key narrows the lists."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "recall(-1)", "Filter before", show=False),
        Binding("down", "recall(1)", "Filter after", show=False),
        Binding("escape", "leave", "Clear", show=False),
    ]

    class Left(Message):
        """The line is left; `is_kept` says whether the filter stays."""

        def __init__(self, *, is_kept: bool) -> None:
            super().__init__()
            self.is_kept = is_kept

    def __init__(self, *, id: str) -> None:
        super().__init__(placeholder="words to look for    enter keeps them, esc clears, ↑ the ones before", id=id)
        self._past: list[str] = []
        self._place = 0

    def begin(self) -> None:
        """Be there for typing."""
        self._place = len(self._past)
        self.display = True
        self.focus()

    def action_recall(self, steps: int) -> None:
        """Take a filter that was typed before."""
        self._place = min(max(self._place + steps, 0), len(self._past))
        self.value = self._past[self._place] if self._place < len(self._past) else ""
        self.cursor_position = len(self.value)

    def action_leave(self) -> None:
        """Clear the filter."""
        self.value = ""
        self.post_message(self.Left(is_kept=False))

    def on_input_submitted(self) -> None:
        """Keep the filter, and remember it."""
        if self.value.strip() and self.value not in self._past[-1:]:
            self._past.append(self.value)
        self.post_message(self.Left(is_kept=True))
