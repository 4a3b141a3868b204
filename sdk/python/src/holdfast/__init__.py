"""Holdfast: the Python client, worker and workflow builder.

Names load what they need at first use, so that `import holdfast` and the messages in `holdfast.v1` load no transport.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from holdfast.builder import Workflow
    from holdfast.client import Client, RunHandle, run_filter
    from holdfast.converter import Codec, Converter
    from holdfast.errors import HoldfastError, RunFailedError, RunNotSucceededError, ServerError
    from holdfast.failures import Failure, NonRetryable
    from holdfast.handlers import Handler, handler
    from holdfast.worker import TaskContext, Worker

__all__ = [
    "Client",
    "Codec",
    "Converter",
    "Failure",
    "Handler",
    "HoldfastError",
    "NonRetryable",
    "RunFailedError",
    "RunHandle",
    "RunNotSucceededError",
    "ServerError",
    "TaskContext",
    "Worker",
    "Workflow",
    "handler",
    "run_filter",
]

_HOMES = {
    "Client": "client",
    "Codec": "converter",
    "Converter": "converter",
    "Failure": "failures",
    "Handler": "handlers",
    "HoldfastError": "errors",
    "NonRetryable": "failures",
    "RunFailedError": "errors",
    "RunHandle": "client",
    "RunNotSucceededError": "errors",
    "ServerError": "errors",
    "TaskContext": "worker",
    "Worker": "worker",
    "Workflow": "builder",
    "handler": "handlers",
    "run_filter": "client",
}


if not TYPE_CHECKING:  # for type checkers the imports above are all there is

    def __getattr__(name: str) -> object:
        home = _HOMES.get(name)
        if home is None:
            raise AttributeError(f"module 'holdfast' has no attribute {name!r}")
        value = getattr(importlib.import_module(f"holdfast.{home}"), name)
        globals()[name] = value  # the next use is a plain lookup
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
