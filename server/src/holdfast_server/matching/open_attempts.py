"""All attempts that wait or are leased, by run and path."""

from collections.abc import Iterator

from holdfast_server.matching.leases import QueuedTask

__all__ = ["OpenAttempts"]


class OpenAttempts:
    """An index. Most runs have one open attempt, so a dict of paths is made only for those that have more."""

    __slots__ = ("_runs",)

    def __init__(self) -> None:
        self._runs: dict[int, QueuedTask | dict[str, QueuedTask]] = {}

    def __iter__(self) -> Iterator[QueuedTask]:
        for found in self._runs.values():
            if isinstance(found, dict):
                yield from found.values()
            else:
                yield found

    def get(self, run_key: int, path: str) -> QueuedTask | None:
        """The open attempt of an activation."""
        found = self._runs.get(run_key)
        if isinstance(found, dict):
            return found.get(path)
        return found if found is not None and found.path == path else None

    def put(self, task: QueuedTask) -> None:
        """Adds an attempt; there is none of that activation."""
        found = self._runs.setdefault(task.run_key, task)
        if isinstance(found, dict):
            found[task.path] = task
        elif found is not task:
            self._runs[task.run_key] = {found.path: found, task.path: task}

    def remove(self, task: QueuedTask) -> None:
        """Removes an attempt that is there."""
        found = self._runs[task.run_key]
        if isinstance(found, dict):
            del found[task.path]
            if found:
                return
        del self._runs[task.run_key]

    def of_run(self, run_key: int) -> list[QueuedTask]:
        """The open attempts of a run."""
        found = self._runs.get(run_key)
        if isinstance(found, dict):
            return list(found.values())
        return [] if found is None else [found]
