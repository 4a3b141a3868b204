"""Changes people and programs make to runs: signals, decisions, pause, cancel and the like.

Each is checked for repetition first: the last changes of a run are remembered with their request ids in its history.
"""

from dataclasses import dataclass

from holdfast.v1.actor_pb2 import Actor, RequestMark
from holdfast.v1.errors_pb2 import ErrorReason
from holdfast_server.engine.commands import Command, Retry
from holdfast_server.engine.refusal import Refused
from holdfast_server.engine.state import RunState
from holdfast_server.runtime.host import RunHost
from holdfast_server.runtime.reading import Reading
from holdfast_server.runtime.runtime import Runtime

__all__ = ["Changed", "Changes"]


@dataclass(frozen=True, slots=True)
class Changed:
    """A change that is on disk.

    Attributes:
        host: the run; None if it was closed and is not in memory.
        state: the run afterwards.
        seq: sequence number of the first event of the change; the last event if nothing changed.
    """

    host: RunHost | None
    state: RunState
    seq: int


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
        return changed

    async def apply(
        self, namespace: str, run_id: str, command: Command, actor: Actor, request_id: str, request_hash: bytes
    ) -> Changed:
        """The same without waiting for the disk, for batches that wait once.

        Raises:
            Refused: with the reason.
            StoreError: the disk does not answer.
        """
        runtime = self._runtime
        runtime.check_writable()
        host = runtime.residence.by_id(namespace, run_id)
        if host is None:
            closed = await self._reading.closed(namespace, run_id)
            repeated = _repeated(closed, request_id, request_hash)
            if repeated is not None:
                return Changed(None, closed, repeated)
            host = runtime.residence.by_id(namespace, run_id)
            if host is None:
                # Only RetryRun does anything with a closed run; the engine refuses the rest with its reasons.
                host = await self._reading.bring_back(namespace, run_id, closed)
        bag = runtime.bag_now(host)
        if bag is None:
            bag = await runtime.bag(host)
        repeated = _repeated(host.state, request_id, request_hash)
        if repeated is not None:
            return Changed(host, host.state, repeated)
        if isinstance(command, Retry):
            self._check_key_is_free(host)
        mark = RequestMark(id=request_id, hash=request_hash) if request_id else None
        try:
            decision = runtime.apply(host, command, bag, actor, mark)
        finally:
            if not host.state.open and host.durable_seq == host.state.seq:
                runtime.residence.remove(host)
        return Changed(host, host.state, decision.first_seq or host.state.seq)

    def _check_key_is_free(self, host: RunHost) -> None:
        run = host.state
        other = self._runtime.residence.by_business_key(run.namespace, run.plan.workflow, run.key) if run.key else None
        if other is not None and other is not host:
            message = f"key {run.key!r} belongs to the open run {other.state.run_id!r} by now"
            raise Refused(ErrorReason.ERROR_REASON_KEY_IN_USE, message, {"run_id": other.state.run_id, "key": run.key})


def _repeated(run: RunState, request_id: str, request_hash: bytes) -> int | None:
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
