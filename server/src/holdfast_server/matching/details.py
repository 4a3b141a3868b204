"""The last details handlers gave with their heartbeats, for the next attempt. Kept in memory only, within a limit."""

from collections import OrderedDict

from holdfast.v1.payload_pb2 import Payload

__all__ = ["HeartbeatDetails"]


class HeartbeatDetails:
    """Details by activation. Over the limit the runs whose handlers have been silent longest lose theirs."""

    __slots__ = ("_limit_bytes", "_runs", "size_bytes")

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._runs: OrderedDict[int, dict[str, tuple[Payload, int]]] = OrderedDict()
        self.size_bytes = 0

    def put(self, run_key: int, path: str, details: Payload) -> None:
        """Keeps details instead of earlier ones."""
        kept = Payload()
        kept.CopyFrom(details)  # a part of a request would keep all of it in memory
        size_bytes = kept.ByteSize()
        self.drop(run_key, path)
        self._runs.setdefault(run_key, {})[path] = (kept, size_bytes)
        self._runs.move_to_end(run_key)
        self.size_bytes += size_bytes
        while self.size_bytes > self._limit_bytes:
            oldest_run, paths = next(iter(self._runs.items()))
            self.drop(oldest_run, next(iter(paths)))

    def get(self, run_key: int, path: str) -> Payload | None:
        """The last details; None if there are none."""
        found = self._runs.get(run_key, {}).get(path)
        return None if found is None else found[0]

    def drop(self, run_key: int, path: str) -> None:
        """Forgets the details of an activation."""
        paths = self._runs.get(run_key)
        found = paths.pop(path, None) if paths is not None else None
        if found is not None:
            self.size_bytes -= found[1]
        if paths is not None and not paths:
            del self._runs[run_key]

    def drop_run(self, run_key: int) -> None:
        """Forgets the details of a run."""
        for _, size_bytes in self._runs.pop(run_key, {}).values():
            self.size_bytes -= size_bytes
