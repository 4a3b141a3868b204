"""Waiting for runs to end: one stream serves a whole client, and outlives the loss of its server.

Ids go out as they come; those asked for while a message is written gather for the next one. After a reconnect every id
that still has somebody waiting is sent again. A server without the stream is asked run by run.
"""

import asyncio
import logging
from collections.abc import Iterable, Iterator
from copy import copy
from itertools import islice

import grpc
from grpc import aio

from holdfast.client.batching import BATCH_MAX_ITEMS
from holdfast.client.connection import Connection
from holdfast.client.status import error_of_item, error_of_rpc, is_transient
from holdfast.errors import ClientClosedError, ServerError
from holdfast.v1.errors_pb2 import ItemError
from holdfast.v1.run_pb2 import RunOutcome
from holdfast.v1.run_service_pb2 import WaitRunRequest, WaitRunsRequest, WaitRunsResponse

__all__ = ["Waiter"]

PARK_S = 60
# The server answers a parked call after PARK_S; a little more before the call counts as lost.
PARK_GRACE_S = 10

_log = logging.getLogger("holdfast.client")
_Waits = dict[str, list["asyncio.Future[RunOutcome]"]]
_Call = aio.StreamStreamCall[WaitRunsRequest, WaitRunsResponse]


class Waiter:
    """Everybody of one client who waits for the end of a run."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._waits: _Waits = {}
        self._unsent: dict[str, None] = {}  # a set in order
        self._sent: set[str] = set()
        self._wake = asyncio.Event()
        self._stream: asyncio.Task[None] | None = None
        self._closed = False

    async def outcome(self, run_id: str) -> RunOutcome:
        """Return how a run ended, once it has.

        Raises:
            RunNotFoundError: There is no such run.
            ServerError: The server refused to wait for it.
            ClientClosedError: The client was closed meanwhile.
        """
        if self._closed:
            raise ClientClosedError("the client is closed")
        answer: asyncio.Future[RunOutcome] = asyncio.get_running_loop().create_future()
        self._waits.setdefault(run_id, []).append(answer)
        if run_id not in self._sent:
            self._unsent[run_id] = None
            self._wake.set()
        if self._stream is None:
            self._stream = asyncio.get_running_loop().create_task(self._serve(), name="holdfast-waits")
        try:
            return await answer
        finally:
            self._forget(run_id, answer)

    async def close(self) -> None:
        """End the stream; whoever waits gets ClientClosedError."""
        self._closed = True
        if self._stream is not None:
            self._stream.cancel()
            await asyncio.gather(self._stream, return_exceptions=True)
        self._fail_all(ClientClosedError("the client was closed"))

    async def _serve(self) -> None:
        try:
            await self._stream_for_ever()
        except _NoStreamError:
            await self._ask_for_ever()
        except ServerError as fault:
            self._fail_all(fault)
        finally:
            self._stream = None
            self._sent.clear()

    async def _stream_for_ever(self) -> None:
        connection, backoff = self._connection, self._connection.backoff()
        while True:
            self._sent.clear()
            self._unsent = dict.fromkeys(self._waits)
            self._wake.set()
            call: _Call = connection.runs.WaitRuns(metadata=connection.metadata)
            writer = asyncio.get_running_loop().create_task(self._write(call), name="holdfast-waits-writer")
            try:
                async for message in call:
                    backoff.reset()
                    connection.note_success()
                    self._take(message.outcomes, message.errors)
            except aio.AioRpcError as fault:
                connection.note_failure(fault)
                if fault.code() is grpc.StatusCode.UNIMPLEMENTED:
                    raise _NoStreamError from fault
                if not is_transient(fault):
                    raise error_of_rpc(fault, connection.target) from fault
            finally:
                writer.cancel()
                call.cancel()
                await asyncio.gather(writer, return_exceptions=True)
            await asyncio.sleep(backoff.next_s())

    async def _write(self, call: _Call) -> None:
        """Send ids as they come; a write that fails ends here, and the reader tells why."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._unsent:
                run_ids = list(islice(self._unsent, BATCH_MAX_ITEMS))
                for run_id in run_ids:
                    del self._unsent[run_id]
                self._sent.update(run_ids)
                await call.write(WaitRunsRequest(namespace=self._connection.namespace, run_ids=run_ids))

    def _take(self, outcomes: Iterable[RunOutcome], errors: Iterable[ItemError]) -> None:
        for outcome in outcomes:
            run_id = outcome.run_id
            self._sent.discard(run_id)
            for answer in self._waits.pop(run_id, ()):
                if not answer.done():
                    answer.set_result(outcome)
        for item in errors:
            run_id = item.metadata.get("run_id", "")
            self._sent.discard(run_id)
            for answer in self._waits.pop(run_id, ()):
                if not answer.done():
                    answer.set_exception(error_of_item(item))

    async def _ask_for_ever(self) -> None:
        """Serve a server that has no WaitRuns: one parked call for each run."""
        _log.info("the server has no WaitRuns; every run is waited for by a call of its own")
        asked: dict[str, asyncio.Task[None]] = {}
        try:
            while True:
                asked = {run_id: task for run_id, task in asked.items() if not task.done()}
                for run_id in self._waits:
                    if run_id not in asked:
                        asked[run_id] = asyncio.get_running_loop().create_task(self._ask(run_id))
                await self._wake.wait()
                self._wake.clear()
        finally:
            for task in asked.values():
                task.cancel()
            await asyncio.gather(*asked.values(), return_exceptions=True)

    async def _ask(self, run_id: str) -> None:
        connection = self._connection
        request = WaitRunRequest(namespace=connection.namespace, run_id=run_id)
        request.park_timeout.FromSeconds(PARK_S)
        backoff = connection.backoff()
        while run_id in self._waits:
            try:
                response = await connection.call_once(connection.runs.WaitRun, request, PARK_S + PARK_GRACE_S)
            except aio.AioRpcError as fault:
                if is_transient(fault) or fault.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
                    await asyncio.sleep(backoff.next_s())
                    continue
                error = error_of_rpc(fault, connection.target)
                for answer in self._pending(run_id):
                    answer.set_exception(copy(error))
                return
            backoff.reset()
            if response.closed:
                response.outcome.run_id = run_id
                self._take([response.outcome], ())

    def _pending(self, run_id: str) -> Iterator["asyncio.Future[RunOutcome]"]:
        return (answer for answer in self._waits.pop(run_id, ()) if not answer.done())

    def _forget(self, run_id: str, answer: "asyncio.Future[RunOutcome]") -> None:
        others = self._waits.get(run_id)
        if others is not None and answer in others:
            others.remove(answer)
            if not others:
                del self._waits[run_id]
                self._unsent.pop(run_id, None)

    def _fail_all(self, fault: Exception) -> None:
        waits, self._waits = self._waits, {}
        self._unsent.clear()
        for answers in waits.values():
            for answer in answers:
                if not answer.done():
                    answer.set_exception(copy(fault))  # each is raised, with a trace of its own


class _NoStreamError(Exception):
    """The server knows no WaitRuns."""
