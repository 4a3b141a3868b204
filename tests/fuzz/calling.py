"""Calls with bytes of our choosing, and what is wrong with how they are answered."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import grpc
from google.protobuf.descriptor import MethodDescriptor
from grpc import aio

from holdfast.v1.definition_pb2 import Decision
from holdfast.v1.gate_service_pb2 import DecideGateRequest, GetGateRequest, ListGatesRequest, WatchGatesRequest
from holdfast.v1.operations_service_pb2 import GetServerInfoRequest, ListQueuesRequest, ListWorkersRequest
from holdfast.v1.payload_pb2 import Payload
from holdfast.v1.run_pb2 import RunState
from holdfast.v1.run_service_pb2 import (
    CancelRunRequest,
    CountRunsRequest,
    DeleteRunRequest,
    GetHistoryRequest,
    GetRunRequest,
    ListRunsRequest,
    PauseRunRequest,
    QueryRunRequest,
    ResumeRunRequest,
    RetryRunRequest,
    RunFilter,
    SignalRunRequest,
    SignalRunsRequest,
    StartRunRequest,
    StartRunsRequest,
    TerminateRunRequest,
    WaitRunRequest,
    WaitRunsRequest,
    WatchRunRequest,
    WatchRunsRequest,
)
from holdfast.v1.signal_pb2 import Signal
from holdfast.v1.step_action_pb2 import SkipStep, StepActionRequest
from holdfast.v1.task_pb2 import TaskResult, WorkerInfo
from holdfast.v1.worker_service_pb2 import (
    CompleteTasksRequest,
    DrainWorkerRequest,
    HeartbeatRequest,
    HeldTask,
    PollTasksRequest,
)
from holdfast.v1.workflow_service_pb2 import (
    GetWorkflowRequest,
    ListWorkflowsRequest,
    ListWorkflowVersionsRequest,
    RegisterWorkflowRequest,
    ValidateWorkflowRequest,
)
from tests.fuzz.dice import METHODS, Dice, changed_bytes, path_of
from tests.fuzz.hostile import RUNNING

__all__ = ["PATIENCE_S", "SORTS", "Caller", "Fault", "sound_requests"]

FAULTY = frozenset(
    {grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DATA_LOSS}
)
OWN_FAULT = "Internal error from Core"
"""What the client's library says when a stream it writes to has ended; no server sent it."""
PATIENCE_S = 0.3
"""A call that parks or streams is left after so long."""
SORTS = ("made", "spoilt", "changed", "odd metadata")
"""Messages made from the descriptors; sound ones with a hostile field, changed bytes, or hostile headers."""
ODD_METADATA: tuple[tuple[tuple[str, str | bytes], ...], ...] = (
    (("holdfast-actor", "x" * 300),),
    (("holdfast-actor", "%ff%00%0a"),),
    (("holdfast-actor", "a"), ("holdfast-actor", "b")),
    (("holdfast-actor-bin", b"\0\xff"),),
    (("x-large", "y" * 6_000),),
    tuple((f"x-{number}", "y") for number in range(200)),
    (("traceparent", "00-" + "f" * 200),),
)


@dataclass(frozen=True, slots=True)
class Fault:
    """A call that was not answered as it should be."""

    method: str
    sort: str
    request: bytes
    told: str


@dataclass
class Caller:
    """Makes calls and counts how they are answered.

    Args:
        channel: to the server.
        dice: makes requests.
        sound: a sound request of each method, by path.
    """

    channel: aio.Channel
    dice: Dice
    sound: dict[str, object]
    answers: Counter[str] = field(default_factory=Counter)

    async def call(self, method: MethodDescriptor, sort: str) -> Fault | None:
        """Makes one call of a sort; answers what is wrong with how it was answered."""
        metadata: tuple[tuple[str, str | bytes], ...] = ()
        sound = self.sound.get(path_of(method)) or self.dice.message(method.input_type)
        match sort:
            case "made":
                data = self.dice.message(method.input_type).SerializeToString()
            case "spoilt":
                data = self.dice.hostile_field(sound).SerializeToString()  # type: ignore[arg-type]
            case "changed":
                data = changed_bytes(sound.SerializeToString(), self.dice.random)  # type: ignore[attr-defined]
            case _:
                data = sound.SerializeToString()  # type: ignore[attr-defined]
                metadata = self.dice.random.choice(ODD_METADATA)
        told = await self._told(method, data, metadata)
        return Fault(method.name, sort, data, told) if told else None

    async def _told(self, method: MethodDescriptor, data: bytes, metadata: tuple[tuple[str, str | bytes], ...]) -> str:
        path = path_of(method)
        try:
            if method.client_streaming:
                several: aio.StreamStreamMultiCallable[bytes, bytes] = self.channel.stream_stream(path)
                stream = several(_several(data, self.dice.random), timeout=PATIENCE_S, metadata=metadata)
                async for _ in stream:
                    pass
            elif method.server_streaming:
                streamed: aio.UnaryStreamMultiCallable[bytes, bytes] = self.channel.unary_stream(path)
                async for _ in streamed(data, timeout=PATIENCE_S, metadata=metadata):
                    pass
            else:
                one: aio.UnaryUnaryMultiCallable[bytes, bytes] = self.channel.unary_unary(path)
                await one(data, timeout=PATIENCE_S * 10, metadata=metadata)
        except aio.AioRpcError as error:
            self.answers[error.code().name] += 1
            typed = any(key == "grpc-status-details-bin" for key, _ in error.trailing_metadata() or ())
            parked = error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            ended = method.client_streaming and error.details() == OWN_FAULT
            return (
                "" if parked or ended or (typed and error.code() not in FAULTY) else f"{error.code()} {error.details()}"
            )
        self.answers["OK"] += 1
        return ""


async def _several(data: bytes, chance: random.Random) -> AsyncIterator[bytes]:
    for _ in range(chance.choice((0, 1, 1, 3))):
        yield data
        await asyncio.sleep(0)


def sound_requests(run_id: str, closed: str, token: bytes) -> dict[str, object]:
    """A request of each method that does something, by path."""
    worker = WorkerInfo(id="fuzz", session_id="fuzz", language="test")
    payload = Payload(data=b'{"n": 1}')
    signal = Signal(name="other", payload=payload)
    made = (
        RegisterWorkflowRequest(source=RUNNING, request_id="fuzz"),
        ValidateWorkflowRequest(source=RUNNING),
        GetWorkflowRequest(name="fuzzed"),
        ListWorkflowsRequest(page_size=2),
        ListWorkflowVersionsRequest(name="fuzzed"),
        StartRunRequest(workflow="fuzzed", input=payload, signals=[signal]),
        StartRunsRequest(
            starts=[StartRunRequest(workflow="fuzzed", input=payload), StartRunRequest(workflow="nobody")]
        ),
        GetRunRequest(run_id=run_id),
        ListRunsRequest(filter=RunFilter(workflow="fuzzed"), page_size=2),
        CountRunsRequest(filter=RunFilter(states=[RunState.RUN_STATE_RUNNING])),
        WaitRunRequest(run_id=closed),
        WaitRunsRequest(run_ids=[closed, run_id, "nobody"]),
        WatchRunRequest(run_id=run_id, after_seq=1),
        WatchRunsRequest(filter=RunFilter(workflow="fuzzed"), closed_limit=2),
        GetHistoryRequest(run_id=run_id, page_size=2),
        SignalRunRequest(run_id=run_id, signal=signal, request_id="fuzz"),
        SignalRunsRequest(signals=[SignalRunRequest(run_id=run_id, signal=signal)]),
        QueryRunRequest(run_id=run_id, expression="input.n"),
        StepActionRequest(run_id=run_id, step_path="work", skip=SkipStep(output=payload), note="fuzz"),
        PauseRunRequest(run_id=run_id, note="fuzz"),
        ResumeRunRequest(run_id=run_id),
        CancelRunRequest(run_id="nobody", reason="fuzz"),
        TerminateRunRequest(run_id="nobody", reason="fuzz"),
        RetryRunRequest(run_id=closed, note="fuzz"),
        DeleteRunRequest(run_id=closed),
        ListGatesRequest(page_size=2),
        GetGateRequest(run_id=run_id, step_path="ask"),
        WatchGatesRequest(),
        DecideGateRequest(run_id=run_id, step_path="ask", revision=1, decision=Decision.DECISION_EDIT, payload=payload),
        PollTasksRequest(worker=worker, handlers=["work"], slots_total=1),
        CompleteTasksRequest(worker=worker, results=[TaskResult(token=token, output=payload)]),
        HeartbeatRequest(worker=worker, held=[HeldTask(token=token, details=payload)]),
        DrainWorkerRequest(worker=WorkerInfo(id="drained", session_id="fuzz")),
        ListQueuesRequest(),
        ListWorkersRequest(),
        GetServerInfoRequest(),
    )
    by_type = {type(one).DESCRIPTOR.full_name: one for one in made}
    return {
        path_of(method): by_type[method.input_type.full_name]
        for method in METHODS
        if method.input_type.full_name in by_type
    }
