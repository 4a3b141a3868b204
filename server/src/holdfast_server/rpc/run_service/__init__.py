"""RunService: one servicer, its methods in files by what they are about."""

from holdfast_server.rpc.run_service.changing import ChangingMethods
from holdfast_server.rpc.run_service.reading import ReadingMethods
from holdfast_server.rpc.run_service.starting import StartingMethods
from holdfast_server.rpc.run_service.watching import WatchingMethods

__all__ = ["RunService"]


class RunService(StartingMethods, ReadingMethods, WatchingMethods, ChangingMethods):
    """Everything about runs."""
