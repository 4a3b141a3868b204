"""How often attempts went back to their queues because their workers turned out not to have them."""

__all__ = ["Returns"]


class Returns:
    """Counts returns of open attempts. Few attempts are ever returned, so few are here."""

    __slots__ = ("_limit", "_runs")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._runs: dict[int, dict[str, tuple[int, int]]] = {}

    def allow(self, run_key: int, path: str, attempt: int) -> bool:
        """Counts a return; False if it is one too many."""
        paths = self._runs.setdefault(run_key, {})
        counted, times = paths.get(path, (attempt, 0))
        times = times + 1 if counted == attempt else 1
        paths[path] = (attempt, times)
        return times <= self._limit

    def forget(self, run_key: int, path: str) -> None:
        """The attempt of an activation is over."""
        if self._runs:
            paths = self._runs.get(run_key)
            if paths is not None:
                paths.pop(path, None)
                if not paths:
                    del self._runs[run_key]

    def forget_run(self, run_key: int) -> None:
        """The attempts of a run are over."""
        self._runs.pop(run_key, None)
