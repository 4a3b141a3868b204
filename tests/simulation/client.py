"""People and programs that start runs, change them, decide gates and read, and repeat what got no answer."""

import asyncio
from collections.abc import Callable
from random import Random
from typing import Any, TypeVar

import orjson
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message

from holdfast.v1 import gate_service_pb2 as gates, run_service_pb2 as runs, workflow_service_pb2 as workflows
from holdfast.v1.definition_pb2 import Decision
from holdfast.v1.gate_pb2 import Gate, GateState
from holdfast.v1.payload_pb2 import Payload
from holdfast.v1.run_pb2 import WaitingReason
from holdfast.v1.signal_pb2 import Signal
from tests.simulation.loop import Process, SimulatedLoop
from tests.simulation.network import CallFailed, Network

__all__ = ["Client", "Directory", "payload"]

M = TypeVar("M", bound=Message)

RUNS, GATES = "holdfast.v1.RunService/", "holdfast.v1.GateService/"
TIMEOUT_S = 30.0
NOT_NOW = frozenset({"STORE_UNAVAILABLE", "DRAINING"})
LARGE = b'"' + b"x" * 9_000 + b'"'
"""More than fits into an event."""
VALUES = (None, b"1", b"5", b'{"ok":true}', b'"text"')
REFS = runs.PayloadView.PAYLOAD_VIEW_REFS


def payload(value: object) -> Payload:
    """A JSON value as clients send it."""
    return Payload(data=orjson.dumps(value))


class Directory:
    """What all clients know.

    Attributes:
        workflows: names that can be started.
        runs: ids of runs some client started.
        requests: how many request ids were made.
    """

    def __init__(self) -> None:
        self.workflows: list[str] = []
        self.runs: list[str] = []
        self.requests = 0

    def new_request_id(self) -> str:
        """An id no request has had."""
        self.requests += 1
        return f"request-{self.requests}"


class Client:
    """One client.

    Args:
        loop: where it lives.
        network: its way to the server.
        chance: decides what it does.
        name: who it claims to be.
        directory: what all clients know.
        clock_us: the time.
        fail: says that something happened that must not.

    Attributes:
        process: what can be killed.
        patience: share of its requests it repeats until it has an answer.
    """

    def __init__(
        self,
        loop: SimulatedLoop,
        network: Network,
        chance: Random,
        name: str,
        directory: Directory,
        clock_us: Callable[[], int],
        fail: Callable[[str], None],
    ) -> None:
        self.process = Process(loop, name)
        self.patience = 0.9
        self._loop = loop
        self._network = network
        self._chance = chance
        self._name = name
        self._directory = directory
        self._clock_us = clock_us
        self._fail = fail

    # -- calls -------------------------------------------------------------------------------------------------------

    async def insist(self, method: str, request: Message, answer: type[M], actor: str = "") -> M:
        """Repeats a request until it has an answer.

        Raises:
            CallFailed: the server refuses it for good.
        """
        wait_s = 0.05
        while True:
            try:
                return await self._network.call(method, request, answer, TIMEOUT_S, actor or self._name)
            except CallFailed as fault:
                if not fault.is_lost and fault.reason not in NOT_NOW:
                    raise
            await asyncio.sleep(wait_s * (0.5 + 0.5 * self._chance.random()))
            wait_s = min(2 * wait_s, 2.0)

    async def _try(self, method: str, request: Message, answer: type[M]) -> M | None:
        """Makes a request like somebody who may give up; None if it was refused or given up."""
        try:
            if self._chance.random() < self.patience:
                return await self.insist(method, request, answer)
            timeout_s = self._chance.choice((0.001, 0.01, 1.0))
            return await self._network.call(method, request, answer, timeout_s, self._name)
        except CallFailed:
            return None

    async def register(self, source: str) -> None:
        """Registers a workflow."""
        request = workflows.RegisterWorkflowRequest(source=source, format=workflows.DocumentFormat.DOCUMENT_FORMAT_JSON)
        method = "holdfast.v1.WorkflowService/RegisterWorkflow"
        answer = await self.insist(method, request, workflows.RegisterWorkflowResponse)
        if answer.workflow.name not in self._directory.workflows:
            self._directory.workflows.append(answer.workflow.name)

    # -- what it does by chance --------------------------------------------------------------------------------------

    async def live(self, until_s: float, most_runs: int) -> None:
        """Does one thing after the other until it is time to go."""
        chance, directory = self._chance, self._directory
        actions = chance.randint(3, 20)
        pause_s = until_s / actions * chance.choice((0.02, 0.2, 1.0))  # in a hurry at the beginning, or spread out
        while actions and self._loop.time() < until_s:
            await asyncio.sleep(min(chance.expovariate(1 / pause_s), until_s))
            if not directory.workflows:
                continue
            actions -= 1
            if len(directory.runs) < most_runs and chance.random() < 0.5:
                await (self.start if chance.random() < 0.8 else self.start_several)()
            elif directory.runs:
                await chance.choices(ACTIONS, WEIGHTS)[0](self)

    async def start(self) -> None:
        """Starts a run, in one of the many ways, and sometimes twice."""
        chance = self._chance
        request = self._new_start()
        answer = await self._try(RUNS + "StartRun", request, runs.StartRunResponse)
        self._know(answer)
        if request.request_id and chance.random() < 0.2:
            again = await self._try(RUNS + "StartRun", request, runs.StartRunResponse)
            self._know(again)
            if answer is not None and again is not None and answer.started and answer.run_id != again.run_id:
                self._fail(f"{request.request_id} was answered {answer.run_id} and then {again.run_id}")

    async def start_several(self) -> None:
        """Starts several runs in one request, and a repetition among them."""
        request = runs.StartRunsRequest(starts=[self._new_start() for _ in range(self._chance.randint(2, 3))])
        if request.starts[0].request_id and self._chance.random() < 0.3:
            request.starts.append(request.starts[0])
        answer = await self._try(RUNS + "StartRuns", request, runs.StartRunsResponse)
        for result in answer.results if answer is not None else ():
            if result.HasField("accepted"):
                self._know(result.accepted)

    def _new_start(self) -> runs.StartRunRequest:
        chance, directory = self._chance, self._directory
        request = runs.StartRunRequest(
            namespace="default",
            workflow=chance.choice(directory.workflows),
            input=payload({"flag": chance.choice((True, False, None))}),
        )
        if chance.random() < 0.9:
            request.request_id = directory.new_request_id()
        if chance.random() < 0.3:
            request.run_id = f"mine-{directory.requests}"
        if chance.random() < 0.4:
            request.key = chance.choice(("order-1", "order-2"))
            request.on_conflict = runs.OnConflict.ValueType(chance.choice((0, 1, 2, 2, 3, 3)))
        if chance.random() < 0.3:
            request.signals.append(Signal(name="go", payload=_value(chance)))
        if chance.random() < 0.1:
            request.start_after_time.FromMicroseconds(self._clock_us() + chance.choice((1, 10_000_000)))
        if chance.random() < 0.1:
            request.timeout.CopyFrom(Duration(seconds=chance.choice((1, 20, 60))))
        if chance.random() < 0.1:
            request.input.data = b'{"flag":true,"large":' + LARGE + b"}"
        return request

    def _know(self, answer: runs.StartRunResponse | None) -> None:
        if answer is not None and answer.run_id not in self._directory.runs:
            self._directory.runs.append(answer.run_id)

    def _some_run(self) -> str:
        return self._chance.choice(self._directory.runs[-3:])

    async def _change(self, method: str, request: Any, answer: type[M]) -> None:
        if self._chance.random() < 0.9:
            request.request_id = self._directory.new_request_id()
        await self._try(method, request, answer)
        if request.request_id and self._chance.random() < 0.1:
            await self._try(method, request, answer)

    async def signal(self) -> None:
        signal = Signal(name=self._chance.choice(("go", "stop")), payload=_value(self._chance))
        request = runs.SignalRunRequest(run_id=self._some_run(), signal=signal)
        await self._change(RUNS + "SignalRun", request, runs.SignalRunResponse)

    async def signal_several(self) -> None:
        """Sends several signals in one request."""
        request = runs.SignalRunsRequest()
        for _ in range(self._chance.randint(2, 4)):
            signal = Signal(name=self._chance.choice(("go", "stop")), payload=_value(self._chance))
            request_id = self._directory.new_request_id()
            request.signals.add(run_id=self._some_run(), signal=signal, request_id=request_id)
        await self._try(RUNS + "SignalRuns", request, runs.SignalRunsResponse)
        if self._chance.random() < 0.2:
            await self._try(RUNS + "SignalRuns", request, runs.SignalRunsResponse)

    async def decide(self) -> None:
        listed = await self._try(GATES + "ListGates", gates.ListGatesRequest(), gates.ListGatesResponse)
        if listed is None or not listed.gates:
            return
        await self.decide_gate(self._chance.choice(listed.gates))

    async def decide_gate(self, gate: Gate) -> None:
        """Says something at a gate."""
        chance = self._chance
        if gate.state != GateState.GATE_STATE_OPEN:
            return
        request = gates.DecideGateRequest(
            run_id=gate.run_id,
            step_path=gate.step_path,
            revision=gate.revision + (chance.random() < 0.05),
            content_hash=gate.content_hash,
            decision=Decision.ValueType(chance.choice(gate.decisions)),
        )
        if request.decision in (Decision.DECISION_RESPOND, Decision.DECISION_EDIT, Decision.DECISION_SKIP):
            request.payload.CopyFrom(payload(chance.choice((1, 5, "text"))))
        if request.decision == Decision.DECISION_DELEGATE:
            request.delegate_to.principals.extend(("bob", "cid", "boss"))
        await self._change(GATES + "DecideGate", request, gates.DecideGateResponse)

    async def pause(self) -> None:
        await self._change(RUNS + "PauseRun", runs.PauseRunRequest(run_id=self._some_run()), runs.PauseRunResponse)

    async def resume(self) -> None:
        await self._change(RUNS + "ResumeRun", runs.ResumeRunRequest(run_id=self._some_run()), runs.ResumeRunResponse)

    async def cancel(self) -> None:
        await self._change(RUNS + "CancelRun", runs.CancelRunRequest(run_id=self._some_run()), runs.CancelRunResponse)

    async def terminate(self) -> None:
        request = runs.TerminateRunRequest(run_id=self._some_run(), reason="enough")
        await self._change(RUNS + "TerminateRun", request, runs.TerminateRunResponse)

    async def retry(self) -> None:
        await self._change(RUNS + "RetryRun", runs.RetryRunRequest(run_id=self._some_run()), runs.RetryRunResponse)

    async def hurry(self) -> None:
        """Does several things at once, most of them to the same run."""
        several = [self._chance.choice(CHANGES)(self) for _ in range(self._chance.randint(2, 4))]
        await asyncio.gather(*several)

    async def get(self) -> None:
        await self._try(RUNS + "GetRun", runs.GetRunRequest(run_id=self._some_run()), runs.GetRunResponse)

    async def read_history(self) -> None:
        request = runs.GetHistoryRequest(
            run_id=self._some_run(), payload_view=REFS, page_size=self._chance.choice((1, 5, 0))
        )
        await self._try(RUNS + "GetHistory", request, runs.GetHistoryResponse)

    async def list_runs(self) -> None:
        wanted = runs.RunFilter()
        if self._chance.random() < 0.5:
            wanted.waiting_reasons.extend(WaitingReason.values()[1:])
        await self._try(RUNS + "ListRuns", runs.ListRunsRequest(filter=wanted), runs.ListRunsResponse)

    async def wait(self) -> None:
        request = runs.WaitRunRequest(run_id=self._some_run())
        request.park_timeout.CopyFrom(Duration(seconds=self._chance.choice((0, 1, 20))))
        await self._try(RUNS + "WaitRun", request, runs.WaitRunResponse)

    async def watch(self) -> None:
        """Follows a run for a while: every event once, in order."""
        seq, until_s = 0, self._loop.time() + self._chance.choice((0.1, 5.0, 20.0))
        run_id = self._some_run()
        request = runs.WatchRunRequest(run_id=run_id, payload_view=REFS)
        stream = self._network.open(RUNS + "WatchRun", request, runs.WatchRunResponse, self._name)
        try:
            async with asyncio.timeout(until_s - self._loop.time()):
                while (answer := await stream.next()) is not None:
                    for event in answer.events:
                        if event.seq != seq + 1:
                            self._fail(f"WatchRun of {run_id} goes on with event {event.seq} after {seq}")
                        seq = event.seq
        except (CallFailed, TimeoutError):
            stream.leave()


ACTIONS: tuple[Callable[[Client], Any], ...] = (
    Client.signal,
    Client.decide,
    Client.pause,
    Client.resume,
    Client.cancel,
    Client.terminate,
    Client.retry,
    Client.get,
    Client.read_history,
    Client.list_runs,
    Client.wait,
    Client.watch,
    Client.hurry,
    Client.signal_several,
)
WEIGHTS = (4, 8, 2, 3, 2, 1, 4, 3, 2, 2, 3, 2, 6, 2)
CHANGES: tuple[Callable[[Client], Any], ...] = (
    Client.start,
    Client.signal,
    Client.decide,
    Client.pause,
    Client.resume,
    Client.cancel,
    Client.retry,
    Client.retry,
)


def _value(chance: Random) -> Payload | None:
    data = chance.choice(VALUES)
    return None if data is None else Payload(data=data)
