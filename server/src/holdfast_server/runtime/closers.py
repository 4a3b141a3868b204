"""Who waits for the end of which run: kept beside the runs, because those leave the memory meanwhile."""

from collections.abc import Callable

from holdfast.v1.run_pb2 import RunOutcome

__all__ = ["Closer", "Closers"]

Closer = Callable[[RunOutcome | None], None]
"""Told how a run ended; None if it turned out that there is no such run."""


class Closers:
    """Those who wait, by namespace and run id."""

    def __init__(self) -> None:
        self._waiting: dict[tuple[str, str], list[Closer]] = {}

    def add(self, namespace: str, run_id: str, closer: Closer) -> None:
        """Someone waits for a run."""
        self._waiting.setdefault((namespace, run_id), []).append(closer)

    def drop(self, namespace: str, run_id: str, closer: Closer) -> bool:
        """Someone waits no longer; answers whether nobody had told him yet."""
        waiting = self._waiting.get((namespace, run_id), [])
        if closer not in waiting:
            return False
        waiting.remove(closer)
        if not waiting:
            del self._waiting[namespace, run_id]
        return True

    def take(self, namespace: str, run_id: str) -> list[Closer]:
        """Everybody who waits for a run; they are to be told now."""
        return self._waiting.pop((namespace, run_id), [])
