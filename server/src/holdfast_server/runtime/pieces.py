"""How large answers get once their payloads are in them, and how to cut them so that each fits a message."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

from google.protobuf.message import Message

from holdfast.v1.payload_pb2 import Payload

__all__ = ["PIECE_BYTES", "filled_bytes", "in_pieces", "payloads_in", "plain_bytes"]

M = TypeVar("M", bound=Message)

PIECE_BYTES = 8 * 1024 * 1024
"""Answers that may come in pieces have this size at most, unless one item alone is larger."""


def payloads_in(message: Message) -> Iterable[Payload]:
    """All payloads inside a message, at any depth, that are references."""
    for descriptor, value in message.ListFields():
        if descriptor.message_type is None:
            continue
        if descriptor.message_type.GetOptions().map_entry:
            continue
        for child in value if descriptor.is_repeated else (value,):
            if isinstance(child, Payload):
                if child.HasField("ref"):
                    yield child
            else:
                yield from payloads_in(child)


def plain_bytes(message: Message) -> int:
    """Size of a message as it is."""
    return message.ByteSize()


def filled_bytes(message: Message) -> int:
    """About the size of a message once the data of its payloads is in it."""
    return message.ByteSize() + sum(payload.ref.size_bytes for payload in payloads_in(message))


def in_pieces(
    messages: Sequence[M], size_of: Callable[[Message], int], most: int | None = None
) -> Iterator[Sequence[M]]:
    """The messages in order, cut so that each piece fits: by size, and to `most` messages; none is empty."""
    begin = 0
    size = 0
    for position, message in enumerate(messages):
        weight = size_of(message)
        if position > begin and (size + weight > PIECE_BYTES or position - begin == most):
            yield messages[begin:position]
            begin, size = position, 0
        size += weight
    if begin < len(messages):
        yield messages[begin:]
