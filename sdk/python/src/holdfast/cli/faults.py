"""What can be wrong before anything is sent: the command line itself, a file, a JSON text."""

__all__ = ["Refusal", "UsageFault"]


class UsageFault(Exception):
    """The command line, or something it names, is not right.

    Attributes:
        message: One sentence for people.
        details: Further lines that show where.
        hint: What to type next; empty if the message says it.
    """

    def __init__(self, message: str, *details: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.details = details
        self.hint = hint


class Refusal(Exception):
    """The command itself declines, for example because what was shown is no longer what is there.

    Attributes:
        message: One sentence for people.
        hint: What to type next.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
