"""Random requests to every method: whatever comes, the answer is a well-formed status, and the server stays well."""

import os
import random
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import FieldDescriptor, MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from grpc import aio

from holdfast import Client
from holdfast.v1 import (
    gate_service_pb2,
    operations_service_pb2,
    run_service_pb2,
    worker_service_pb2,
    workflow_service_pb2,
)
from holdfast.v1.operations_service_pb2 import GetServerInfoRequest, HealthState
from tests.integration.raw import Stubs

ROUNDS = int(os.environ.get("FUZZ_ROUNDS", "40"))
SEED = int(os.environ.get("FUZZ_SEED", "7"))
FILES = (gate_service_pb2, operations_service_pb2, run_service_pb2, worker_service_pb2, workflow_service_pb2)
METHODS: list[MethodDescriptor] = [
    method
    for file in FILES
    for service in file.DESCRIPTOR.services_by_name.values()
    for method in service.methods
    if not method.client_streaming
]
FUZZED = """
name: fuzzed
signals: [{name: go}, {name: other}]
queries: [{name: q, expression: "1"}]
steps:
  - {name: ask, gate: {title: Ask, decisions: [APPROVE, REJECT, EDIT, RESPOND, DELEGATE]}, input: {n: 1}}
  - {name: hold, wait: {signal: go}}
  - {name: work, task: {handler: work}, on_error: [{match: ["*"], review: {title: Bad}}]}
"""
DEEPEST = 4
FAULTY = {grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DATA_LOSS}


class Dice:
    """Makes values: plausible ones, odd ones, and ones that nobody would send."""

    def __init__(self, seed: int, runs: list[str]) -> None:
        self._random = random.Random(seed)  # noqa: S311 - no secret
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
            "source": (FUZZED, "name: a\nsteps: [{name: x, compute: {}}]"),
            "data": (b"1", b'{"n": 1}', b"null", b'"x"', b"[", b"x" * 10_000),
            "json": ("1", '"x"', '{"type": "object"}'),
            "seconds": (0, 1, 60),
            "nanos": (0, 5_000),
            "token": (b"", b"x" * 60),
        }
        words = (
            "",
            "default",
            "fuzzed",
            "go",
            "other",
            "q",
            "ask",
            "hold",
            "work",
            "x" * 200,
            "a b",
            "\0",
            "нет",
            "%s",
        )
        self._words = [*words, "1", "[", '{"n": 1}', "input.n", "size(signals)", "bm9uZQ", *runs, *runs]
        self._numbers = (0, 1, 2, 3, -1, 99, 1_000, 2**31 - 1, -(2**31))
        self._wide = (*self._numbers, 2**63 - 1, -(2**63), 10**15)

    def rarely(self, times: int = 4) -> bool:
        """True about once in so many times."""
        return self._random.randrange(times) == 0

    def message(self, kind: Any, depth: int = 0) -> Message:
        """A message with some of its fields set."""
        made: Message = GetMessageClass(kind)()
        for field in kind.fields:
            if self.rarely() or (depth > DEEPEST and field.message_type is not None):
                continue
            if field.name == "ref" and not self.rarely(10):
                continue
            self._set(made, field, depth)
        return made

    def _set(self, made: Message, field: FieldDescriptor, depth: int) -> None:
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            entries = getattr(made, field.name)
            value = field.message_type.fields_by_name["value"]
            for _ in range(self._random.randrange(3)):
                name = self._random.choice(("encoding", "team", "", "A b"))
                if value.message_type is not None:
                    entries[name].CopyFrom(self.message(value.message_type, depth + 1))
                else:
                    entries[name] = self._scalar(value)
        elif field.is_repeated:
            values = [self._value(field, depth) for _ in range(self._random.choice((0, 1, 1, 2, 5)))]
            getattr(made, field.name).extend(values)
        elif field.message_type is not None:
            getattr(made, field.name).CopyFrom(self.message(field.message_type, depth + 1))
        else:
            setattr(made, field.name, self._scalar(field))

    def _value(self, field: FieldDescriptor, depth: int) -> Any:
        return self._scalar(field) if field.message_type is None else self.message(field.message_type, depth + 1)

    def _scalar(self, field: FieldDescriptor) -> Any:
        if field.name in self._plausible and not self.rarely(12):
            return self._random.choice(self._plausible[field.name])
        if field.type == FieldDescriptor.TYPE_STRING:
            return self._random.choice(self._words)
        if field.type == FieldDescriptor.TYPE_BYTES:
            return self._random.choice(self._words).encode()
        if field.type == FieldDescriptor.TYPE_BOOL:
            return self.rarely(2)
        if field.type == FieldDescriptor.TYPE_INT64:
            return self._random.choice(self._wide)
        if field.enum_type is not None:
            return self._random.choice((0, 1, 2, 3, 4, 5)) if not self.rarely(12) else self._random.choice((99, -1))
        return self._random.choice(self._numbers)


def stub_of(stubs: Stubs, method: MethodDescriptor) -> Any:
    service = method.containing_service.name.removesuffix("Service").lower()
    return getattr(getattr(stubs, f"{service}s" if service != "operations" else service), method.name)


async def fault_of(call: Any, *, streams: bool) -> str:
    """What is not right with the answer, or with the first of a stream; a park that nothing ends is no fault."""
    try:
        if not streams:
            await call
        else:
            async for _ in call:
                break
            call.cancel()
    except aio.AioRpcError as error:
        told = f"{error.code()} {error.details()}"
        typed = any(key == "grpc-status-details-bin" for key, _ in error.trailing_metadata() or ())
        parked = error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        return "" if parked or (typed and error.code() not in FAULTY) else told
    return ""


@pytest.mark.asyncio
@pytest.mark.parametrize("method", METHODS, ids=[method.name for method in METHODS])
async def test_whatever_comes_the_answer_is_well_formed(client: Client, stubs: Stubs, method: MethodDescriptor) -> None:
    await client.register(FUZZED)
    runs = [(await client.start("fuzzed", {"n": 1})).run_id for _ in range(3)]
    await client.handle(runs[0]).terminate()
    dice = Dice(SEED, runs)
    for number in range(ROUNDS):
        request = dice.message(method.input_type)
        if hasattr(request, "namespace") and not dice.rarely(10):
            request.namespace = ""
        fault = await fault_of(stub_of(stubs, method)(request, timeout=0.3), streams=method.server_streaming)
        assert not fault, f"round {number}, {request}: {fault}"
    info = await stubs.operations.GetServerInfo(GetServerInfoRequest())
    assert info.health == HealthState.HEALTH_STATE_OK
