"""Calls between processes: they take time, get lost on either way, come late, and end with who makes or serves them.

`Transport` stands where the server puts its gRPC server, so everything above it is the server's own: services, guards,
serializers, statuses.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Generic, Protocol, TypeVar

import grpc
from google.protobuf.message import Message

from holdfast.client.status import error_of_rpc, lost_the_server
from tests.simulation.loop import PROCESS, Process, SimulatedLoop

__all__ = ["CallFailed", "Network", "Stream", "Transport"]

M = TypeVar("M", bound=Message)


class Listener(Protocol):
    """Who hears what the server says."""

    def answered(self, method: str, request: Any, answer: Any) -> None:
        """An answer, a message of a stream, or CallFailed leaves it."""


class CallFailed(Exception):
    """A call that ended with a status; it has the face of a `grpc.Call`, so that the SDK can read it."""

    def __init__(self, code: grpc.StatusCode, details: str, trailers: Sequence[tuple[str, bytes]] = ()) -> None:
        super().__init__(f"{code.name}: {details}")
        self._code = code
        self._details = details
        self._trailers = trailers

    def code(self) -> grpc.StatusCode:
        return self._code

    def details(self) -> str:
        return self._details

    def trailing_metadata(self) -> Sequence[tuple[str, bytes]]:
        return self._trailers

    @property
    def is_lost(self) -> bool:
        """Whether nobody knows if the call arrived."""
        return lost_the_server(self)  # type: ignore[arg-type]

    @property
    def reason(self) -> str:
        """The server's reason; empty if it was not the server that refused."""
        return error_of_rpc(self).reason  # type: ignore[arg-type]


class _Call:
    """A call on its way.

    Attributes:
        left: nobody waits for the answer any more.
        void: it was taken back, or its connection is lost: nothing more gets through.
        answered: the server has said all it has to say.
        serving: the task that serves it.
    """

    __slots__ = (
        "actor",
        "answered",
        "data",
        "delivered_s",
        "future",
        "left",
        "method",
        "owner",
        "queue",
        "serving",
        "void",
    )

    def __init__(self, method: str, data: bytes, actor: str, owner: Process, *, streams: bool) -> None:
        loop = asyncio.get_running_loop()
        self.method = method
        self.data = data
        self.actor = actor
        self.owner = owner
        self.future: asyncio.Future[bytes] = loop.create_future()
        self.queue: asyncio.Queue[bytes | CallFailed | None] | None = asyncio.Queue() if streams else None
        self.delivered_s = 0.0
        self.left = self.void = self.answered = False
        self.serving: asyncio.Task[None] | None = None

    def fail(self, fault: CallFailed) -> None:
        """Ends it for its caller."""
        self.left = True
        if self.queue is not None:
            self.queue.put_nowait(fault)
        elif not self.future.done():
            self.future.set_exception(fault)

    def deliver(self, data: bytes | None) -> None:
        """Brings the caller the answer, or one message of a stream and in the end None."""
        if self.left:
            return
        if self.queue is not None:
            self.queue.put_nowait(data)
        elif data is not None and not self.future.done():
            self.future.set_result(data)


@dataclass(slots=True)
class Troubles:
    """How much goes wrong at present, as shares of calls.

    Attributes:
        lost_requests: never arrive; the caller hears of it.
        lost_answers: were served, but the caller hears of a lost connection.
        late_requests: arrive when the caller has given them up.
        resets: lose their connection while they are served.
        slow: take seconds instead of milliseconds.
    """

    lost_requests: float = 0.0
    lost_answers: float = 0.0
    late_requests: float = 0.0
    resets: float = 0.0
    slow: float = 0.0


class Network:
    """All connections.

    Args:
        loop: where time passes.
        chance: decides.
        note: writes a line of the trace.

    Attributes:
        troubles: what goes wrong at present.
        cut_off: processes that reach nobody.
    """

    def __init__(self, loop: SimulatedLoop, chance: Random, note: Callable[[str, str], None] | None) -> None:
        self._loop = loop
        self._chance = chance
        self._note = note
        self._process = Process(loop, "network")
        self._calls: dict[_Call, None] = {}
        self.troubles = Troubles()
        self.cut_off: set[str] = set()
        self.listener: Transport | None = None

    # -- for callers -------------------------------------------------------------------------------------------------

    async def call(self, method: str, request: Message, answer: type[M], timeout_s: float, actor: str = "") -> M:
        """Makes a call.

        Raises:
            CallFailed: it has no answer, or was refused.
        """
        call = self._begin(method, request, actor, streams=False)
        timer = self._loop.call_later(timeout_s, self._expire, call)
        try:
            data = await call.future
        except asyncio.CancelledError:
            self._leave(call)
            raise
        finally:
            timer.cancel()
        return answer.FromString(data)

    def open(self, method: str, request: Message, answer: type[M], actor: str = "") -> "Stream[M]":
        """Makes a call with a stream of answers."""
        return Stream(self, self._begin(method, request, actor, streams=True), answer)

    def _begin(self, method: str, request: Message, actor: str, *, streams: bool) -> _Call:
        owner = PROCESS.get()
        assert owner is not None, "calls are made by processes"
        call = _Call(method, request.SerializeToString(), actor, owner, streams=streams)
        self._calls[call] = None
        if self._note is not None:
            self._note(owner.name, f"{method.partition('/')[2]} {_short(request)}")
        troubles, delay_s = self.troubles, self._delay_s()
        if owner.name in self.cut_off:
            self._process.later(self._chance.random() * 5, self._fail, call)
        elif self._strikes(troubles.lost_requests):
            self._process.later(delay_s, self._fail, call)
        elif self._strikes(troubles.late_requests):
            self._process.later(delay_s, self._fail, call)
            self._process.later(delay_s + self._chance.random() * 5, self._arrive, call)
        else:
            if self._strikes(troubles.resets):
                self._process.later(delay_s + self._chance.random() * 2, self._break, call)
            self._process.later(delay_s, self._arrive, call)
        return call

    def _delay_s(self) -> float:
        if self._strikes(self.troubles.slow):
            return self._chance.random() * 3
        return self._chance.choice((0.000_1, 0.000_3, 0.001, 0.003))

    def _strikes(self, share: float) -> bool:
        return share > 0.0 and self._chance.random() < share

    def _expire(self, call: _Call) -> None:
        if not call.future.done():
            call.fail(CallFailed(grpc.StatusCode.DEADLINE_EXCEEDED, "no answer in time"))
            self._leave(call)

    def _leave(self, call: _Call) -> None:
        """The caller does not wait any more, which the server learns if it can be reached."""
        call.left = True
        if call.owner.name not in self.cut_off:
            self._process.later(self._delay_s(), self._cancel, call)

    def _cancel(self, call: _Call) -> None:
        self._calls.pop(call, None)
        call.void = True
        if call.serving is not None:
            call.serving.cancel()

    def _fail(self, call: _Call) -> None:
        if not call.left:
            if self._note is not None:
                self._note(call.owner.name, f"{call.method.partition('/')[2]} has no answer")
            call.fail(CallFailed(grpc.StatusCode.UNAVAILABLE, "connection lost"))
        self._calls.pop(call, None)

    def _break(self, call: _Call) -> None:
        if call in self._calls:
            self._cancel(call)
            self._fail(call)

    def _arrive(self, call: _Call) -> None:
        if self.listener is None:
            self._fail(call)
        elif not call.void:
            self.listener.begin(call)

    def died(self, owner: Process) -> None:
        """A process is no more; whether the server learns of it depends on how it died."""
        learns = self._chance.random() < 0.7
        for call in [call for call in self._calls if call.owner is owner]:
            if learns:
                self._leave(call)

    # -- for the server ----------------------------------------------------------------------------------------------

    def answered(self, call: _Call, outcome: bytes | CallFailed | None, *, last: bool = True) -> None:
        """Something leaves the server for a caller."""
        if last:
            call.answered = True
            self._calls.pop(call, None)
        if call.left or call.void:
            return
        # What is sent over one call arrives in its order.
        call.delivered_s = max(call.delivered_s, self._loop.time() + self._delay_s())
        delay_s = call.delivered_s - self._loop.time()
        if call.owner.name in self.cut_off or self._strikes(self.troubles.lost_answers):
            call.void = True
            self._process.later(delay_s, self._fail, call)
            self._process.later(delay_s, self._cancel, call)
        else:
            deliver = self._refuse if isinstance(outcome, CallFailed) else _Call.deliver
            self._process.later(delay_s, deliver, call, outcome)

    def _refuse(self, call: _Call, fault: CallFailed) -> None:
        if not call.left:
            if self._note is not None:
                self._note(call.owner.name, f"{call.method.partition('/')[2]} is refused: {fault}")
            call.fail(fault)

    def hung_up(self, calls: Sequence[_Call]) -> None:
        """The server is no more; those who wait hear of it."""
        for call in calls:
            if not call.answered:
                self._process.later(self._delay_s(), self._fail, call)


class Stream(Generic[M]):
    """The messages of one call, as they come."""

    def __init__(self, network: Network, call: _Call, answer: type[M]) -> None:
        self._network = network
        self._call = call
        self._answer = answer

    async def next(self) -> M | None:
        """The next message; None after the last.

        Raises:
            CallFailed: there will be no more.
        """
        assert self._call.queue is not None
        found = await self._call.queue.get()
        if isinstance(found, CallFailed):
            raise found
        return None if found is None else self._answer.FromString(found)

    def leave(self) -> None:
        """Listens no longer."""
        self._network._leave(self._call)


class _Context:
    """What a servicer sees of a call besides its request."""

    __slots__ = ("_actor",)

    def __init__(self, actor: str) -> None:
        self._actor = actor

    def invocation_metadata(self) -> Sequence[tuple[str, str]]:
        return (("holdfast-actor", self._actor),) if self._actor else ()

    async def abort(self, code: grpc.StatusCode, details: str, trailers: Sequence[tuple[str, bytes]]) -> None:
        raise CallFailed(code, details, trailers)


class Transport:
    """What the server takes for a gRPC server.

    Args:
        network: where calls come from.
        on_listen: told when it begins to listen.
        hears: told of everything that leaves it.
    """

    def __init__(self, network: Network, on_listen: Callable[[], None], hears: Listener) -> None:
        process = PROCESS.get()
        assert process is not None, "servers run in processes"
        self._process = process
        self._network = network
        self._on_listen = on_listen
        self._hears = hears
        self._methods: dict[str, Any] = {}
        self._calls: dict[_Call, asyncio.Task[None]] = {}

    def add_generic_rpc_handlers(self, handlers: object) -> None:
        """Services come by the other way, too."""

    def add_registered_method_handlers(self, service: str, methods: Mapping[str, Any]) -> None:
        for name, method in methods.items():
            self._methods[f"{service}/{name}"] = method

    def add_insecure_port(self, _address: str) -> int:
        return 1

    async def start(self) -> None:
        self._network.listener = self
        self._on_listen()

    async def stop(self, grace_s: float) -> None:
        """Takes no more calls; those that are served have their grace."""
        self.hang_up()
        calls = dict(self._calls)
        if calls:
            await asyncio.wait(calls.values(), timeout=grace_s)
        for serving in calls.values():
            serving.cancel()
        await asyncio.gather(*calls.values(), return_exceptions=True)
        self._network.hung_up(list(calls))

    def hang_up(self) -> None:
        """Listens no longer."""
        if self._network.listener is self:
            self._network.listener = None

    def die(self) -> None:
        """The process was killed."""
        self.hang_up()
        self._network.hung_up(list(self._calls))

    def begin(self, call: _Call) -> None:
        """Serves a call that has arrived."""
        call.serving = self._calls[call] = self._process.spawn(self._serve(call), call.method)

    async def _serve(self, call: _Call) -> None:
        method = self._methods[call.method]
        context = _Context(call.actor)
        request = method.request_deserializer(call.data)
        try:
            if method.response_streaming:
                async for message in method.unary_stream(request, context):
                    self._hears.answered(call.method, request, message)
                    self._network.answered(call, method.response_serializer(message), last=False)
                self._network.answered(call, None)
            else:
                answer = await method.unary_unary(request, context)
                self._hears.answered(call.method, request, answer)
                self._network.answered(call, method.response_serializer(answer))
        except CallFailed as fault:
            self._hears.answered(call.method, request, fault)
            self._network.answered(call, fault)
        finally:
            del self._calls[call]


def _short(request: Message) -> str:
    """A request in one line."""
    return " ".join(str(request).split())[:300]
