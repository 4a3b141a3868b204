"""Threads for sync handlers. They never keep a process from ending, unlike those of `concurrent.futures`.

A handler that ignores its cancellation cannot be stopped; when the worker gives up waiting, it must still be able to
go.
"""

import asyncio
import contextvars
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

__all__ = ["HandlerThreads", "NotStartedError", "raised_by"]


class NotStartedError(Exception):
    """The call was withdrawn before a thread took it."""


class HandlerThreads:
    """At most `size` threads that run calls for one event loop, in order."""

    def __init__(self, size: int, loop: asyncio.AbstractEventLoop) -> None:
        self._size = size
        self._loop = loop
        self._calls: deque[_Call] = deque()
        self._changed = threading.Condition()
        self._threads = 0
        self._idle = 0
        self._closed = False

    def run(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> "asyncio.Future[Any]":
        """Run a call in a thread, in a copy of the caller's context, and return its result to come."""
        call = _Call(function, arguments, self._loop)
        with self._changed:
            self._calls.append(call)
            if self._idle >= len(self._calls):
                self._changed.notify()
            elif self._threads < self._size:
                self._threads += 1
                name = f"holdfast-handler-{self._threads}"
                threading.Thread(target=self._work, name=name, daemon=True).start()
        return call.future

    def withdraw(self) -> None:
        """Let calls that no thread took end with NotStartedError."""
        with self._changed:
            calls, self._calls = list(self._calls), deque()
        for call in calls:
            call.settle(None, NotStartedError())

    def close(self) -> None:
        """Let idle threads end; busy ones end with their call."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._idle += 1
                while not self._calls and not self._closed:
                    self._changed.wait()
                self._idle -= 1
                if not self._calls:
                    return
                call = self._calls.popleft()
            call.make()


class _Call:
    __slots__ = ("_arguments", "_context", "_function", "_loop", "future")

    def __init__(
        self, function: Callable[..., Any], arguments: tuple[Any, ...], loop: asyncio.AbstractEventLoop
    ) -> None:
        self._function = function
        self._arguments = arguments
        self._loop = loop
        self._context = contextvars.copy_context()
        self.future: asyncio.Future[Any] = loop.create_future()

    def make(self) -> None:
        """Make the call and hand over what comes of it, whatever that is."""
        try:
            value = self._context.run(self._function, *self._arguments)
        except BaseException as fault:  # noqa: BLE001 - it is raised where the call is awaited
            self._hand_over(None, fault)
        else:
            self._hand_over(value, None)

    def _hand_over(self, value: object, fault: BaseException | None) -> None:
        try:
            self._loop.call_soon_threadsafe(self.settle, value, fault)
        except RuntimeError:
            return  # the loop is closed: the worker gave up on this handler

    def settle(self, value: object, fault: BaseException | None) -> None:
        """Settle the future, in the thread of its loop."""
        if self.future.done():
            return
        if fault is None:
            self.future.set_result(value)
        else:
            # A future takes no StopIteration and treats CancelledError as its own; a wrapper carries both.
            self.future.set_exception(_Raised(fault))


class _Raised(Exception):
    """Carries what a call raised through a future."""


def raised_by(fault: BaseException) -> BaseException:
    """Return what a call in a thread raised, from what awaiting it raised."""
    return fault.args[0] if isinstance(fault, _Raised) else fault
