"""What the state of a run keeps of its events.

A message inside an event keeps in memory all that was written or read with it: some kilobytes for a payload of a
hundred bytes. So what is kept is copied; and what is kept of every step is packed, at a quarter of a message's size.
"""

from typing import TypeVar

from google.protobuf.message import Message

from holdfast.v1.actor_pb2 import Actor
from holdfast.v1.payload_pb2 import Payload

__all__ = ["actor_of", "kept", "packed", "payload_of"]

MessageT = TypeVar("MessageT", bound=Message)


def kept(message: MessageT) -> MessageT:
    """A copy that stands for itself."""
    made = type(message)()
    made.CopyFrom(message)
    return made


def packed(message: Payload | Actor) -> bytes:
    """A message as bytes; the same for equal messages."""
    return message.SerializeToString(deterministic=True)


def payload_of(data: bytes | None) -> Payload | None:
    """The payload that was packed."""
    return None if data is None else Payload.FromString(data)


def actor_of(data: bytes | None) -> Actor | None:
    """The actor that was packed."""
    return None if data is None else Actor.FromString(data)
