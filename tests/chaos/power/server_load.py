"""A load on a whole server, what it was shown, and what must be true of every disk it may leave behind.

The oracle is what callers saw: a history that was shown may grow, and is never taken back or changed; what was
accepted is shown; a step that succeeded does not run again.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from google.protobuf.message import Message

from holdfast.v1 import gate_service_pb2 as gates, run_service_pb2 as runs, workflow_service_pb2 as workflows
from holdfast.v1.definition_pb2 import Decision
from holdfast.v1.history_pb2 import HistoryEvent
from holdfast.v1.run_pb2 import RunState, RunSummary
from holdfast.v1.signal_pb2 import Signal
from holdfast.v1.task_pb2 import Task, TaskResult
from holdfast_server.app import Server
from holdfast_server.config import ServerConfig
from holdfast_server.store.sqlite import SqliteStore
from holdfast_server.store.sqlite.driver import Driver
from tests.integration.raw import RawWorker, Stubs, json_payload, open_channel, value_of

__all__ = ["Eyes", "ServerLoad", "Shown", "Tried", "check_server", "serving"]

M = TypeVar("M", bound=Message)

CHAIN = """
name: chain
steps:
  - {name: a, task: {handler: work}, input: "${input}"}
  - {name: b, after: [{step: a}], task: {handler: work}, input: "${steps.a.output}"}
  - {name: c, after: [{step: b}], sleep: {for: 1ms}}
output: "${steps.b.output}"
"""
HOLD = "{name: hold, steps: [{name: hold, wait: {signal: go}}], output: '${steps.hold.output}'}"
ASK = """
name: ask
steps:
  - {name: ask, gate: {title: Go on?, body: "${input.text}"}}
  - {name: after, after: [{step: ask}], task: {handler: work}, input: "${input}"}
output: "${steps.after.output}"
"""
TRY = """
name: try
steps: [{name: a, task: {handler: work}, retry: {max_attempts: 2, initial_interval: 1ms}, input: "${input}"}]
output: "${steps.a.output}"
"""
DEFINITIONS = (CHAIN, HOLD, ASK, TRY)
CLOSED = {"run_succeeded", "run_failed", "run_canceled", "run_terminated", "run_timed_out"}
OPEN = (RunState.RUN_STATE_RUNNING, RunState.RUN_STATE_PAUSED)
FEW = 3
"""Runs that fit in memory, so that they leave it and come back all the time."""
LARGE = 20_000
"""Bytes of a payload that is stored once and referred to."""


@dataclass(frozen=True)
class Shown:
    """Mark: a caller was shown the history of a run."""

    run_id: str
    events: tuple[bytes, ...]


@dataclass(frozen=True)
class Tried:
    """Mark: a caller has asked for a run to be started."""

    run_id: str
    together: bool = False
    """With others in one message: they may be written one after the other, and some be there when all are refused."""


@dataclass(frozen=True)
class Accepted:
    """Mark: a caller was told that a run was started."""

    run_id: str


@dataclass(frozen=True)
class Deleting:
    """Mark: a caller has asked for a run to be deleted."""

    run_id: str


@dataclass(frozen=True)
class Deleted:
    """Mark: a caller was told that a run is deleted."""

    run_id: str


@dataclass
class Eyes:
    """What callers were shown until some moment."""

    tried: set[str] = field(default_factory=set)
    """Runs whose start was asked for."""
    together: set[str] = field(default_factory=set)
    """Those that were asked for with others in one message."""
    accepted: set[str] = field(default_factory=set)
    """Runs whose start was answered."""
    deleting: set[str] = field(default_factory=set)
    """Runs whose deletion was asked for."""
    deleted: set[str] = field(default_factory=set)
    """Runs whose deletion was answered."""
    histories: dict[str, tuple[bytes, ...]] = field(default_factory=dict)
    succeeded: set[tuple[str, str]] = field(default_factory=set)
    """Runs and steps."""

    def take(self, mark: object) -> None:
        """See something more.

        Raises:
            AssertionError: it contradicts what was seen before.
        """
        match mark:
            case Tried(run_id, together):
                self.tried.add(run_id)
                if together:
                    self.together.add(run_id)
            case Accepted(run_id):
                self.accepted.add(run_id)
            case Deleting(run_id):
                self.deleting.add(run_id)
            case Deleted(run_id):
                self.deleted.add(run_id)
            case Shown(run_id, events):
                before = self.histories.get(run_id, ())
                assert events[: len(before)] == before, f"the history of {run_id} was changed after it was shown"
                seqs = [HistoryEvent.FromString(event).seq for event in events]
                assert seqs == list(range(1, len(events) + 1)), f"the history of {run_id} has gaps: {seqs}"
                for event in map(HistoryEvent.FromString, events[len(before) :]):
                    if event.HasField("step_succeeded"):
                        step = (run_id, event.step_succeeded.path)
                        assert step not in self.succeeded, f"{step} succeeded twice"
                        self.succeeded.add(step)
                self.histories[run_id] = events


@asynccontextmanager
async def serving(database: Path, driver: Driver | None = None, **settings: Any) -> AsyncIterator[tuple[Server, Stubs]]:
    """A server on a database, in this process, and a connection to it."""
    settings = {"drain_s": 1.0, "adoption_grace_s": 0.01, "hot_runs": FEW, **settings}
    config = ServerConfig(listen="127.0.0.1:0", database=str(database), **settings)
    server = Server(config, SqliteStore(str(database), driver=driver))
    await server.start()
    channel = open_channel(f"127.0.0.1:{server.port}")
    try:
        yield server, Stubs(channel)
    finally:
        await channel.close()
        await server.stop()


class ServerLoad:
    """Callers and a worker of one server, who repeat what is refused until it is done.

    Args:
        stubs: the server.
        eyes: what was seen before.
        mark: told what is seen.
        refused: called when something was refused for now, or with None when nothing happens that should; returns when
            it may be tried again, or raises.
    """

    def __init__(
        self,
        stubs: Stubs,
        eyes: Eyes,
        mark: Callable[[object], None],
        refused: Callable[[Exception | None], Awaitable[None]] | None = None,
    ) -> None:
        self.stubs = stubs
        self.worker = RawWorker(stubs, "work", slots=100)
        self.eyes = eyes
        self._mark = mark
        self._refused = refused

    def see(self, mark: object) -> None:
        """Note what was seen."""
        self.eyes.take(mark)
        self._mark(mark)

    async def ask(self, call: Callable[[M], Awaitable[Any]], request: M) -> Any:
        """Ask until there is an answer."""
        return await self._until_done(lambda: call(request))

    async def _until_done(self, attempt: Callable[[], Awaitable[Any]]) -> Any:
        while True:
            try:
                return await attempt()
            except Exception as error:
                if self._refused is None:
                    raise
                await self._refused(error)

    async def look(self, run_id: str) -> list[HistoryEvent]:
        """The history of a run, as shown now."""
        events: list[HistoryEvent] = []
        token = ""
        while True:
            request = runs.GetHistoryRequest(run_id=run_id, page_size=1_000, page_token=token)
            answer = await self.ask(self.stubs.runs.GetHistory, request)
            events += answer.events
            token = answer.next_page_token
            if not token:
                break
        self.see(Shown(run_id, tuple(event.SerializeToString(deterministic=True) for event in events)))
        return events

    async def kinds(self, run_id: str) -> list[str]:
        """What has happened to a run so far, by kind."""
        return [str(event.WhichOneof("body")) for event in await self.look(run_id)]

    async def register(self, definition: str) -> None:
        """Register a workflow; it can be found from then on."""
        answer = await self.ask(
            self.stubs.workflows.RegisterWorkflow, workflows.RegisterWorkflowRequest(source=definition)
        )
        wanted = workflows.GetWorkflowRequest(name=answer.workflow.name, version=answer.workflow.version)
        await self.ask(self.stubs.workflows.GetWorkflow, wanted)

    async def start(self, workflow: str, run_id: str, value: object = None) -> str:
        """Start a run."""
        self.see(Tried(run_id))
        await self.ask(self.stubs.runs.StartRun, _start(workflow, run_id, value))
        self.see(Accepted(run_id))
        assert (await self.kinds(run_id))[0] == "run_started"
        return run_id

    async def start_all(self, workflow: str, run_ids: Sequence[str], value: object = None) -> None:
        """Start runs in one message."""
        for run_id in run_ids:
            self.see(Tried(run_id, together=True))
        request = runs.StartRunsRequest(starts=[_start(workflow, run_id, value) for run_id in run_ids])

        async def attempt() -> None:
            for result in (await self.stubs.runs.StartRuns(request)).results:
                if result.HasField("error"):
                    raise RuntimeError(result.error.message)

        await self._until_done(attempt)
        for run_id in run_ids:
            self.see(Accepted(run_id))
        for run_id in run_ids:
            assert (await self.kinds(run_id))[0] == "run_started"

    async def signal(self, run_id: str, name: str, value: object) -> None:
        """Send a signal."""
        request = runs.SignalRunRequest(
            run_id=run_id, signal=Signal(name=name, payload=json_payload(value)), request_id=f"{name}-{run_id}"
        )
        answer = await self.ask(self.stubs.runs.SignalRun, request)
        assert (await self.look(run_id))[answer.seq - 1].signal_received.name == name

    async def change(self, method: str, run_id: str, body: str) -> None:
        """Pause, resume, cancel, terminate or retry a run."""
        request = getattr(runs, f"{method}Request")(run_id=run_id, request_id=f"{method}-{run_id}")
        await self.ask(getattr(self.stubs.runs, method), request)
        assert body in await self.kinds(run_id)

    async def delete(self, run_id: str) -> None:
        """Delete a run that is closed."""
        self.see(Deleting(run_id))
        await self.ask(self.stubs.runs.DeleteRun, runs.DeleteRunRequest(run_id=run_id, request_id=f"delete-{run_id}"))
        self.see(Deleted(run_id))

    async def decide(self, run_id: str) -> None:
        """Approve the gate of a run."""
        gate = (await self.ask(self.stubs.gates.GetGate, gates.GetGateRequest(run_id=run_id, step_path="ask"))).gate
        request = gates.DecideGateRequest(
            run_id=run_id,
            step_path=gate.step_path,
            revision=gate.revision,
            content_hash=gate.content_hash,
            decision=Decision.DECISION_APPROVE,
            request_id=f"decide-{run_id}",
        )
        await self.ask(self.stubs.gates.DecideGate, request)
        assert "gate_resolved" in await self.kinds(run_id)

    async def work(self, *run_ids: str, failing: str = "") -> None:
        """Carry out tasks until these runs have closed; the first attempt of one of them fails."""
        while True:
            waiting = [run_id for run_id in run_ids if not CLOSED & set(await self.kinds(run_id))]
            if not waiting:
                return
            tasks = await self.tasks()
            for task in tasks:
                await self.settle(task, failing=task.run_id == failing and task.attempt == 1)
            if not tasks and self._refused is not None:
                await self._refused(None)

    async def tasks(self) -> list[Task]:
        """The tasks there are now, maybe none."""
        found: list[Task] = await self._until_done(lambda: self.worker.poll_once(0.01))
        for task in found:
            assert (task.run_id, task.step_path) not in self.eyes.succeeded, f"{task.step_path} is handed out again"
        return found

    async def settle(self, task: Task, *, failing: bool = False) -> bool:
        """Send the result of a task: what came in. Answers whether it was accepted."""
        result = TaskResult(token=task.token)
        if failing:
            result.failure.type = "Planted"
        else:
            result.output.CopyFrom(json_payload(value_of(task.input)))

        async def attempt() -> bool:
            answer = await self.worker.settle(result)
            for one in answer.rejected:
                if "STALE" not in str(one.error):
                    raise RuntimeError(one.error.message)
            return not answer.rejected

        accepted: bool = await self._until_done(attempt)
        if accepted:
            body = "step_attempt_failed" if failing else "step_succeeded"
            attempts = [
                getattr(event, body).attempt
                for event in await self.look(task.run_id)
                if event.HasField(body)  # type: ignore[arg-type]
            ]
            assert task.attempt in attempts, f"an accepted result of {task.step_path} is not shown"
        return accepted

    # -- scenarios ---------------------------------------------------------------------------------------------------

    async def go_round(self, name: str) -> None:
        """Something of everything. Some runs stay open."""
        if name == "0":
            for definition in DEFINITIONS:
                await self.register(definition)
        await self.register(f"{{name: v, steps: [{{name: s, wait: {{signal: go}}}}], output: '{name}'}}")
        await self.start("chain", f"chain-{name}", name)
        await self.start_all("chain", [f"large-{number}-{name}" for number in range(3)], "x" * LARGE)
        await self.start("hold", f"hold-{name}")
        await self.start("hold", f"left-{name}")
        await self.start("ask", f"ask-{name}", {"text": "y" * LARGE})
        await asyncio.gather(self.signal(f"hold-{name}", "other", 1), self.signal(f"left-{name}", "early", "z" * LARGE))
        await self.work(f"chain-{name}", *(f"large-{number}-{name}" for number in range(3)))
        await self.change("PauseRun", f"ask-{name}", "run_paused")
        await self.change("ResumeRun", f"ask-{name}", "run_resumed")
        await asyncio.gather(self.decide(f"ask-{name}"), self.signal(f"hold-{name}", "go", name))
        await self.start("try", f"try-{name}", name)
        await self.work(f"try-{name}", f"ask-{name}", failing=f"try-{name}")
        await self.start("hold", f"ended-{name}")
        await self.change("CancelRun", f"ended-{name}", "run_canceled")
        await self.delete(f"ended-{name}")
        await self.delete(f"large-0-{name}")
        await self.start("chain", f"held-{name}", name)
        await self.tasks()

    async def go_short_round(self, name: str) -> None:
        """The same in few commits."""
        if name == "0":
            for definition in DEFINITIONS:
                await self.register(definition)
        await self.start("chain", f"chain-{name}", "x" * LARGE)
        await self.start_all("hold", [f"hold-{name}", f"left-{name}"])
        await self.start("ask", f"ask-{name}", {"text": name})
        await self.signal(f"hold-{name}", "go", name)
        await self.decide(f"ask-{name}")
        await self.work(f"chain-{name}", f"ask-{name}")
        await self.start("hold", f"ended-{name}")
        await self.change("CancelRun", f"ended-{name}", "run_canceled")
        await self.delete(f"ended-{name}")

    async def list_runs(self, states: Sequence[RunState.ValueType] = ()) -> list[RunSummary]:
        """All runs, or those in some states."""
        found: list[RunSummary] = []
        token = ""
        while True:
            request = runs.ListRunsRequest(filter=runs.RunFilter(states=states), page_size=1_000, page_token=token)
            answer = await self.ask(self.stubs.runs.ListRuns, request)
            found += answer.runs
            token = answer.next_page_token
            if not token:
                return found

    async def finish(self) -> int:
        """Let every open run come to its end. Answers how many were open."""
        await self._until_done(lambda: self.worker.beat(all_held=True))  # it holds nothing any more
        found = await self.list_runs(OPEN)
        for run in found:
            if run.state == RunState.RUN_STATE_PAUSED:
                await self.change("ResumeRun", run.run_id, "run_resumed")
            kinds = await self.kinds(run.run_id)
            if "gate_opened" in kinds and "gate_resolved" not in kinds:
                await self.decide(run.run_id)
            if "wait_opened" in kinds and "wait_matched" not in kinds:
                await self.signal(run.run_id, "go", "late")
        await self.work(*(run.run_id for run in found))
        return len(found)


def _start(workflow: str, run_id: str, value: object) -> runs.StartRunRequest:
    return runs.StartRunRequest(
        workflow=workflow, run_id=run_id, request_id=f"start-{run_id}", input=json_payload(value)
    )


async def check_server(database: Path, eyes: Eyes) -> None:
    """Start a server on what was left behind, hold it against what was shown, and let all runs come to their end.

    Raises:
        AssertionError: something is lost, contradicts, or does not go on.
    """
    async with serving(database) as (_server, stubs):
        load = ServerLoad(stubs, eyes, lambda _mark: None)
        there = {run.run_id for run in await load.list_runs()}
        shown = eyes.accepted | set(eyes.histories)
        assert there | eyes.deleting >= shown, f"lost: {shown - there}"
        assert not there & eyes.deleted, f"deleted, and there again: {there & eyes.deleted}"
        assert there <= eyes.tried, f"from nowhere: {there - eyes.tried}"
        for run_id in sorted(there):
            await load.look(run_id)
        await load.finish()
        for run_id in sorted(there):
            assert CLOSED & set(await load.kinds(run_id)), f"{run_id} does not go on"
