"""The thread that keeps leases alive. It has a channel of its own, so a busy event loop loses no lease."""

import logging
import threading
from collections.abc import Callable
from typing import Any, Protocol

import grpc

from holdfast.client.connection import CHANNEL_OPTIONS
from holdfast.client.status import error_of_rpc
from holdfast.errors import ServerError
from holdfast.v1.worker_service_pb2 import HeartbeatRequest, HeartbeatResponse
from holdfast.v1.worker_service_pb2_grpc import WorkerServiceStub
from holdfast.worker.ledger import Beat, Ledger, Stop

__all__ = ["Heartbeats", "OnBeat", "SendBeat", "grpc_sender"]

TIMEOUT_S = 5.0
# After a failure the next try comes this soon, well within a lease.
RETRY_S = 1.0
JOIN_S = 2.0

_log = logging.getLogger("holdfast.worker")


class SendBeat(Protocol):
    """Sends one heartbeat. It may raise ServerError."""

    def __call__(self, request: HeartbeatRequest, timeout_s: float) -> HeartbeatResponse:
        """Send it and return the answer."""

    def close(self) -> None:
        """Give the connection up; a call under way ends."""


class OnBeat(Protocol):
    """Hears of heartbeats, in the thread of the heartbeats."""

    def __call__(self, server_id: str, stops: list[Stop], *, everything: bool) -> None:
        """Take in which server answered and which handlers shall stop."""


class Heartbeats:
    """Sends heartbeats from a thread of its own until it is stopped."""

    def __init__(
        self,
        ledger: Ledger,
        send: SendBeat,
        *,
        clock: Callable[[], float],
        on_beat: OnBeat,
        on_sync_failed: Callable[[ServerError], None],
    ) -> None:
        """Build it.

        Args:
            ledger: What the worker holds.
            send: Sends one heartbeat.
            clock: Monotonic time in seconds.
            on_beat: Hears of every answer.
            on_sync_failed: Hears of a list of everything that did not arrive.
        """
        self._ledger = ledger
        self._send = send
        self._clock = clock
        self._on_beat = on_beat
        self._on_sync_failed = on_sync_failed
        self._changed = threading.Condition()
        self._sync_asked = False
        self._hurried = False
        self._stopped = False
        self._failing = False
        self._thread = threading.Thread(target=self._beat_for_ever, name="holdfast-heartbeats", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def sync(self) -> None:
        """Send the heartbeat that lists everything, now."""
        with self._changed:
            self._sync_asked = True
            self._changed.notify()

    def hurry(self) -> None:
        """Look again when the next heartbeat is due, because that may be sooner now."""
        with self._changed:
            self._hurried = True
            self._changed.notify()

    def stop(self) -> None:
        """End the thread; a call under way is left."""
        with self._changed:
            self._stopped = True
            self._changed.notify()
        self._send.close()
        if self._thread.is_alive():
            self._thread.join(JOIN_S)

    def _beat_for_ever(self) -> None:
        last_s = self._clock()
        while True:
            with self._changed:
                while not self._stopped and not self._sync_asked:
                    wait_s = self._ledger.wait_s(self._clock() - last_s)
                    if self._failing:
                        wait_s = min(wait_s, max(RETRY_S - (self._clock() - last_s), 0.0))
                    if wait_s <= 0:
                        break
                    self._hurried = False
                    self._changed.wait_for(lambda: self._stopped or self._sync_asked or self._hurried, wait_s)
                if self._stopped:
                    return
                everything, self._sync_asked = self._sync_asked, False
            last_s = self._clock()
            if everything:
                self._sync()
            else:
                self._beat()

    def _sync(self) -> None:
        beat = self._ledger.everything()
        try:
            response = self._send(beat.request, TIMEOUT_S)
        except ServerError as fault:
            self._note(fault)
            self._on_sync_failed(fault)
        else:
            self._take(beat, response, everything=True)

    def _beat(self) -> None:
        # Those that shared a heartbeat with details the server refuses are not to wait for their next turn.
        again = True
        while again:
            again = False
            for beat in self._ledger.beats():
                again |= self._send_one(beat)

    def _send_one(self, beat: Beat) -> bool:
        """Send a heartbeat and return whether it is worth another try at once."""
        try:
            response = self._send(beat.request, TIMEOUT_S)
        except ServerError as fault:
            self._note(fault)
            dropped = self._ledger.failed(beat, [one.field for one in fault.violations])
            for held in dropped:
                _log.error("the details of a heartbeat of %s are dropped: %s", held, fault.message)
            return bool(dropped)
        self._take(beat, response, everything=False)
        return False

    def _take(self, beat: Beat, response: HeartbeatResponse, *, everything: bool) -> None:
        self._note(None)
        stops = self._ledger.answered(beat, response)
        self._on_beat(response.server_id, stops, everything=everything)

    def _note(self, fault: ServerError | None) -> None:
        if fault is not None and not self._failing and not self._stopped:
            _log.warning("heartbeats do not arrive, trying again: %s", fault)
        self._failing = fault is not None


class _GrpcSender:
    def __init__(
        self, target: str, credentials: grpc.ChannelCredentials | None, metadata: tuple[tuple[str, str], ...]
    ) -> None:
        self._target = target
        self._metadata = metadata
        if credentials is None:
            self._channel = grpc.insecure_channel(target, options=CHANNEL_OPTIONS)
        else:
            self._channel = grpc.secure_channel(target, credentials, options=CHANNEL_OPTIONS)
        # The generated types know only the asyncio channel; the stub itself works over both.
        channel: Any = self._channel
        self._method: Any = WorkerServiceStub(channel).Heartbeat

    def __call__(self, request: HeartbeatRequest, timeout_s: float) -> HeartbeatResponse:
        try:
            response: HeartbeatResponse = self._method(request, timeout=timeout_s, metadata=self._metadata)
        except grpc.RpcError as fault:
            call: Any = fault  # what is raised for a status is a grpc.Call as well
            raise error_of_rpc(call, self._target) from fault
        except ValueError as fault:  # the channel was closed
            raise ServerError(str(fault), code="CANCELLED") from fault
        return response

    def close(self) -> None:
        self._channel.close()


def grpc_sender(
    target: str, credentials: grpc.ChannelCredentials | None, metadata: tuple[tuple[str, str], ...]
) -> SendBeat:
    """Return what sends heartbeats over a channel of its own."""
    return _GrpcSender(target, credentials, metadata)
