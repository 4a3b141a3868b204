"""Lists, counts and live views of runs."""

from collections.abc import AsyncIterator

from grpc import aio

from holdfast.client.connection import Connection
from holdfast.v1.run_pb2 import RunSummary
from holdfast.v1.run_service_pb2 import (
    CountRunsRequest,
    CountRunsResponse,
    ListRunsRequest,
    ListRunsResponse,
    RunFilter,
    WatchRunsRequest,
    WatchRunsResponse,
)

__all__ = ["Runs"]


class Runs:
    """Runs of the client's namespace; `holdfast.client.run_filter` makes the filters."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def list(
        self, filter: RunFilter | None = None, *, limit: int | None = None, page_size: int = 100
    ) -> AsyncIterator[RunSummary]:
        """Yield matching runs, latest start first, asking for pages as they are needed.

        Args:
            filter: Which runs; None for all.
            limit: Most runs; None for all.
            page_size: Runs per call, 1 to 1,000.
        """
        token, count = "", 0
        while limit is None or count < limit:
            size = page_size if limit is None else min(page_size, limit - count)
            page = await self.page(filter, page_size=size, page_token=token)
            for run in page.runs:
                yield run
            count += len(page.runs)
            token = page.next_page_token
            if not token:
                return

    async def page(
        self, filter: RunFilter | None = None, *, page_size: int = 100, page_token: str = ""
    ) -> ListRunsResponse:
        """Return one page and the token of the next.

        Raises:
            InvalidRequestError: The token is not one of this list.
        """
        connection = self._connection
        request = ListRunsRequest(
            namespace=connection.namespace, filter=filter, page_size=page_size, page_token=page_token
        )
        return await connection.call(connection.runs.ListRuns, request)

    async def count(self, filter: RunFilter | None = None) -> CountRunsResponse:
        """Return how many runs match, in all and by state."""
        connection = self._connection
        request = CountRunsRequest(namespace=connection.namespace, filter=filter)
        return await connection.call(connection.runs.CountRuns, request)

    async def watch(
        self, filter: RunFilter | None = None, *, cursor: str = "", closed_limit: int = 0
    ) -> AsyncIterator[WatchRunsResponse]:
        """Yield a snapshot of the matching runs and then every change, for ever; goes on after the loss of the server.

        A message with `reset` voids everything before it; `live` says that the snapshot is complete; `deleted_run_ids`
        are to be forgotten; `cursor` resumes from there. Wrap it in `contextlib.aclosing` if you may leave early.

        Args:
            filter: Which runs; None for all.
            cursor: From an earlier message, to go on without a snapshot.
            closed_limit: Closed runs in the snapshot at most; 0 for 100.
        """
        connection = self._connection
        request = WatchRunsRequest(
            namespace=connection.namespace, filter=filter, cursor=cursor, closed_limit=closed_limit
        )

        def begin() -> "aio.UnaryStreamCall[WatchRunsRequest, WatchRunsResponse]":
            return connection.runs.WatchRuns(request, metadata=connection.metadata)

        async for response in connection.stream(begin, endless=True):
            if response.cursor:
                request.cursor = response.cursor
            yield response
