"""Who waits for the end of which run: kept beside the runs, because those leave the memory meanwhile."""

from collections.abc import Callable

from holdfast.v1.run_pb2 import RunOutcome
from holdfast_server.engine.refusal import limit_exceeded

__all__ = ["Closer", "Closers"]

Closer = Callable[[RunOutcome | None], None]
"""Told how a run ended; None if it turned out that there is no such run."""


class Closers:
    """Those who wait, by namespace and run id.

    Args:
        limit: how many may wait.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._waiting: dict[tuple[str, str], dict[Closer, None]] = {}
        self._count = 0

    def add(self, namespace: str, run_id: str, closer: Closer) -> None:
        """Someone waits for a run.

        Raises:
            Refused: LIMIT_EXCEEDED.
        """
        if self._count >= self._limit:
            raise limit_exceeded("the server", "waits", self._limit, self._count + 1)
        self._waiting.setdefault((namespace, run_id), {})[closer] = None
        self._count += 1

    def wanted(self, namespace: str, run_id: str) -> bool:
        """Whether someone waits for a run."""
        return (namespace, run_id) in self._waiting

    def drop(self, namespace: str, run_id: str, closer: Closer) -> bool:
        """Someone waits no longer; answers whether nobody had told him yet."""
        waiting = self._waiting.get((namespace, run_id), {})
        if closer not in waiting:
            return False
        del waiting[closer]
        self._count -= 1
        if not waiting:
            del self._waiting[namespace, run_id]
        return True

    def take(self, namespace: str, run_id: str) -> list[Closer]:
        """Everybody who waits for a run; they are to be told now."""
        waiting = self._waiting.pop((namespace, run_id), {})
        self._count -= len(waiting)
        return list(waiting)
