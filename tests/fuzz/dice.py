"""Requests nobody would send: made from the descriptors, or a sound one with a hostile field, or its bytes changed."""

import random
from collections.abc import Callable, Sequence
from typing import Any

from google.protobuf.descriptor import FieldDescriptor, MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from holdfast.v1 import (
    gate_service_pb2,
    operations_service_pb2,
    run_service_pb2,
    worker_service_pb2,
    workflow_service_pb2,
)
from tests.fuzz.hostile import DOCUMENTS, JSON_TEXTS, QUERIES, RUNNING

__all__ = ["METHODS", "Dice", "changed_bytes", "path_of"]

FILES = (gate_service_pb2, operations_service_pb2, run_service_pb2, worker_service_pb2, workflow_service_pb2)
METHODS: list[MethodDescriptor] = [
    method for file in FILES for service in file.DESCRIPTOR.services_by_name.values() for method in service.methods
]
DEEPEST = 4
MESSAGE_BYTES = 48 * 1024 * 1024
"""What the transport takes; above that it answers by itself."""
WORDS = ("", "default", "fuzzed", "go", "other", "q", "ask", "hold", "work", "a b", "\0", "нет", "%s", "../x", "a\n")
LONG = ("x" * 129, "x" * 200, "ф" * 1_000, "x" * 70_000)
NUMBERS = (0, 1, 2, 3, -1, 99, 1_000, 1_001, 10_001, 2**31 - 1, -(2**31))
WIDE = (*NUMBERS, 2**63 - 1, -(2**63), 10**15)


def path_of(method: MethodDescriptor) -> str:
    """The path of a method on the wire."""
    service = method.containing_service
    return f"/{service.full_name}/{method.name}"


class Dice:
    """Makes requests; the same seed makes the same ones.

    Args:
        seed: of all chance.
        runs: ids of runs that exist.
        tokens: tokens of leases that were given.
    """

    def __init__(self, seed: int, runs: Sequence[str], tokens: Sequence[bytes] = ()) -> None:
        self.random = random.Random(seed)  # noqa: S311 - no secret
        self._plausible: dict[str, tuple[Any, ...]] = {
            "run_id": tuple(runs),
            "run_ids": tuple(runs),
            "workflow": ("fuzzed",),
            "name": ("fuzzed", "go", "q"),
            "handlers": ("work",),
            "queue": ("", "default"),
            "id": ("fuzz",),
            "session_id": ("fuzz",),
            "step_path": ("ask", "hold", "work"),
            "key": ("", "k1", "k2"),
            "page_size": (0, 1, 100),
            "slots_total": (1, 10),
            "version": (0, 1),
            "revision": (1, 2),
            "page_token": ("",),
            "cursor": ("",),
            "traceparent": ("",),
            "namespace": ("",),
            "source": (RUNNING, *DOCUMENTS),
            "expression": QUERIES,
            "data": (b"1", b'{"n": 1}', b"null", b"x" * 10_000, *JSON_TEXTS),
            "json": ("1", '"x"', '{"type": "object"}', *(text.decode(errors="replace")[:2_000] for text in JSON_TEXTS)),
            "seconds": (0, 1, 60),
            "nanos": (0, 5_000),
            "token": (b"", b"x" * 60, *tokens),
            "value": (b"json/utf-8", b"text/markdown", b"bytes", b"\xff"),
        }
        self._words = [*WORDS, *LONG, "1", "[", '{"n": 1}', "input.n", "size(signals)", "bm9uZQ", *runs, *runs]

    def rarely(self, times: int = 4) -> bool:
        """True about once in so many times."""
        return self.random.randrange(times) == 0

    def message(self, kind: Any, depth: int = 0) -> Message:
        """A message with some of its fields set."""
        made: Message = GetMessageClass(kind)()
        for field in kind.fields:
            if self.rarely() or (depth > DEEPEST and field.message_type is not None):
                continue
            if field.name == "ref" and not self.rarely(10):
                continue
            self._set(made, field, depth)
        if hasattr(made, "namespace") and not self.rarely(10):
            made.namespace = ""
        return made

    def hostile_field(self, message: Message) -> Message:
        """The message with one of its fields, at any depth, made hostile."""
        made = type(message)()
        made.CopyFrom(message)
        at: Any = made
        while True:
            inner = [
                value for field, value in at.ListFields() if field.message_type is not None and not field.is_repeated
            ]
            if not inner or self.rarely(3):
                break
            at = self.random.choice(inner)
        if at.DESCRIPTOR.fields:
            self._spoil(at, self.random.choice(at.DESCRIPTOR.fields))
        return made

    def _spoil(self, made: Any, field: FieldDescriptor) -> None:
        is_map = field.message_type is not None and field.message_type.GetOptions().map_entry
        if is_map or field.message_type is not None:
            made.ClearField(field.name)
            self._set(made, field, 0)
        elif field.is_repeated:
            count = self.random.choice((0, 1, 300, 1_000, 1_001, 10_001))
            odd = self._odd(field)
            most = MESSAGE_BYTES // (len(odd) * 2 + 2 if isinstance(odd, str | bytes) else 10)
            made.ClearField(field.name)
            getattr(made, field.name).extend([odd] * min(count, most))
        else:
            setattr(made, field.name, self._odd(field))

    def _odd(self, field: FieldDescriptor) -> Any:
        if field.type == FieldDescriptor.TYPE_STRING:
            return self.random.choice((*self._words, *LONG, *DOCUMENTS))
        if field.type == FieldDescriptor.TYPE_BYTES:
            return self.random.choice((b"\xff\xfe", b"\0" * 100, b"x" * 100_000, *JSON_TEXTS))
        return self._scalar(field)

    def _set(self, made: Message, field: FieldDescriptor, depth: int) -> None:
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            entries = getattr(made, field.name)
            value = field.message_type.fields_by_name["value"]
            for _ in range(self.random.randrange(3)):
                name = self.random.choice(("encoding", "encoding", "team", "", "A b"))
                if value.message_type is not None:
                    entries[name].CopyFrom(self.message(value.message_type, depth + 1))
                else:
                    entries[name] = self._scalar(value)
        elif field.is_repeated:
            values = [self._value(field, depth) for _ in range(self.random.choice((0, 1, 1, 2, 5)))]
            getattr(made, field.name).extend(values)
        elif field.message_type is not None:
            getattr(made, field.name).CopyFrom(self.message(field.message_type, depth + 1))
        else:
            setattr(made, field.name, self._scalar(field))

    def _value(self, field: FieldDescriptor, depth: int) -> Any:
        return self._scalar(field) if field.message_type is None else self.message(field.message_type, depth + 1)

    def _scalar(self, field: FieldDescriptor) -> Any:
        plausible = self._plausible.get(field.name)
        if plausible is not None and not self.rarely(12):
            found = self.random.choice(plausible)
            if isinstance(found, bytes) is (field.type == FieldDescriptor.TYPE_BYTES):
                return found
        if field.type == FieldDescriptor.TYPE_STRING:
            return self.random.choice(self._words)
        if field.type == FieldDescriptor.TYPE_BYTES:
            return self.random.choice(self._words).encode()
        if field.type == FieldDescriptor.TYPE_BOOL:
            return self.rarely(2)
        if field.type == FieldDescriptor.TYPE_DOUBLE:
            return self.random.choice((0.0, -1.0, 1e308, float("inf"), float("nan")))
        if field.type in (FieldDescriptor.TYPE_INT64, FieldDescriptor.TYPE_SINT64):
            return self.random.choice(WIDE)
        if field.type in (FieldDescriptor.TYPE_UINT64, FieldDescriptor.TYPE_UINT32):
            return self.random.choice((0, 1, 1_000, 2**32 - 1))
        if field.enum_type is not None:
            return self.random.choice((0, 1, 2, 3, 4, 5)) if not self.rarely(12) else self.random.choice((99, -1))
        return self.random.choice(NUMBERS)


def changed_bytes(data: bytes, chance: random.Random) -> bytes:
    """Bytes with a few changes: flipped, cut, repeated, moved, made up."""
    made = bytearray(data)
    changes: tuple[Callable[[], None], ...] = (
        lambda: made.__setitem__(chance.randrange(len(made)), chance.randrange(256)) if made else None,
        lambda: made.__delitem__(slice(chance.randrange(len(made) + 1), None)),
        lambda: made.extend(made[: chance.randrange(64)] * chance.randrange(4)),
        lambda: made.__setitem__(
            slice(at := chance.randrange(len(made) + 1), at), chance.randbytes(chance.randrange(9))
        ),
        lambda: made.__delitem__(slice(at := chance.randrange(len(made) + 1), at + chance.randrange(9))),
        lambda: made.__setitem__(slice(at := chance.randrange(len(made) + 1), at + 1), b"\xff" * 10),
    )
    for _ in range(chance.choice((1, 1, 2, 4, 8))):
        chance.choice(changes)()
    return bytes(made)
