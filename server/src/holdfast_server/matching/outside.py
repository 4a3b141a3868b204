"""What waits outside: attempts of runs that are not in memory, fetched before workers run out of others."""

from collections.abc import Iterator

__all__ = ["Outside"]

LOW = 200
"""With fewer attempts of a handler in memory than this, more are fetched."""
NEVER_US = 2**62


class _Count:
    """The attempts for one handler."""

    __slots__ = ("asked", "count", "newest_asked_us", "oldest_us")

    def __init__(self) -> None:
        self.count = 0
        self.oldest_us = NEVER_US
        self.asked = False
        self.newest_asked_us = NEVER_US
        """When the oldest of those was queued that went outside while others were fetched."""


class Outside:
    """The attempts of one queue that are not in memory."""

    __slots__ = ("_handlers",)

    def __init__(self) -> None:
        self._handlers: dict[str, _Count] = {}

    def __bool__(self) -> bool:
        return bool(self._handlers)

    @property
    def waiting(self) -> int:
        """How many there are."""
        return sum(one.count for one in self._handlers.values())

    def handlers(self) -> Iterator[str]:
        """For which handlers there are some."""
        yield from self._handlers

    def oldest_us(self) -> int | None:
        """When the one that has waited longest was queued; None if there is none."""
        return min((one.oldest_us for one in self._handlers.values()), default=None)

    def add(self, handler: str, count: int, oldest_us: int) -> None:
        """Some more wait outside."""
        one = self._handlers.get(handler)
        if one is None:
            one = self._handlers[handler] = _Count()
        one.count += count
        one.oldest_us = min(one.oldest_us, oldest_us)
        if one.asked:
            one.newest_asked_us = min(one.newest_asked_us, oldest_us)

    def came_back(self, handler: str) -> None:
        """One is in memory again."""
        one = self._handlers.get(handler)
        if one is not None:
            one.count -= 1
            if one.count <= 0 and not one.asked:
                del self._handlers[handler]

    def wanted(self, handler: str, waiting: int, oldest_us: int | None) -> bool:
        """Whether some are to be fetched now; they count as asked for then.

        Args:
            handler: the handler workers have time for.
            waiting: attempts for it in memory.
            oldest_us: when the one of these that has waited longest was queued.
        """
        one = self._handlers.get(handler)
        if one is None or one.asked:
            return False
        one.asked = waiting < LOW or oldest_us is None or one.oldest_us < oldest_us
        return one.asked

    def fetched(self, handler: str, next_us: int | None) -> None:
        """What was asked for is there; `next_us` is when the next one was queued, None if there is none."""
        one = self._handlers[handler]
        one.asked = False
        one.oldest_us = min(NEVER_US if next_us is None else next_us, one.newest_asked_us)
        one.newest_asked_us = NEVER_US
        if one.count <= 0 or one.oldest_us == NEVER_US:
            del self._handlers[handler]
