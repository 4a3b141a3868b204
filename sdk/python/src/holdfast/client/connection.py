"""One channel to a server: its options, who calls, retries of what may be repeated, no call ever left open."""

import asyncio
import getpass
import logging
import random as random_module
import string
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from typing import TypeVar
from urllib.parse import quote

import grpc
from google.protobuf.message import Message
from grpc import aio

from holdfast.backoff import Backoff, BackoffPolicy
from holdfast.client.status import MESSAGE_MAX_BYTES, error_of_rpc, is_transient
from holdfast.errors import ClientClosedError
from holdfast.v1.gate_service_pb2_grpc import GateServiceStub
from holdfast.v1.operations_service_pb2_grpc import OperationsServiceStub
from holdfast.v1.run_service_pb2_grpc import RunServiceStub
from holdfast.v1.worker_service_pb2_grpc import WorkerServiceStub
from holdfast.v1.workflow_service_pb2_grpc import WorkflowServiceStub

__all__ = ["CHANNEL_OPTIONS", "Connection", "OnConnection", "actor_metadata"]

# The server accepts a ping every 10 s; 30 s finds a dead connection without being a load.
CHANNEL_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    # The library waits for the answer to a ping by this one, and a minute without.
    ("grpc.http2.ping_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.max_send_message_length", MESSAGE_MAX_BYTES),
    ("grpc.max_receive_message_length", MESSAGE_MAX_BYTES),
    # A server that is back is found within 2 s; the library's own waits grow to 2 minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    # Each client has a connection of its own; otherwise the process would share one.
    ("grpc.use_local_subchannel_pool", 1),
    # Retries are decided here, where it is known what may be repeated.
    ("grpc.service_config_disable_resolution", 1),
)
_PLAIN = string.ascii_letters + string.digits + " !#$&'()*+,-./:;<=>?@[]^_`{|}~"

RequestT = TypeVar("RequestT", bound=Message)
ResponseT = TypeVar("ResponseT", bound=Message)
OnConnection = Callable[[bool, str], None]
"""Called with True when a server answers again, with False and a sentence when none does."""

_log = logging.getLogger("holdfast.client")


def actor_metadata(actor: str | None) -> tuple[tuple[str, str], ...]:
    """Return the metadata that claims who calls: the given name, else that of the user of the operating system.

    What is not printable ASCII, and `%`, travels percent-encoded as UTF-8.
    """
    return (("holdfast-actor", quote(_user() if actor is None else actor, safe=_PLAIN)),)


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container may run under a number without a name
        return ""


class Connection:
    """The channel of a client and the rules of calling over it. It belongs to the event loop that first uses it.

    Attributes:
        around_call: Makes what is entered around each `call`, with all its tries; for whoever has to know that one is
            on its way.
    """

    def __init__(
        self,
        target: str,
        *,
        namespace: str,
        actor: str | None,
        timeout_s: float,
        credentials: grpc.ChannelCredentials | None = None,
        backoff: BackoffPolicy | None = None,
        random: Callable[[], float] = random_module.random,
        on_connection: OnConnection | None = None,
    ) -> None:
        self.target = target
        self.namespace = namespace
        self.actor = actor
        self.timeout_s = timeout_s
        self.credentials = credentials
        self.backoff_policy = backoff or BackoffPolicy()
        self.random = random
        self.metadata = actor_metadata(actor)
        self.around_call: Callable[[], AbstractContextManager[object]] = nullcontext
        self._on_connection = on_connection
        self._connected: bool | None = None
        self._closed = False

    @cached_property
    def channel(self) -> aio.Channel:
        """The channel, made inside the running loop at first use."""
        if self._closed:
            raise ClientClosedError("the client is closed")
        if self.credentials is None:
            return aio.insecure_channel(self.target, options=CHANNEL_OPTIONS)
        return aio.secure_channel(self.target, self.credentials, options=CHANNEL_OPTIONS)

    @cached_property
    def workflows(self) -> WorkflowServiceStub:
        """Stub of WorkflowService."""
        return WorkflowServiceStub(self.channel)

    @cached_property
    def runs(self) -> RunServiceStub:
        """Stub of RunService."""
        return RunServiceStub(self.channel)

    @cached_property
    def gates(self) -> GateServiceStub:
        """Stub of GateService."""
        return GateServiceStub(self.channel)

    @cached_property
    def workers(self) -> WorkerServiceStub:
        """Stub of WorkerService."""
        return WorkerServiceStub(self.channel)

    @cached_property
    def operations(self) -> OperationsServiceStub:
        """Stub of OperationsService."""
        return OperationsServiceStub(self.channel)

    def backoff(self) -> Backoff:
        """Return a new sequence of waits."""
        return Backoff(self.backoff_policy, self.random)

    async def close(self) -> None:
        """Close the channel; calls that are open end with ClientClosedError."""
        self._closed = True
        if "channel" in self.__dict__:
            await self.channel.close()

    async def call_once(
        self, method: aio.UnaryUnaryMultiCallable[RequestT, ResponseT], request: RequestT, timeout_s: float | None
    ) -> ResponseT:
        """Make one call without a retry.

        Raises:
            aio.AioRpcError: It failed.
            ClientClosedError: The client was closed meanwhile.
        """
        if self._closed:
            raise ClientClosedError("the client is closed")
        call = method(request, timeout=timeout_s, metadata=self.metadata)
        try:
            response = await call
        except asyncio.CancelledError:
            if self._closed_meanwhile():
                raise ClientClosedError("the client was closed during the call") from None
            raise
        except aio.AioRpcError as fault:
            self.note_failure(fault)
            raise
        finally:
            call.cancel()  # nothing else ends a call that is left
        self.note_success()
        return response

    async def call(
        self,
        method: aio.UnaryUnaryMultiCallable[RequestT, ResponseT],
        request: RequestT,
        *,
        timeout_s: float | None = None,
    ) -> ResponseT:
        """Make a call that may be repeated, and repeat it while no server is there and time is left.

        Args:
            method: The RPC; it reads, or its request carries a `request_id`.
            request: The request.
            timeout_s: Longest time with all tries, in seconds; None for the client's own.

        Raises:
            ServerError: The server refused it, or none could be reached in time (`UnavailableError`).
            ClientClosedError: The client was closed meanwhile.
        """
        now = asyncio.get_running_loop().time
        due = now() + (self.timeout_s if timeout_s is None else timeout_s)
        backoff = self.backoff()
        with self.around_call():
            while True:
                try:
                    return await self.call_once(method, request, max(due - now(), 0.001))
                except aio.AioRpcError as fault:
                    wait_s = backoff.next_s()
                    if not is_transient(fault) or now() + wait_s >= due:
                        raise error_of_rpc(fault, self.target) from fault
                await asyncio.sleep(wait_s)

    async def stream(
        self, begin: Callable[[], "aio.UnaryStreamCall[RequestT, ResponseT]"], *, endless: bool
    ) -> AsyncIterator[ResponseT]:
        """Yield the messages of a server stream; when the server is lost, open it again where it stood, for ever.

        Args:
            begin: Opens the stream behind what was already yielded.
            endless: True for a stream that the server only ends when it goes down.

        Raises:
            ServerError: The server refused it.
        """
        backoff = self.backoff()
        while not self._closed:
            call = begin()
            try:
                async for message in call:
                    backoff.reset()
                    self.note_success()
                    yield message
            except asyncio.CancelledError:
                if self._closed_meanwhile():
                    raise ClientClosedError("the client was closed during the call") from None
                raise
            except aio.AioRpcError as fault:
                self.note_failure(fault)
                if not is_transient(fault):
                    raise error_of_rpc(fault, self.target) from fault
            else:
                if not endless:
                    return
            finally:
                call.cancel()
            await asyncio.sleep(backoff.next_s())
        raise ClientClosedError("the client is closed")

    def _closed_meanwhile(self) -> bool:
        """Return whether a call was cancelled because the channel closed, not because its caller was told to stop."""
        task = asyncio.current_task()
        return self._closed and (task is None or task.cancelling() == 0)

    def note_success(self) -> None:
        """Remember that a server answers, and tell whoever wants to know."""
        if self._connected is not True:
            if self._connected is False:
                _log.info("a server answers at %s again", self.target)
            self._connected = True
            if self._on_connection is not None:
                self._on_connection(True, "")  # noqa: FBT003 - the shape of the hook

    def note_failure(self, fault: aio.AioRpcError) -> None:
        """Remember that no server answers, if that is what the fault says, and tell whoever wants to know."""
        if fault.code() is grpc.StatusCode.UNAVAILABLE and self._connected is not False:
            self._connected = False
            _log.warning("no server answers at %s, trying again: %s", self.target, fault.details())
            if self._on_connection is not None:
                self._on_connection(False, fault.details() or "")  # noqa: FBT003 - the shape of the hook
