"""What the app, the screens and the dialogs tell each other."""

from dataclasses import dataclass

from textual.message import Message

from holdfast.v1.definition_pb2 import Decision
from holdfast.v1.gate_pb2 import Gate
from holdfast_tui.client.deciding import Outcome

__all__ = ["DecisionEnded", "DecisionMade", "Tick"]


class Tick(Message):
    """Something may look different now; draws of which several wait are made once."""

    def can_replace(self, message: Message) -> bool:
        """Return whether a message that waits says the same."""
        return isinstance(message, Tick)


@dataclass
class DecisionMade(Message):
    """A person decided; it is sent now.

    Attributes:
        gate: The gate exactly as it was shown.
        decision: The decision.
        comment: Why; empty for none.
        request_id: The same for every try of the same decision.
    """

    gate: Gate
    decision: Decision.ValueType
    comment: str
    request_id: str


@dataclass
class DecisionEnded(Message):
    """The server answered, or did not in time.

    Attributes:
        outcome: How it ended.
    """

    outcome: Outcome
