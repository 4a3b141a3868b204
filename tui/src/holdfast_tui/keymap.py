"""All keys: the one table behind the bindings, the footer and the help."""

from typing import NamedTuple

from textual.binding import Binding, BindingType

__all__ = ["IN_FOOTER", "KEYS", "READ_ONLY_HIDDEN", "Key", "bindings"]


class Key(NamedTuple):
    """A key and what it does.

    Attributes:
        id: Name of the binding, for key maps.
        keys: What is pressed; several are separated by commas.
        action: What is called.
        label: One word for the footer.
        help: What the help says.
        place: Where it works: `app`, `overview`, `list` or `dialog`.
        display: How the key is written; empty for its own name.
    """

    id: str
    keys: str
    action: str
    label: str
    help: str
    place: str
    display: str = ""


IN_FOOTER = frozenset({"approve", "reject", "filter", "freeze", "zoom", "help", "quit"})
"""What the footer shows, as far as there is room."""

KEYS = (
    Key("approve", "a", "decide('APPROVE')", "Approve", "approve the gate that is shown", "overview"),
    Key("reject", "r", "decide('REJECT')", "Reject", "reject the gate that is shown; needs a reason", "overview"),
    Key("filter", "slash", "filter", "Filter", "show only rows with these words", "overview", "/"),
    Key("freeze", "full_stop", "freeze", "Freeze", "hold the view still, and let it go on again", "overview", "."),
    Key("zoom", "z", "zoom", "Zoom", "give the details the whole screen, and back", "overview"),
    Key("source", "m", "source", "Source", "the body as it is written, not rendered, and back", "overview"),
    Key("back", "escape", "back", "Back", "leave the zoom, then clear the filter", "overview", "esc"),
    Key("inbox", "1", "go('inbox')", "Inbox", "go to the inbox", "overview"),
    Key("runs", "2", "go('runs')", "Runs", "go to the runs", "overview"),
    Key("details", "3", "go('details')", "Details", "go to the details", "overview"),
    Key("help", "question_mark", "help", "Help", "these keys", "app", "?"),
    Key("quit", "q", "quit", "Quit", "leave; runs go on without you", "app"),
    Key("up", "up,k", "move(-1)", "Up", "row before", "list", "↑ k"),
    Key("down", "down,j", "move(1)", "Down", "next row", "list", "↓ j"),
    Key("page_up", "pageup", "page(-1)", "Page up", "a page up", "list", "pgup"),
    Key("page_down", "pagedown", "page(1)", "Page down", "a page down", "list", "pgdn"),
    Key("first", "home,g", "first", "First", "first row", "list", "home g"),
    Key("last", "end,G", "last", "Last", "last row", "list", "end G"),
    Key("open", "enter", "open", "Open", "read the selected row on the whole screen", "list", "enter"),
)

READ_ONLY_HIDDEN = frozenset({"decide"})
"""Actions that are not there with `--read-only`."""


def bindings(place: str) -> list[BindingType]:
    """Return the bindings of a place."""
    return [
        Binding(
            key.keys,
            key.action,
            key.label,
            show=key.id in IN_FOOTER,
            key_display=key.display or None,
            tooltip=key.help,
            id=key.id,
        )
        for key in KEYS
        if key.place == place
    ]
