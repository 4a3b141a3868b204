"""The one place that wires a server together."""

import asyncio
import os
import random
import secrets
import socket
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import structlog
import uuid_utils
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1._async import HealthServicer

from holdfast.v1 import (
    gate_service_pb2_grpc,
    operations_service_pb2_grpc,
    run_service_pb2_grpc,
    worker_service_pb2_grpc,
    workflow_service_pb2_grpc,
)
from holdfast.v1.operations_service_pb2 import HealthState
from holdfast_server.clock import Clocks
from holdfast_server.config import ENVELOPE_BYTES, ServerConfig
from holdfast_server.engine.settings import EngineSettings
from holdfast_server.engine.turn import Entropy
from holdfast_server.failpoints import Failpoint
from holdfast_server.matching.matching import Matching
from holdfast_server.matching.settings import MatchingSettings
from holdfast_server.matching.tokens import Tokens
from holdfast_server.rpc.gate_service import GateService
from holdfast_server.rpc.guard import TRANSPORT_FACTOR, Guard
from holdfast_server.rpc.limits import limits_in_force
from holdfast_server.rpc.operations_service import OperationsService, ServerFacts
from holdfast_server.rpc.reflection import add_reflection
from holdfast_server.rpc.run_service import RunService
from holdfast_server.rpc.run_service.base import Parts
from holdfast_server.rpc.seats import Seats
from holdfast_server.rpc.validation import Limits, Validator
from holdfast_server.rpc.worker_service import WorkerService
from holdfast_server.rpc.workflow_service import WorkflowService
from holdfast_server.runtime.changes import Changes
from holdfast_server.runtime.reading import Reading
from holdfast_server.runtime.recovery import recover
from holdfast_server.runtime.runtime import Runtime, RuntimeSettings
from holdfast_server.runtime.starting import Starter
from holdfast_server.runtime.tasks import Tasks
from holdfast_server.store.port import Store
from holdfast_server.store.sqlite import SqliteStore
from holdfast_server.store.sqlite.driver import find_driver

__all__ = ["Server", "ServerStartError"]

log = structlog.get_logger("holdfast.server")

ANSWER_BYTES = 8 * 1024 * 1024
"""Size of an answer with tasks, unless the largest payload needs more."""
SERVICES = (
    "holdfast.v1.WorkflowService",
    "holdfast.v1.RunService",
    "holdfast.v1.GateService",
    "holdfast.v1.WorkerService",
    "holdfast.v1.OperationsService",
)


class ServerStartError(Exception):
    """The server cannot start.

    Attributes:
        next_step: What to do about it.
    """

    def __init__(self, message: str, next_step: str) -> None:
        super().__init__(message)
        self.next_step = next_step


def new_run_id() -> str:
    """A UUIDv7."""
    return str(uuid_utils.uuid7())


def new_traceparent() -> str:
    """A new trace: its id and the id of its root span."""
    return f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01"


class Server:
    """A server on one database.

    Args:
        config: settings.
        store: the database; by default the one the settings name.
        clocks: what it goes by; by default the clock of the operating system.
        entropy: random numbers from 0 to 1, for jitter.
        interceptors: what is around every call.

    Attributes:
        runtime: the runs, once started.
        port: the port it listens on, once started.
    """

    def __init__(
        self,
        config: ServerConfig,
        store: Store | None = None,
        clocks: Clocks | None = None,
        entropy: Entropy = random.random,
        interceptors: Sequence[aio.ServerInterceptor] = (),
    ) -> None:
        self.config = config
        self.runtime: Runtime
        self.port = 0
        self._entropy = entropy
        self._clocks = clocks if clocks is not None else Clocks.system()
        failpoint = Failpoint(config.failpoint) if config.failpoint else None
        if store is None:
            store = SqliteStore(config.database, driver=failpoint.driver(find_driver()) if failpoint else None)
        self._store = failpoint.store(store) if failpoint else store
        self._interceptors = (*interceptors, failpoint.interceptor()) if failpoint else interceptors
        self._server_id = f"{os.getpid()}-{secrets.token_hex(6)}"
        self._grpc: aio.Server
        self._health = HealthServicer()

    async def start(self) -> None:
        """Opens the database, lets open runs go on, and listens.

        Raises:
            ServerStartError: the address cannot be used, or is not allowed.
            StoreError: the database cannot be used.
        """
        if not self.config.is_loopback and not self.config.insecure:
            message = f"{self.config.listen} can be reached from other machines and there is no access control"
            next_step = "listen on 127.0.0.1, or say --insecure if the network is trusted"
            raise ServerStartError(message, next_step)
        await self._store.open()
        try:
            _check_free(self.config.listen)
            await self._wire()
        except BaseException:
            await self._store.close()
            raise

    async def _wire(self) -> None:
        config = self.config
        engine = EngineSettings(
            cancel_grace_us=int(config.cancel_grace_s * 1e6),
            payload_bytes=config.payload_bytes,
            unconsumed_signals=config.unconsumed_signals,
            gate_body_bytes=config.gate_body_bytes,
            history_bytes=config.history_bytes,
        )
        settings = RuntimeSettings(
            engine=engine,
            uncommitted_transitions=config.uncommitted_transitions,
            uncommitted_bytes=config.uncommitted_bytes,
            hot_runs=config.hot_runs,
            evict_after_s=config.evict_after_s,
            batch_items=config.batch_items,
            waits=config.waits,
            history_warning_bytes=config.history_warning_bytes,
            retention_us=config.retention_us,
        )
        runtime = self.runtime = Runtime(self._store, self._clocks.runs, self._entropy, self._server_id, settings)
        server_epoch = await self._store.next_server_epoch()
        tasks = Tasks(runtime, server_epoch)
        task_bytes = config.payload_bytes + ENVELOPE_BYTES
        matching_settings = MatchingSettings(
            lease_us=int(config.lease_s * 1e6),
            adoption_grace_us=int(config.adoption_grace_s * 1e6),
            answer_bytes=max(min(ANSWER_BYTES, config.message_bytes), task_bytes),
            task_bytes=task_bytes,
            workers=config.workers,
            parked_polls=config.parked_polls,
        )
        tokens = Tokens(await self._store.token_key(), server_epoch)
        runtime.matching = Matching(tasks, tokens, self._clocks, matching_settings)
        runtime.journal.start()
        runtime.timers.start()
        await recover(runtime)
        runtime.matching.dispatch()
        limits = Limits(
            payload_bytes=config.payload_bytes,
            message_bytes=config.message_bytes,
            batch_items=settings.batch_items,
            open_calls=config.open_calls,
        )
        facts = ServerFacts(
            version("holdfast-server"),
            self._server_id,
            server_epoch,
            self._clocks.runs.now_us(),
            limits_in_force(limits, settings, matching_settings),
            config.retention_us,
        )
        await self._serve(runtime, tasks, limits, facts)

    async def _serve(self, runtime: Runtime, tasks: Tasks, limits: Limits, facts: ServerFacts) -> None:
        self._grpc = server = aio.server(options=_options(self.config), interceptors=self._interceptors)
        validator = Validator(limits, lambda name: name == "default")
        reading = Reading(runtime)
        starter = Starter(runtime, new_run_id, new_traceparent)
        parts = Parts(runtime, starter, Changes(runtime, reading), reading, validator, Seats(limits.open_calls))
        # The generated code wants a server; a guard is one as far as it can tell.
        guard: Any = Guard(server, self.config.message_bytes)
        workflow_service_pb2_grpc.add_WorkflowServiceServicer_to_server(WorkflowService(runtime, validator), guard)
        run_service_pb2_grpc.add_RunServiceServicer_to_server(RunService(parts), guard)
        gate_service_pb2_grpc.add_GateServiceServicer_to_server(GateService(parts), guard)
        times_s = self.config.lease_s, self.config.heartbeat_interval_s
        worker = WorkerService(runtime, tasks, reading, validator, self._server_id, *times_s)
        worker_service_pb2_grpc.add_WorkerServiceServicer_to_server(worker, guard)
        operations = OperationsService(runtime, validator, facts)
        operations_service_pb2_grpc.add_OperationsServiceServicer_to_server(operations, guard)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        add_reflection(server, (*SERVICES, health_pb2.DESCRIPTOR.services_by_name["Health"].full_name))
        try:
            self.port = server.add_insecure_port(self.config.listen)
        except RuntimeError as error:
            raise _cannot_listen(self.config.listen, str(error)) from error
        runtime.health.listen(lambda: runtime.spawn(self._report_health(), "health report"))
        await server.start()
        await self._report_health()
        log.info("ready", listen=self.config.listen, port=self.port, database=self.config.database)

    async def _report_health(self) -> None:
        # One that is slow serves: reads are answered, changes wait.
        serving = self.runtime.health.state in {HealthState.HEALTH_STATE_OK, HealthState.HEALTH_STATE_SLOW}
        status = health_pb2.HealthCheckResponse.SERVING if serving else health_pb2.HealthCheckResponse.NOT_SERVING
        for service in ("", *SERVICES):
            await self._health.set(service, status)

    async def stop(self) -> None:
        """Drains: reports NOT_SERVING, answers parked polls, finishes commits, then ends."""
        runtime = self.runtime
        runtime.health.draining()
        await self._report_health()
        runtime.matching.drain_all()
        await self._grpc.stop(self.config.drain_s)
        runtime.evictor.stop()
        runtime.retention.stop()
        runtime.timers.stop()
        runtime.matching.close()
        await runtime.health.close()
        await runtime.journal.close()
        await self._store.close()
        log.info("stopped")

    async def wait(self) -> None:
        """Runs until stopped."""
        await self._grpc.wait_for_termination()


def _check_free(listen: str) -> None:
    """Asks the operating system for an address, because gRPC does not tell why it cannot have one.

    Raises:
        ServerStartError: the address cannot be used.
    """
    if listen.startswith("unix:"):
        return
    host, _, port = listen.rpartition(":")
    try:
        found = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)
        family, kind, protocol, _, address = found[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        raise _cannot_listen(listen, error.strerror or str(error)) from error


def _cannot_listen(listen: str, why: str) -> ServerStartError:
    next_step = "use or stop the server that is there, or name another address of this machine: --listen 127.0.0.1:0"
    return ServerStartError(f"cannot listen on {listen}: {why}", next_step)


def _options(config: ServerConfig) -> list[tuple[str, int]]:
    return [
        ("grpc.max_receive_message_length", TRANSPORT_FACTOR * config.message_bytes),
        ("grpc.max_send_message_length", config.message_bytes),
        # Thousands of workers park a call each; the defaults turn bursts of them away.
        ("grpc.max_concurrent_streams", 1_000_000),
        ("grpc.server.max_pending_requests", 100_000),
        ("grpc.server.max_pending_requests_hard_limit", 200_000),
        ("grpc.keepalive_permit_without_calls", 1),
        # Who went away without a word (a machine lost its power, something between forgot the connection) would keep
        # its streams and parked polls for two hours.
        ("grpc.keepalive_time_ms", 60_000),
        ("grpc.keepalive_timeout_ms", 20_000),
        ("grpc.http2.ping_timeout_ms", 20_000),
        ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
        ("grpc.so_reuseport", 0),
    ]


async def run_until_signal(server: Server, stop: asyncio.Event) -> None:
    """Runs a started server until `stop` is set, then drains it."""
    waiting = asyncio.get_running_loop().create_task(stop.wait())
    running = asyncio.get_running_loop().create_task(server.wait())
    await asyncio.wait([waiting, running], return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    await server.stop()
    running.cancel()
