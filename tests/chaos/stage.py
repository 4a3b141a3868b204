"""A run in the hands of a client that may be killed at any moment: each thing it does can be done again by the next.

Every change has a request id that follows from the run and from what is done, so whoever goes on with a run repeats the
changes of its predecessor and gets the first answers, whether they arrived or not.
"""

import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from random import Random
from typing import Any, TypeVar

from holdfast import Client, ServerError
from holdfast.v1.gate_pb2 import Gate
from holdfast.v1.history_pb2 import HistoryEvent
from holdfast.v1.payload_pb2 import Payload
from holdfast.v1.run_pb2 import RunOutcome, RunState
from tests.chaos.notes import Ended, Meant, Pen, Refused, Saw, Told, Wrong

__all__ = ["AbandonedError", "Stage", "event_digest", "payload_digest", "state_name"]

T = TypeVar("T")
_AWAY = frozenset({"UNAVAILABLE", "DEADLINE_EXCEEDED", "CANCELLED"})


class AbandonedError(Exception):
    """What was told about the run cannot be; it is noted, and nothing more is done with the run."""


def payload_digest(payload: Payload) -> str:
    """Return what a payload is recognized by."""
    return hashlib.sha256(payload.data).hexdigest()[:16]


def event_digest(event: HistoryEvent) -> str:
    """Return what an event is recognized by."""
    return hashlib.sha256(event.SerializeToString(deterministic=True)).hexdigest()[:16]


def state_name(state: RunState.ValueType) -> str:
    """Return the name of a run's state without its prefix."""
    return RunState.Name(state).removeprefix("RUN_STATE_")


class Stage:
    """One run, for a script.

    Attributes:
        run_id: The run.
        number: A number that is its own.
        chance: Where its choices come from: the same for whoever goes on with it.
    """

    def __init__(self, client: Client, pen: Pen, run_id: str, number: int, told: Mapping[str, str]) -> None:
        """Build it.

        Args:
            client: Talks to the server.
            pen: Writes notes.
            run_id: The run.
            number: A number that is its own.
            told: Answers a predecessor was given, by request id.
        """
        self.run_id = run_id
        self.number = number
        self.chance = Random(run_id)  # noqa: S311 - choices of a test
        self._client = client
        self._pen = pen
        self._told = dict(told)
        self._handle = client.handle(run_id)

    # -- changes -----------------------------------------------------------------------------------------------------

    async def start(self, workflow: str, value: object, signals: Sequence[tuple[str, object]] = ()) -> None:
        """Start the run."""
        client, run_id = self._client, self.run_id

        async def call(request_id: str) -> str:
            handle = await client.start(workflow, value, run_id=run_id, signals=signals, request_id=request_id)
            return f"{handle.run_id} {handle.version}"

        await self._change("start", call)

    async def signal(self, name: str, payload: object) -> None:
        """Send a signal."""

        async def call(request_id: str) -> str:
            return str(await self._handle.signal(name, payload, request_id=request_id))

        await self._change(f"signal-{name}", call)

    async def decide(self, path: str, decision: str) -> None:
        """Decide at a gate once it is open."""
        event = await self.until(lambda event: event.HasField("gate_opened") and event.gate_opened.path == path)
        opened = event.gate_opened
        gate = Gate(run_id=self.run_id, step_path=path, revision=opened.revision, content_hash=opened.content_hash)

        async def call(request_id: str) -> str:
            await self._client.gates.decide(gate, decision, request_id=request_id)
            return decision

        await self._change(f"decide-{path}", call)

    async def pause(self) -> None:
        """Pause the run."""
        await self._change("pause", lambda request_id: _accepted(self._handle.pause(request_id=request_id)))

    async def resume(self) -> None:
        """End the pause."""
        await self._change("resume", lambda request_id: _accepted(self._handle.resume(request_id=request_id)))

    async def cancel(self) -> None:
        """Ask the run to stop."""
        await self._change("cancel", lambda request_id: _accepted(self._handle.cancel(request_id=request_id)))

    async def terminate(self) -> None:
        """End the run at once."""
        await self._change("terminate", lambda request_id: _accepted(self._handle.terminate(request_id=request_id)))

    async def retry(self) -> None:
        """Let the failed run go on."""
        await self._change("retry", lambda request_id: _accepted(self._handle.retry(request_id=request_id)))

    async def _change(self, what: str, call: Callable[[str], Awaitable[str]]) -> None:
        request_id = f"{self.run_id}.{what}"
        before = self._told.get(request_id)
        if before is None:
            self._pen.write(Meant(self.run_id, request_id))
        try:
            answer = await self._insist(lambda: call(request_id))
        except ServerError as fault:
            if before is not None:
                self._wrong(f"{what} was accepted, and its repetition refused: {fault}")
            self._pen.write(Refused(self.run_id, request_id, fault.reason), synced=True)
            return
        if before is None:
            self._pen.write(Told(self.run_id, request_id, answer), synced=True)
            self._told[request_id] = answer
        elif answer != before:
            self._wrong(f"{what} was answered {before!r}, and its repetition {answer!r}")

    # -- reads -------------------------------------------------------------------------------------------------------

    async def until(self, fits: Callable[[HistoryEvent], bool]) -> HistoryEvent:
        """Watch the run until an event fits, and return it; each event is noted."""
        events: Any = self._handle.watch()  # a generator; its type says less
        async with aclosing(events):
            event: HistoryEvent
            async for event in events:
                self._pen.write(Saw(self.run_id, event.seq, event_digest(event)), synced=True)
                if fits(event):
                    return event
        self._wrong("the run is closed, and what had to come did not")
        raise AbandonedError

    async def ended(self) -> RunOutcome:
        """Wait for the end of the run."""
        outcome = await self._insist(self._handle.outcome)
        output = payload_digest(outcome.output)
        self._pen.write(Ended(self.run_id, outcome.run_epoch, state_name(outcome.state), output), synced=True)
        return outcome

    async def succeeds(self, *outputs: object) -> None:
        """Wait for the end of the run: it has succeeded with one of the outputs."""
        outcome = await self.ended()
        output: Any = self._client.converter.decode(outcome.output, Any)
        if outcome.state != RunState.RUN_STATE_SUCCEEDED or output not in outputs:
            shown = str(output)[:200]
            self._wrong(f"ended {state_name(outcome.state)} with {shown}: {outcome.failure.message[:200]}")

    async def ends(self, state: RunState.ValueType) -> None:
        """Wait for the end of the run: it is this one."""
        outcome = await self.ended()
        if outcome.state != state:
            self._wrong(f"ended {state_name(outcome.state)}, not {state_name(state)}")

    async def _insist(self, call: Callable[[], Awaitable[T]]) -> T:
        """Call until a server answers.

        Raises:
            ServerError: It refuses.
            AbandonedError: It does not know a run that it has accepted.
        """
        while True:
            try:
                return await call()
            except ServerError as fault:
                if fault.code in _AWAY:
                    continue
                if not fault.reason:
                    raise
                if fault.reason == "RUN_NOT_FOUND":
                    self._wrong("it was accepted, and is not there")
                    raise AbandonedError from fault
                raise

    def _wrong(self, what: str) -> None:
        self._pen.write(Wrong(self.run_id, what), synced=True)


async def _accepted(call: Awaitable[object]) -> str:
    """Return what is the same for all answers to the same change."""
    await call
    return "accepted"
