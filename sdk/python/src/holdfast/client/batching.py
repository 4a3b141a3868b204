"""Coalescing: requests made at the same time travel in one message, and a lone one never waits for a timer.

While one message is under way, what comes in gathers; when the answer is there, all of it goes as the next message.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from copy import copy
from typing import Generic, TypeVar

from google.protobuf.message import Message

from holdfast.errors import ClientClosedError

__all__ = ["BATCH_MAX_BYTES", "BATCH_MAX_ITEMS", "Coalescer"]

BATCH_MAX_ITEMS = 1_000
BATCH_MAX_BYTES = 8 * 1024 * 1024

ItemT = TypeVar("ItemT", bound=Message)
ResultT = TypeVar("ResultT")


class Coalescer(Generic[ItemT, ResultT]):
    """Gathers items into batches. It belongs to one event loop and sends one batch at a time."""

    def __init__(
        self,
        send: Callable[[list[ItemT]], Awaitable[Sequence[ResultT | Exception]]],
        *,
        items_max: int = BATCH_MAX_ITEMS,
        bytes_max: int = BATCH_MAX_BYTES,
    ) -> None:
        """Build one.

        Args:
            send: Sends a batch and returns a result, or an exception to raise, for each item in order.
            items_max: Most items of a batch.
            bytes_max: Most bytes of a batch; a larger item travels alone.
        """
        self._send = send
        self._items_max = items_max
        self._bytes_max = bytes_max
        self._waiting: deque[tuple[ItemT, asyncio.Future[ResultT]]] = deque()
        self._sender: asyncio.Task[None] | None = None
        self._closed = False

    async def submit(self, item: ItemT) -> ResultT:
        """Send an item with the next batch and return its result.

        Raises:
            ClientClosedError: The client is closed.
            Exception: What `send` raised for the batch or returned for this item.
        """
        if self._closed:
            raise ClientClosedError("the client is closed")
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[ResultT] = loop.create_future()
        self._waiting.append((item, answer))
        if self._sender is None:
            self._sender = loop.create_task(self._send_all(), name="holdfast-batches")
        return await answer

    async def close(self) -> None:
        """Stop sending; items that wait for an answer end with ClientClosedError, although they may be accepted."""
        self._closed = True
        sender = self._sender
        if sender is not None:
            sender.cancel()
            await asyncio.gather(sender, return_exceptions=True)
        _fail([answer for _, answer in self._waiting], ClientClosedError("the client was closed"))
        self._waiting.clear()

    async def _send_all(self) -> None:
        try:
            while batch := self._next_batch():
                await self._settle([item for item, _ in batch], [answer for _, answer in batch])
        finally:
            self._sender = None

    async def _settle(self, items: list[ItemT], answers: list["asyncio.Future[ResultT]"]) -> None:
        try:
            results = await self._send(items)
        except asyncio.CancelledError:
            _fail(answers, ClientClosedError("the client was closed"))
            raise
        except Exception as fault:  # noqa: BLE001 - it is raised where the items were submitted
            _fail(answers, fault)
            return
        for answer, result in zip(answers, results, strict=True):
            if answer.done():  # whoever waited has left
                continue
            if isinstance(result, Exception):
                answer.set_exception(result)
            else:
                answer.set_result(result)

    def _next_batch(self) -> list[tuple[ItemT, "asyncio.Future[ResultT]"]]:
        batch: list[tuple[ItemT, asyncio.Future[ResultT]]] = []
        size_bytes = 0
        while self._waiting and len(batch) < self._items_max:
            item, answer = self._waiting[0]
            if answer.done():
                self._waiting.popleft()
                continue
            size_bytes += item.ByteSize()
            if batch and size_bytes > self._bytes_max:
                break
            batch.append(self._waiting.popleft())
        return batch


def _fail(answers: "list[asyncio.Future[ResultT]]", fault: Exception) -> None:
    for answer in answers:
        if not answer.done():
            answer.set_exception(copy(fault))  # each is raised, with a trace of its own
