"""`python -m tests.chaos.worker TARGET NOTES ID`: an SDK worker that writes down what it runs and what it is told."""

import asyncio
import inspect
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

from holdfast import Client, Handler, TaskContext, Worker
from holdfast.client.status import error_of_item
from holdfast.v1.worker_service_pb2 import CompleteTasksRequest, CompleteTasksResponse, PollTasksResponse
from tests.chaos.handlers import HANDLERS
from tests.chaos.notes import Gone, Note, Pen, Ran, Settled, lease_of

SLOTS = 40
REMEMBERED = 10_000
"""Tasks of which it is known what they are; far more than slots, because of those that are lost nothing is sent."""
GRACE_S = 1.0


class Witness:
    """The worker's calls, with what their answers say written down before the worker goes on."""

    def __init__(self, stub: Any, pen: Pen) -> None:
        self._stub = stub
        self._pen = pen
        self._tasks: dict[bytes, tuple[str, str, int]] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stub, name)

    def PollTasks(self, request: Any, **options: Any) -> Any:  # noqa: N802 - the name of the RPC
        return _Seen(self._stub.PollTasks(request, **options), self._polled)

    def CompleteTasks(self, request: CompleteTasksRequest, **options: Any) -> Any:  # noqa: N802 - likewise
        def completed(answer: CompleteTasksResponse) -> None:
            self._settled(request, answer)
            self._polled(answer)

        return _Seen(self._stub.CompleteTasks(request, **options), completed)

    def _polled(self, answer: PollTasksResponse | CompleteTasksResponse) -> None:
        for task in answer.tasks:
            self._tasks[task.token] = (task.run_id, task.step_path, task.attempt)
        for _ in range(len(self._tasks) - REMEMBERED):
            del self._tasks[next(iter(self._tasks))]

    def _settled(self, request: CompleteTasksRequest, answer: CompleteTasksResponse) -> None:
        refused = {one.index: error_of_item(one.error) for one in answer.rejected}
        notes: list[Note] = []
        for index, result in enumerate(request.results):
            error = refused.get(index)
            if error is not None and error.code == "UNAVAILABLE":
                continue  # it is sent again
            what = (*self._tasks.pop(result.token), lease_of(result.token))
            if error is None:
                notes.append(Settled(*what, result.WhichOneof("outcome") or ""))
            else:
                notes.append(Gone(*what, error.reason))
        self._pen.write(*notes, synced=True)


class _Seen:
    """A call whose answer somebody looks at first."""

    def __init__(self, call: Any, look: Callable[[Any], None]) -> None:
        self._call = call
        self._look = look

    def __getattr__(self, name: str) -> Any:
        return getattr(self._call, name)

    def __await__(self) -> Any:
        answer = yield from self._call.__await__()
        self._look(answer)
        return answer


def noted(function: Callable[[TaskContext, Any], Any], pen: Pen) -> Handler[..., Any]:
    """Return a handler that is written down when it begins."""

    def note(ctx: TaskContext) -> None:
        lease = lease_of(ctx._task.token)
        pen.write(Ran(ctx.run_id, ctx.step_path, ctx.attempt, lease, ctx.worker_id, ctx.idempotency_key))

    if inspect.iscoroutinefunction(function):

        @wraps(function)
        async def asynchronous(ctx: TaskContext, value: Any) -> Any:
            note(ctx)
            return await function(ctx, value)

        return Handler(asynchronous)

    @wraps(function)
    def synchronous(ctx: TaskContext, value: Any) -> Any:
        note(ctx)
        return function(ctx, value)

    return Handler(synchronous)


async def main(target: str, notes: str, worker_id: str) -> None:
    pen = Pen(Path(notes))
    async with Client(target) as client:
        client.connection.__dict__["workers"] = Witness(client.connection.workers, pen)
        handlers = [noted(function, pen) for function in HANDLERS]
        await Worker(client, handlers=handlers, slots=SLOTS, worker_id=worker_id, grace_s=GRACE_S).run()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
