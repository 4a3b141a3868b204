"""When a server is at rest: nothing happens any more unless time passes or somebody calls.

It is, if all of this holds at one moment:

- no alarm is about to ring, and none that has rung has left anything undone,
- no call of the kit's own clients is under way, and no call of anybody is being answered, but for those that only wait
  (PollTasks, WaitRun), only look (streams), or are over before anything else can happen (Heartbeat),
- nothing is on its way to the disk, and the server does nothing of its own accord,
- no attempt waits for a worker, and none is with one.

All of it is known here, so nobody has to look again and again: whatever ends says so. What a client is about to do is
not known; so time passes by itself only while the one who could call waits for the end of a run.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import grpc
from grpc import aio

from holdfast_server.matching.matching import QueuedTask
from holdfast_server.runtime.runtime import Runtime
from holdfast_server.testing.clock import SkippingClock

__all__ = ["Calls", "Rest"]

UNCOUNTED = frozenset(
    {
        "/holdfast.v1.RunService/WaitRun",
        "/holdfast.v1.WorkerService/Heartbeat",
        "/holdfast.v1.WorkerService/PollTasks",
    }
)


class Calls(aio.ServerInterceptor):
    """Counts the calls that are under way: those that are being answered, and those of clients that say so.

    Args:
        on_end: called when one is over.

    Attributes:
        open: how many, by what they are.
    """

    def __init__(self, on_end: Callable[[], None]) -> None:
        self.open: Counter[str] = Counter()
        self._on_end = on_end

    @contextmanager
    def of_client(self) -> Iterator[None]:
        """A call of a client, from when it is made to when its answer is there."""
        with self._counted("call of a client"):
            yield

    @contextmanager
    def _counted(self, what: str) -> Iterator[None]:
        self.open[what] += 1
        try:
            yield
        finally:
            self.open[what] -= 1
            self._on_end()

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """Puts the count around a method."""
        method: str = handler_call_details.method
        handler = await continuation(handler_call_details)
        if handler is None or handler.unary_unary is None or method in UNCOUNTED:
            return handler
        name = method.rpartition("/")[2]

        async def counted(request: object, context: object) -> object:
            with self._counted(name):
                return await handler.unary_unary(request, context)

        return handler._replace(unary_unary=counted)


class Rest:
    """Tells when a server is at rest.

    Attributes:
        changes: grows with everything that ends, and with every call of `changed`.
    """

    def __init__(self) -> None:
        self.changes = 0
        self.calls = Calls(self.changed)
        self._waiters: list[asyncio.Future[None]] = []
        self._asked = False
        self._runtime: Runtime
        self._clock: SkippingClock

    def attach(self, runtime: Runtime, clock: SkippingClock) -> None:
        """Watches a server from now on."""
        self._runtime = runtime
        self._clock = clock
        runtime.on_done = self.changed

    def reached(self, *, despite_running: bool = False, despite_queued: bool = False) -> bool:
        """Whether the server is at rest.

        Args:
            despite_running: Attempts that are with workers do not count.
            despite_queued: Attempts that wait for workers do not count.
        """
        if self._clock.ringing or self.calls.open.total() or self._runtime.busy:
            return False
        matching = self._runtime.matching
        return (despite_running or not matching.running) and (despite_queued or not matching.waiting)

    def reasons(self, *, despite_running: bool = False, despite_queued: bool = False) -> list[str]:
        """What goes on, a sentence for each; none if the server is at rest."""
        reasons = [f"{count} × {name} is under way" for name, count in self.calls.open.items() if count]
        if self._clock.ringing or self._runtime.busy:
            reasons.append("the server does what has come due, or writes what was decided")
        matching = self._runtime.matching
        attempts = matching.attempts()
        held_by = [task for task in attempts if not (despite_queued if task.lease is None else despite_running)]
        reasons += [self._sentence(task) for task in held_by]
        outside = matching.waiting - sum(task.lease is None for task in attempts)
        if outside and not despite_queued:
            reasons.append(f"{outside} attempts of runs that are not in memory wait for workers")
        return reasons

    def changed(self) -> None:
        """Something is not as it was; those who wait look again, once all that is ready now has happened."""
        self.changes += 1
        if self._waiters and not self._asked:
            self._asked = True
            asyncio.get_running_loop().call_soon(self._wake)

    async def change(self) -> None:
        """Waits for the next change."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        await waiter

    def _wake(self) -> None:
        self._asked = False
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    def _sentence(self, task: QueuedTask) -> str:
        host = self._runtime.residence.by_key(task.run_key)
        run = f"run {host.state.run_id}" if host is not None else "a run"
        attempt = f"attempt {task.attempt} of step {task.path} of {run}"
        if task.lease is not None:
            return f"{attempt} is with worker {task.lease.worker.info.id}"
        if not self._runtime.matching.serves(task.namespace, task.queue, task.handler):
            return f"{attempt} waits, and no worker serves handler {task.handler!r} on queue {task.queue!r}"
        return f"{attempt} waits for a free slot of a worker on queue {task.queue!r}"
