"""Changes people and programs make to runs: signals, decisions, pause, cancel and the like.

Each is checked for repetition first: the last changes of a run are remembered with their request ids in its history.
"""

from dataclasses import dataclass

from holdfast.v1.actor_pb2 import Actor, RequestMark
from holdfast.v1.errors_pb2 import ErrorReason
from holdfast_server.engine.commands import Command, Retry
from holdfast_server.engine.payloads import PayloadBag
from holdfast_server.engine.refusal import Refused
from holdfast_server.engine.state import RunState
from holdfast_server.runtime.host import RunHost
from holdfast_server.runtime.mending import quarantined
from holdfast_server.runtime.reading import Reading
from holdfast_server.runtime.runtime import Runtime

__all__ = ["Changed", "Changes", "repeated_seq"]


@dataclass(frozen=True, slots=True)
class Changed:
    """A change that is on disk.

    Attributes:
        host: the run.
        state: the run afterwards.
        seq: sequence number of the first event of the change; the last event if nothing changed.
        contradictions: what `Mending.contradictions` was.
    """

    host: RunHost
    state: RunState
    seq: int
    contradictions: int


class Changes:
    """Applies commands of callers."""

    def __init__(self, runtime: Runtime, reading: Reading) -> None:
        self._runtime = runtime
        self._reading = reading

    async def change(
        self, namespace: str, run_id: str, command: Command, actor: Actor, request_id: str, request_hash: bytes
    ) -> Changed:
        """Carries out a command; the answer is durable.

        Raises:
            Refused: with the reason.
            StoreError: the disk does not answer; whether the change was made is unknown.
        """
        changed = await self.apply(namespace, run_id, command, actor, request_id, request_hash)
        await self._runtime.journal.durable()
        self.check_kept(changed)
        return changed

    def check_kept(self, changed: Changed) -> None:
        """Whether a change is on disk, once the journal has said that all are.

        Raises:
            Refused: RUN_QUARANTINED if the database did not take the events of its run.
        """
        if self._runtime.mending.contradictions != changed.contradictions and changed.host.quarantined:
            raise quarantined(changed.host)

    async def apply(
        self, namespace: str, run_id: str, command: Command, actor: Actor, request_id: str, request_hash: bytes
    ) -> Changed:
        """The same without waiting for the disk, for batches that wait once and then `check_kept`.

        Raises:
            Refused: with the reason.
            StoreError: the disk does not answer.
        """
        runtime = self._runtime
        runtime.check_writable()
        contradictions = runtime.mending.contradictions
        while True:
            # Only RetryRun does anything with a closed run; the engine refuses the rest with its reasons.
            host = await self._reading.any_run(namespace, run_id)
            try:
                if isinstance(command, Retry) and not host.state.open:
                    await self._check_key_is_free(host.state)
                bag = runtime.bag_now(host)
                if bag is None:
                    bag = await runtime.bag(host)
                if runtime.residence.by_key(host.key) is host:
                    seq = self._apply_to(host, command, bag, actor, request_id, request_hash)
                    return Changed(host, host.state, seq, contradictions)
                # Else it left the memory meanwhile, and what would be done to it would be done to nobody.
            finally:
                self._let_go(host)

    def _apply_to(
        self, host: RunHost, command: Command, bag: PayloadBag, actor: Actor, request_id: str, request_hash: bytes
    ) -> int:
        """Sequence number of the first event of the change."""
        seq = repeated_seq(host.state, request_id, request_hash)
        if seq is not None:
            return seq
        mark = RequestMark(id=request_id, hash=request_hash) if request_id else None
        decision = self._runtime.apply(host, command, bag, actor, mark)
        return decision.first_seq or host.state.seq

    def _let_go(self, host: RunHost) -> None:
        """A closed run that was brought back, and is closed still, leaves the memory again."""
        residence = self._runtime.residence
        if not host.state.open and host.durable_seq == host.state.seq and residence.by_key(host.key) is host:
            residence.remove(host)

    async def _check_key_is_free(self, run: RunState) -> None:
        if not run.key:
            return
        rows = await self._runtime.store.open_runs_by_key(run.namespace, [(run.plan.workflow, run.key)])
        found = [row.run_id for row in rows]
        other = self._runtime.residence.by_business_key(run.namespace, run.plan.workflow, run.key)
        if other is not None:
            found.append(other.state.run_id)  # its start may not be on disk yet
        for run_id in found:
            if run_id != run.run_id:
                message = f"key {run.key!r} belongs to the open run {run_id!r} by now"
                raise Refused(ErrorReason.ERROR_REASON_KEY_IN_USE, message, {"run_id": run_id, "key": run.key})


def repeated_seq(run: RunState, request_id: str, request_hash: bytes) -> int | None:
    """Sequence number of what the request did the first time; None if it is new.

    Raises:
        Refused: REQUEST_ID_REUSED.
    """
    record = run.requests.get(request_id) if request_id else None
    if record is None:
        return None
    if record.hash != request_hash:
        message = f"request id {request_id!r} was used for another request; make a new one for each request"
        raise Refused(
            ErrorReason.ERROR_REASON_REQUEST_ID_REUSED,
            message,
            {"request_id": request_id},
            (("request_id", message),),
        )
    return record.seq
