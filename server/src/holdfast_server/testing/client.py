"""A client that lets the time of its server pass while it waits for the end of a run."""

from collections.abc import Callable
from datetime import datetime

from holdfast.client import Client
from holdfast.client.connection import Connection
from holdfast.client.waiting import Waiter
from holdfast.converter import Converter
from holdfast.v1.run_pb2 import RunOutcome
from holdfast_server.testing.auto import AutoSkip
from holdfast_server.testing.rest import Calls

__all__ = ["LocalClient"]


class LocalClient(Client):
    """The same as `Client`, but that `RunHandle.result`, `RunHandle.outcome` and `run` let time pass while they wait.

    A delay of `start` counts from the server's time.
    """

    def __init__(
        self,
        target: str,
        auto: AutoSkip,
        calls: Calls,
        *,
        clock: Callable[[], datetime],
        actor: str | None,
        converter: Converter | None,
    ) -> None:
        """Made by `LocalServer`."""
        super().__init__(target, actor=actor, converter=converter, clock=clock)
        self.connection.around_call = calls.of_client
        self.waiter = _LocalWaiter(self.connection, auto)


class _LocalWaiter(Waiter):
    def __init__(self, connection: Connection, auto: AutoSkip) -> None:
        super().__init__(connection)
        self._namespace = connection.namespace
        self._auto = auto

    async def outcome(self, run_id: str) -> RunOutcome:
        with self._auto.awaited(self._namespace, run_id):
            return await super().outcome(run_id)
