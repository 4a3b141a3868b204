"""`python -m tests.integration.oracle_worker TARGET FILE`: an SDK worker that writes down what it runs and is told."""

import asyncio
import sys
from pathlib import Path
from typing import Any

from holdfast import Client, TaskContext, Worker, handler
from holdfast.v1.task_pb2 import Task
from holdfast.v1.worker_service_pb2 import CompleteTasksRequest, CompleteTasksResponse, PollTasksResponse
from tests.integration.oracle import ACCEPTED, RAN, Line, Pen


class Witness:
    """The worker's calls, with what their answers say written down before the worker goes on."""

    def __init__(self, stub: Any, pen: Pen) -> None:
        self._stub = stub
        self._pen = pen
        self._tasks: dict[bytes, Task] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stub, name)

    def PollTasks(self, request: Any, **options: Any) -> Any:  # noqa: N802 - the name of the RPC
        return _Seen(self._stub.PollTasks(request, **options), self._polled)

    def CompleteTasks(self, request: CompleteTasksRequest, **options: Any) -> Any:  # noqa: N802
        def completed(answer: CompleteTasksResponse) -> None:
            rejected = {one.index for one in answer.rejected}
            for index, result in enumerate(request.results):
                task = self._tasks[result.token]
                if index not in rejected:
                    self._pen.write(Line(ACCEPTED, task.run_id, task.step_path, task.attempt, task.idempotency_key))
            self._polled(answer)

        return _Seen(self._stub.CompleteTasks(request, **options), completed)

    def _polled(self, answer: PollTasksResponse | CompleteTasksResponse) -> None:
        for task in answer.tasks:
            self._tasks[task.token] = task


class _Seen:
    """A call whose answer somebody looks at first."""

    def __init__(self, call: Any, look: Any) -> None:
        self._call = call
        self._look = look

    def __getattr__(self, name: str) -> Any:
        return getattr(self._call, name)

    def __await__(self) -> Any:
        answer = yield from self._call.__await__()
        self._look(answer)
        return answer


async def main(target: str, file: str) -> None:
    pen = Pen(Path(file))

    @handler
    async def step(ctx: TaskContext, value: Any) -> Any:
        pen.write(Line(RAN, ctx.run_id, ctx.step_path, ctx.attempt, ctx.idempotency_key))
        return value

    async with Client(target) as client:
        connection = client.connection
        witness = Witness(connection.workers, pen)
        connection.__dict__["workers"] = witness
        await Worker(client, handlers=[step], slots=40).run()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
