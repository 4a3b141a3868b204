"""The worker: runs handlers for the steps of a server's runs."""

from holdfast.context import CancelReason, TaskContext
from holdfast.worker.worker import Worker

__all__ = ["CancelReason", "TaskContext", "Worker"]
