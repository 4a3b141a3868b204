"""A workflow of one task with a queue of its own, for tests that are the worker."""

from uuid import uuid4

from holdfast import Client
from holdfast.client import RunHandle
from holdfast.v1.worker_service_pb2 import CompleteTasksResponse
from tests.integration.raw import RawWorker, Stubs, refused_item

__all__ = ["Place", "place", "rejection"]

ONE = """
name: {queue}
steps:
  - name: work
    task: {{handler: work, queue: {queue}}}
    input: "${{input}}"
    retry: {{max_attempts: 3, initial_interval: 10ms, jitter: 0}}{more}
output: "${{steps.work.output}}"
"""


class Place:
    """A workflow of one task with a queue of its own."""

    def __init__(self, client: Client, stubs: Stubs, queue: str) -> None:
        self.client = client
        self.stubs = stubs
        self.queue = queue

    async def start(self, value: object = None) -> RunHandle:
        return await self.client.start(self.queue, value)

    def worker(self, slots: int = 10, name: str = "") -> RawWorker:
        return RawWorker(self.stubs, "work", queue=self.queue, slots=slots, name=name)


async def place(client: Client, stubs: Stubs, more: str = "") -> Place:
    queue = f"q-{uuid4().hex}"
    await client.register(ONE.format(queue=queue, more=more))
    return Place(client, stubs, queue)


def rejection(answer: CompleteTasksResponse, reason: str, *fields: str) -> None:
    """The one result was refused with this reason."""
    (rejected,) = answer.rejected
    assert rejected.index == 0
    refused_item(rejected.error, reason, *fields)
