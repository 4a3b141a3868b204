"""Queues, workers and the server itself."""

from collections.abc import AsyncIterator

from holdfast.client.connection import Connection
from holdfast.v1.operations_service_pb2 import (
    GetServerInfoRequest,
    GetServerInfoResponse,
    ListQueuesRequest,
    ListWorkersRequest,
)
from holdfast.v1.task_pb2 import QueueSummary, WorkerSummary

__all__ = ["Operations"]


class Operations:
    """What operators ask of a server."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def queues(self, *, page_size: int = 100) -> AsyncIterator[QueueSummary]:
        """Yield the queues that have tasks or workers, by name."""
        connection = self._connection
        request = ListQueuesRequest(namespace=connection.namespace, page_size=page_size)
        while True:
            response = await connection.call(connection.operations.ListQueues, request)
            for queue in response.queues:
                yield queue
            if not response.next_page_token:
                return
            request.page_token = response.next_page_token

    async def workers(self, *, page_size: int = 100) -> AsyncIterator[WorkerSummary]:
        """Yield the connected workers, by id."""
        connection = self._connection
        request = ListWorkersRequest(namespace=connection.namespace, page_size=page_size)
        while True:
            response = await connection.call(connection.operations.ListWorkers, request)
            for worker in response.workers:
                yield worker
            if not response.next_page_token:
                return
            request.page_token = response.next_page_token

    async def server_info(self) -> GetServerInfoResponse:
        """Return what server this is, how it is, and the limits in force."""
        connection = self._connection
        return await connection.call(connection.operations.GetServerInfo, GetServerInfoRequest())
