"""The test kit: handlers without a server, and servers and workers as processes of their own."""

from holdfast.testing.handlers import RunningHandler, TaskFields, run_handler, running_handler
from holdfast.testing.processes import ProcessError, ServerProcess, WorkerProcess

__all__ = [
    "ProcessError",
    "RunningHandler",
    "ServerProcess",
    "TaskFields",
    "WorkerProcess",
    "run_handler",
    "running_handler",
]
