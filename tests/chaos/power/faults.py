"""Lets chosen operations on a disk fail, and says what callers have to be told meanwhile."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from tests.chaos.power.vfs import Asked, TracingVfs, disk_error, no_room

__all__ = ["EIO", "EIO_AT_READS", "EIO_AT_SYNCS", "ENOSPC", "Fault", "Faults"]

CHANGES = frozenset({"open", "write", "truncate", "sync", "delete"})


@dataclass(frozen=True, slots=True)
class Fault:
    """A way to fail."""

    name: str
    at: frozenset[str]
    """Operations."""
    error: Callable[[Asked], Exception]


ENOSPC = Fault("ENOSPC", frozenset({"open", "write", "truncate"}), no_room)
EIO = Fault("EIO", CHANGES, disk_error)
EIO_AT_SYNCS = Fault("EIO at syncs", frozenset({"sync"}), disk_error)
EIO_AT_READS = Fault("EIO at reads", frozenset({"read"}), disk_error)


class Faults:
    """Faults of one file system.

    Attributes:
        hit: the operation that failed first since faults were armed; None if none did.
        all_hits: how many of each operation on each file failed in all.
    """

    def __init__(self, vfs: TracingVfs) -> None:
        self._vfs = vfs
        self._fault: Fault | None = None
        self._left = 0
        self._lasting = False
        self.hit: Asked | None = None
        self.all_hits: Counter[str] = Counter()
        vfs.fail = self._decide

    def arm(self, fault: Fault, nth: int, *, lasting: bool, torn: bool = False) -> None:
        """Let the n-th of the operations the fault is for fail, from now on counted from 1.

        Args:
            fault: how.
            nth: which.
            lasting: all after it fail too, until `heal`.
            torn: a write that fails has written half.
        """
        self._fault, self._left, self._lasting, self.hit = fault, nth, lasting, None
        self._vfs.torn = torn

    def heal(self) -> None:
        """Let everything work."""
        self._fault = None

    @property
    def lasts(self) -> bool:
        """Whether operations fail now, and will."""
        return self._fault is not None and self._lasting and self.hit is not None

    def _decide(self, asked: Asked) -> Exception | None:
        fault = self._fault
        if fault is None or asked.what not in fault.at:
            return None
        self._left -= 1
        if self._left > 0 or (self._left < 0 and not self._lasting):
            return None
        self.hit = self.hit or asked
        self.all_hits[f"{asked.what} {asked.name.removeprefix('holdfast.')}"] += 1
        return fault.error(asked)
