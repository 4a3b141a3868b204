"""OperationsService: queues, workers and the server itself."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from holdfast.v1 import operations_service_pb2 as pb
from holdfast.v1.operations_service_pb2_grpc import OperationsServiceServicer
from holdfast_server.engine.times import timestamp
from holdfast_server.rpc import paging
from holdfast_server.rpc.errors import Context, mapped
from holdfast_server.rpc.validation import Validator
from holdfast_server.runtime import health
from holdfast_server.runtime.runtime import Runtime
from holdfast_server.store.port import StoreError

__all__ = ["OperationsService", "ServerFacts"]


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """What does not change while a server runs."""

    version: str
    server_id: str
    server_epoch: int
    start_us: int
    limits: Mapping[str, int]
    retention_us: int | None


class OperationsService(OperationsServiceServicer):
    """What operators ask of a server."""

    def __init__(self, runtime: Runtime, validator: Validator, facts: ServerFacts) -> None:
        self._runtime = runtime
        self._validator = validator
        self._facts = facts

    @mapped
    async def ListQueues(self, request: pb.ListQueuesRequest, _context: Context) -> pb.ListQueuesResponse:
        """Lists queues by name."""
        namespace = self._validator.namespace(request.namespace)
        size = self._validator.page_size(request.page_size)
        position = paging.decode("queues", request.page_token, str)
        after = str(position[0]) if position else ""
        found = [one for one in self._runtime.matching.queues(namespace) if one.queue > after]
        found.sort(key=lambda one: one.queue)
        token = paging.encode("queues", found[size - 1].queue) if len(found) > size else ""
        return pb.ListQueuesResponse(queues=found[:size], next_page_token=token)

    @mapped
    async def ListWorkers(self, request: pb.ListWorkersRequest, _context: Context) -> pb.ListWorkersResponse:
        """Lists connected workers by id."""
        namespace = self._validator.namespace(request.namespace)
        size = self._validator.page_size(request.page_size)
        position = paging.decode("workers", request.page_token, str)
        after = str(position[0]) if position else ""
        found = [one for one in self._runtime.matching.workers(namespace) if one.worker.id > after]
        found.sort(key=lambda one: one.worker.id)
        token = paging.encode("workers", found[size - 1].worker.id) if len(found) > size else ""
        return pb.ListWorkersResponse(workers=found[:size], next_page_token=token)

    @mapped
    async def GetServerInfo(self, _request: pb.GetServerInfoRequest, _context: Context) -> pb.GetServerInfoResponse:
        """Tells what server this is and how it is."""
        runtime = self._runtime
        facts = self._facts
        # Whoever asks how the server is must be told, above all while the disk does not answer.
        open_runs, unread = len(runtime.residence), ""
        try:
            async with asyncio.timeout(health.SLOW_COMMIT_S):
                open_runs = await runtime.store.open_run_count()
        except TimeoutError:
            unread = "the disk is slow"
        except StoreError as error:
            unread = f"the database cannot be read: {error}"
        age_s = runtime.health.commit_age_s
        made = pb.GetServerInfoResponse(
            version=facts.version,
            server_id=facts.server_id,
            server_epoch=facts.server_epoch,
            start_time=timestamp(facts.start_us),
            health=runtime.health.state,
            health_message=runtime.health.message or unread,
            store=runtime.store.description,
            schema_version=runtime.store.schema_version,
            open_runs=open_runs,
            hot_runs=len(runtime.residence),
            limits=[pb.Limit(name=name, value=value) for name, value in sorted(facts.limits.items())],
        )
        if age_s is not None:
            made.commit_age.FromMicroseconds(int(age_s * 1e6))
        if facts.retention_us is not None:
            made.retention.FromMicroseconds(facts.retention_us)
        return made
