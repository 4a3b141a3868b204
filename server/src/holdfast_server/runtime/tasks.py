"""Tasks between matching and the runs: handed out with all a worker needs, settled with what it answers."""

import hashlib
from collections.abc import Sequence
from itertools import count

import structlog

from holdfast.v1.errors_pb2 import ErrorReason
from holdfast.v1.task_pb2 import Task, TaskResult, WorkerInfo
from holdfast_server.engine import failures, state as st
from holdfast_server.engine.commands import FailTask, ReturnTask, StartTask
from holdfast_server.engine.payloads import PayloadBag, payload_size
from holdfast_server.engine.refusal import Refused
from holdfast_server.engine.state import StepRecord
from holdfast_server.engine.steps.task import settled
from holdfast_server.engine.times import timestamp
from holdfast_server.matching.matching import Adopted, Claim, HandedOut, QueuedTask
from holdfast_server.matching.tokens import TokenInvalidError, TokenStaleError
from holdfast_server.matching.workers import Worker
from holdfast_server.runtime.host import RunHost
from holdfast_server.runtime.mending import quarantined
from holdfast_server.runtime.results import command_of
from holdfast_server.runtime.runtime import Runtime

__all__ = ["Tasks", "idempotency_key"]

log = structlog.get_logger("holdfast.tasks")

LEASES_PER_EPOCH_BITS = 40
NO_PAYLOADS = PayloadBag()
"""For StartTask, which looks at no payload and makes none."""

OVERHEAD_BYTES = 512
"""About what a task weighs without its input."""


def idempotency_key(namespace: str, run_id: str, path: str, input_revision: int, handler: str) -> str:
    """The same for all attempts with the same input and handler; 32 hexadecimal digits."""
    named = f"{namespace}\0{run_id}\0{path}\0{input_revision}\0{handler}"
    return hashlib.blake2b(named.encode(), digest_size=16).hexdigest()


def span_context(traceparent: str, path: str, attempt: int) -> str:
    """The trace context of an attempt: its span id follows from run, path and attempt, so it is the same again."""
    trace_id = traceparent[3:35]
    span = hashlib.blake2b(f"{traceparent}\0{path}\0{attempt}".encode(), digest_size=8).hexdigest()
    return f"00-{trace_id}-{span}-01"


class Tasks:
    """What matching asks of the runs, and what workers answer to them."""

    def __init__(self, runtime: Runtime, server_epoch: int) -> None:
        self._runtime = runtime
        # StepStarted is written lazily, so a crash or a failed commit can lose the last leases: no number is given
        # twice by one server, and those of this server are above all that an earlier one can have given.
        self._leases = count((server_epoch << LEASES_PER_EPOCH_BITS) + 1)

    # -- for matching ------------------------------------------------------------------------------------------------

    def hand_out(self, task: QueuedTask, worker: WorkerInfo) -> HandedOut | None:
        """An attempt as the worker gets it, still without its token; None if it is void by now."""
        host = self._runtime.residence.by_key(task.run_key)
        if host is None or host.stale or host.quarantined or host.state.paused:
            return None
        run = host.state
        found = run.locate(task.path)
        record = found[0].steps[found[1].index] if found is not None else None
        if found is None or record is None or record.state != st.QUEUED or record.attempt != task.attempt:
            return None
        lease = next(self._leases)
        if not self._note_start(host, StartTask(task.path, task.attempt, worker.id, lease)):
            return None
        step, payload = found[1], record.input
        message = Task(
            namespace=run.namespace,
            run_id=run.run_id,
            workflow=run.plan.workflow,
            version=run.plan.version,
            step_path=task.path,
            attempt=task.attempt,
            handler=record.handler,
            queue=record.queue,
            input=payload,
            idempotency_key=idempotency_key(
                run.namespace, run.run_id, task.path, record.input_revision, record.handler
            ),
            traceparent=span_context(run.traceparent, task.path, task.attempt),
            deadline_time=None
            if step.start_to_close_us is None
            else timestamp(record.start_us + step.start_to_close_us),
        )
        if step.heartbeat_us is not None:
            message.heartbeat_timeout.FromMicroseconds(step.heartbeat_us)
        size = OVERHEAD_BYTES + (payload_size(payload) if payload is not None else 0)
        return HandedOut(message, lease, step.start_to_close_us, step.heartbeat_us, size)

    def adopt(self, task: QueuedTask, worker: WorkerInfo, lease: int) -> Adopted | None:
        """An attempt that a worker has from an earlier server; None if it is void by now."""
        host = self._runtime.residence.by_key(task.run_key)
        if host is None or host.stale or host.quarantined:
            return None
        found = host.state.locate(task.path)
        record = found[0].steps[found[1].index] if found is not None else None
        if found is None or record is None or record.attempt != task.attempt:
            return None
        if record.state == st.QUEUED:
            # Its StepStarted was lost with the earlier server.
            if not self._note_start(host, StartTask(task.path, task.attempt, worker.id, lease)):
                return None
        elif record.state != st.RUNNING or record.lease != lease:
            return None
        return Adopted(record.start_us, found[1].start_to_close_us, found[1].heartbeat_us)

    def _note_start(self, host: RunHost, command: StartTask) -> bool:
        """Whether the run took note of the start; one that met a fault hands out nothing and stops no other."""
        try:
            self._runtime.apply(host, command, NO_PAYLOADS, lazy=True)
        except Refused as refused:
            log.warning("a task cannot be handed out", run_id=host.state.run_id, reason=refused.message)
            return False
        return True

    def attempt_ended(self, run_key: int, path: str, attempt: int, kind: str, detail: str) -> None:
        """A lease or a time limit is over; `kind` is `lost`, `start_to_close` or `heartbeat`."""
        host = self._runtime.residence.by_key(run_key)
        if host is not None:
            failure = failures.failure(ENDINGS[kind], detail, retryable=True)
            self._runtime.later(host, FailTask(path, attempt, failure, reported=False))

    def fetch(self, namespace: str, queue: str, handler: str) -> None:
        """Workers have time for attempts of evicted runs."""
        self._runtime.backlog.fetch(namespace, queue, handler)

    def attempt_returned(self, run_key: int, path: str, attempt: int) -> None:
        """An attempt goes back to its queue without being used up."""
        host = self._runtime.residence.by_key(run_key)
        if host is not None:
            self._runtime.later(host, ReturnTask(path, attempt, reported=False))

    # -- for workers -------------------------------------------------------------------------------------------------

    async def settle(
        self, namespace: str, worker: WorkerInfo, results: Sequence[TaskResult]
    ) -> list[tuple[int, Refused]]:
        """Takes results; the refused ones by position. All others are durable.

        Raises:
            Refused: STORE_UNAVAILABLE for all of them.
            StoreError: the disk does not answer.
        """
        self._runtime.check_writable()
        present = self._runtime.matching.present(namespace, worker)
        contradictions = self._runtime.mending.contradictions
        failures_before = self._runtime.journal.failures
        rejected: list[tuple[int, Refused]] = []
        taken: list[tuple[int, RunHost]] = []
        for position, result in enumerate(results):
            await self._runtime.let_others()
            try:
                refusal = await self._settle_one(present, position, result, taken)
            except Refused as refused:
                refusal = refused.kept()
            if refusal is not None:
                rejected.append((position, refusal))
        await self._runtime.journal.durable(failures_before)
        if self._runtime.mending.contradictions != contradictions:
            rejected += [(position, quarantined(host)) for position, host in taken if host.quarantined]
        return rejected

    async def _settle_one(
        self, worker: Worker, position: int, result: TaskResult, taken: list[tuple[int, RunHost]]
    ) -> Refused | None:
        matching = self._runtime.matching
        while True:
            try:
                claim = matching.claim(worker, result.token)
            except TokenInvalidError as error:
                raise Refused(
                    ErrorReason.ERROR_REASON_TOKEN_INVALID, str(error), violations=(("token", str(error)),)
                ) from error
            except TokenStaleError as error:
                content = error.content
                if await self._brought_back(content.run_key):
                    continue
                at = Claim(content.run_key, content.path, content.attempt, content.lease, adopted=False)
                return await self._repeated(at, result, str(error))
            break
        host = self._runtime.residence.by_key(claim.run_key)
        if host is None:
            matching.settled(claim)
            return await self._repeated(claim, result, "the run is closed")
        bag = self._runtime.bag_now(host)
        if bag is None:
            bag = await self._runtime.bag(host)
        command = command_of(result, claim.path, claim.attempt, self._runtime.settings.engine.payload_bytes)
        try:
            decision = self._runtime.apply(host, command, bag)
        except Refused as refused:
            matching.settled(claim)
            record = settled(host.state, claim.path, claim.attempt, claim.lease)
            return refused.kept() if record is None else _alike(record, claim.path, result, refused)
        matching.settled(claim)
        if decision.rejection is None:
            taken.append((position, host))
        return decision.rejection

    async def _brought_back(self, run_key: int) -> bool:
        """Whether a run had to be folded again, because a commit failed or it was evicted.

        What workers have of it may be claimed then: attempts of before the failure, and attempts whose start was lost
        with an earlier server, so that they wait.
        """
        host = self._runtime.residence.by_key(run_key)
        if host is None:
            return await self._runtime.loading.one(run_key) is not None
        if not host.stale:
            return False
        await self._runtime.bag(host)
        return True

    async def _repeated(self, claim: Claim, result: TaskResult, why: str) -> Refused | None:
        """None if that result was accepted before; else why it is refused."""
        path = claim.path
        host = self._runtime.residence.by_key(claim.run_key)
        if host is not None:
            run = host.state
        else:
            loaded = await self._runtime.folder.run(claim.run_key)
            if loaded is None:
                return Refused(ErrorReason.ERROR_REASON_TOKEN_STALE, why, {"step_path": path})
            run = loaded
        facts = {"run_id": run.run_id, "step_path": path}
        refused = Refused(ErrorReason.ERROR_REASON_TOKEN_STALE, why, facts)
        if not run.open:
            message = f"run {run.run_id!r} is closed; results are no longer taken"
            refused = Refused(ErrorReason.ERROR_REASON_RUN_CLOSED, message, facts, (("token", message),))
        record = settled(run, path, claim.attempt, claim.lease)
        return refused if record is None else _alike(record, path, result, refused)


def _alike(record: StepRecord, path: str, result: TaskResult, refused: Refused) -> Refused | None:
    """How a result is answered whose attempt a result has ended: the same one alike, any other with a refusal."""
    ended_by = record.settled_failure
    canceled = ended_by == failures.CANCELED
    match result.WhichOneof("outcome"):
        case "output":
            same = not ended_by
        case "failure":
            same = bool(ended_by) and not canceled
        case _:
            same = canceled
    if same:
        return None
    if result.HasField("output") and not canceled:
        message = f"the output was refused as {ended_by} when it came first"
        return Refused(
            REFUSED_OUTPUTS.get(ended_by, ErrorReason.ERROR_REASON_OUTPUT_SCHEMA), message, {"step_path": path}
        )
    return refused


ENDINGS = {"lost": failures.LOST, "start_to_close": failures.START_TO_CLOSE, "heartbeat": failures.HEARTBEAT}
"""Failure type for each way matching ends an attempt."""

REFUSED_OUTPUTS = {
    failures.PAYLOAD_TOO_LARGE: ErrorReason.ERROR_REASON_PAYLOAD_TOO_LARGE,
    failures.LIMIT_EXCEEDED: ErrorReason.ERROR_REASON_LIMIT_EXCEEDED,
}
"""Why an output was refused that ended its attempt with a failure of that type, if it is not the schema."""
