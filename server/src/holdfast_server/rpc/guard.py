"""Refuses messages that cannot be taken in like everything else that is wrong: with a reason, a limit and a size.

The transport would refuse them without. So it lets messages through up to a few times the limit, and what is over the
limit is not even parsed. What does not parse reaches its method too, as a mark in place of a request.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from grpc import aio

__all__ = ["TRANSPORT_FACTOR", "Guard", "Malformed", "TooLarge"]

TRANSPORT_FACTOR = 4
"""How many times the limit the transport takes."""


@dataclass(frozen=True, slots=True)
class TooLarge:
    """What a method gets in place of a request that is over the limit."""

    size_bytes: int
    limit_bytes: int


@dataclass(frozen=True, slots=True)
class Malformed:
    """What a method gets in place of bytes that are not its request."""

    message: str


class Guard:
    """What services are added to in place of the server.

    Args:
        server: where they go.
        limit_bytes: size of the largest message.
    """

    def __init__(self, server: aio.Server, limit_bytes: int) -> None:
        self._server = server
        self._limit_bytes = limit_bytes

    def add_generic_rpc_handlers(self, handlers: object) -> None:
        """Generated code adds each service twice; the other way has the name it is added by."""

    def add_registered_method_handlers(self, service: str, methods: Mapping[str, Any]) -> None:
        """Adds the methods of a service."""
        guarded = {name: self._guarded(method) for name, method in methods.items()}
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, guarded),))
        self._server.add_registered_method_handlers(service, guarded)

    def _guarded(self, method: Any) -> Any:
        parse: Callable[[bytes], object] = method.request_deserializer
        limit = self._limit_bytes

        def guarded(data: bytes) -> object:
            if len(data) > limit:
                return TooLarge(len(data), limit)
            try:
                return parse(data)
            except DecodeError as error:
                return Malformed(str(error))

        return method._replace(request_deserializer=guarded)
