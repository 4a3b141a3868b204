"""What is wrong with a definition: every fault with its path, collected and reported at once."""

import difflib
from collections.abc import Iterable
from typing import NamedTuple

from holdfast_server.engine.names import Ref, ref_text

__all__ = ["DefinitionFaultsError", "Fault", "Faults", "did_you_mean"]

NAMES_SHOWN_MAX = 8
COMPARED_MAX = 64
"""Most names that an unknown one is compared with letter by letter."""
FAULTS_MAX = 1_000
"""Most faults that are collected."""


class Fault(NamedTuple):
    """One fault of a definition."""

    path: str
    """Where in the document, such as `steps[2].after[0].step`; empty for all of it."""
    message: str
    """What is wrong and what would be right."""
    parts: Ref
    """The path in its parts."""


class DefinitionFaultsError(Exception):
    """A definition that cannot become a plan.

    Attributes:
        faults: all of them, at least one.
    """

    def __init__(self, faults: tuple[Fault, ...]) -> None:
        super().__init__("; ".join(f"{fault.path}: {fault.message}" for fault in faults))
        self.faults = faults


class Faults:
    """Collects faults."""

    def __init__(self) -> None:
        self._found: dict[Fault, None] = {}

    def add(self, parts: Ref, message: str) -> None:
        """Note a fault; the same one is noted once.

        Raises:
            DefinitionFaultsError: there are so many that it makes no sense to look for more.
        """
        self._found[Fault(ref_text(parts), message, parts)] = None
        if len(self._found) >= FAULTS_MAX:
            self.raise_any()

    @property
    def found(self) -> tuple[Fault, ...]:
        """What was noted, in order."""
        return tuple(self._found)

    def raise_any(self) -> None:
        """Raise what was noted.

        Raises:
            DefinitionFaultsError: if anything was.
        """
        if self._found:
            raise DefinitionFaultsError(self.found)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The end of a message about an unknown name: the nearest known one, or what is known."""
    names = list(dict.fromkeys(known))
    close = difflib.get_close_matches(name, names, 1) if len(names) <= COMPARED_MAX else []
    if not close:
        close = [other for other in names if other.lower() == name.lower()][:1]
    if close:
        return f"; did you mean '{close[0]}'?"
    if not names:
        return ""
    more = ", …" if len(names) > NAMES_SHOWN_MAX else ""
    return f"; known: {', '.join(names[:NAMES_SHOWN_MAX])}{more}"
