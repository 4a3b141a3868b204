"""Why time was not skipped."""

from collections.abc import Sequence
from datetime import datetime

from holdfast.errors import HoldfastError

__all__ = ["BackwardsError", "NotAtRestError", "SkipError"]


class SkipError(HoldfastError):
    """Time was not skipped, or a server for tests is not used as it has to be."""


class BackwardsError(SkipError):
    """Time goes forward only.

    Attributes:
        now: The server's time.
        to: Where it was to go.
    """

    def __init__(self, now: datetime, to: datetime) -> None:
        super().__init__(f"the time of the server is {now.isoformat()}; it does not go back to {to.isoformat()}")
        self.now = now
        self.to = to


class NotAtRestError(SkipError):
    """Something went on for longer than was waited, so time stands where it came to until then.

    Attributes:
        reasons: What went on, a sentence for each.
        timeout_s: How long was waited, in seconds of this machine's clock.
    """

    def __init__(self, reasons: Sequence[str], timeout_s: float) -> None:
        self.reasons = list(reasons)
        self.timeout_s = timeout_s
        listed = "; ".join(self.reasons[:REASONS_SHOWN])
        more = len(self.reasons) - REASONS_SHOWN
        super().__init__(
            f"after {timeout_s:g} s something still goes on: {listed}"
            f"{f'; and {more} more' if more > 0 else ''}. Time passes without waiting for handlers with "
            "despite_running=True, and for tasks that nobody takes with despite_queued=True"
        )


REASONS_SHOWN = 5
