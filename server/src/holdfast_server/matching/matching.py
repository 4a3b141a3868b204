"""Matching: the face of queues, leases and workers towards the runs and the services.

Nothing here is on disk. What has to be kept (that a worker starts, that an attempt ended) goes to the owner of the
runs; after a restart it says what waits (`offer`) and what workers had (`held`), and workers come back with tokens.
"""

import asyncio
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from holdfast.v1.payload_pb2 import Payload
from holdfast.v1.task_pb2 import QueueSummary, Task, WorkerInfo, WorkerSummary
from holdfast.v1.worker_service_pb2 import HeldState, HeldTask
from holdfast_server.clock import Clocks
from holdfast_server.engine.refusal import limit_exceeded
from holdfast_server.matching import summaries
from holdfast_server.matching.details import HeartbeatDetails
from holdfast_server.matching.handing import Handing
from holdfast_server.matching.keeping import Keeping
from holdfast_server.matching.leases import LEASED, WAITING, Lease, QueuedTask
from holdfast_server.matching.owner import Adopted, HandedOut, Owner
from holdfast_server.matching.queues import Answer, ParkedPoll, TaskQueue
from holdfast_server.matching.settings import MatchingSettings
from holdfast_server.matching.tokens import TokenInvalidError, Tokens, TokenStaleError
from holdfast_server.matching.workers import SessionSuperseded, Worker, Workers

__all__ = [
    "Adopted",
    "Claim",
    "HandedOut",
    "Matching",
    "MatchingSettings",
    "Owner",
    "QueuedTask",
    "SessionSuperseded",
    "TokenInvalidError",
    "TokenStaleError",
    "Tokens",
]

SOON_US = 10_000


class Claim(NamedTuple):
    """A result's token, found good."""

    run_key: int
    path: str
    attempt: int
    lease: int
    adopted: bool
    """The lease is of an earlier server; the owner has just been told of it by `adopt`."""


class Matching:
    """Queues and workers.

    Everything happens on one event loop. Only `poll` waits; all else is done when it returns.
    """

    def __init__(
        self,
        owner: Owner,
        tokens: Tokens,
        clocks: Clocks,
        settings: MatchingSettings,
    ) -> None:
        """Build it.

        Args:
            owner: The runs.
            tokens: Makes and reads tokens, for the epoch of this server.
            clocks: Those of attempts and of workers are used.
            settings: Limits and intervals.
        """
        self._clock_us = clocks.workers.now_us
        self._attempts_us = clocks.attempts.now_us
        self._begun = self._draining = self._closed = False
        self._stirred_us: int | None = None
        self._parked = 0
        self._settings = settings
        self._workers = Workers(tokens, settings.lease_us)
        self._details = HeartbeatDetails(settings.details_bytes)
        self._handing = Handing(owner, self._details, self._attempts_us, settings)
        self._keeping = Keeping(owner, self._handing, self._details, tokens.server_epoch, clocks, settings)
        self._alarm = clocks.workers.alarm(self._next_us, self._tick)
        self._limits_alarm = clocks.attempts.alarm(self._handing.limits.next_us, self._limits_tick)

    # -- what the runs say -------------------------------------------------------------------------------------------

    def offer(self, task: QueuedTask) -> None:
        """An attempt may be handed out: at the next `dispatch`, poll or completion. To say it again changes nothing."""
        known = self._handing.find(task.run_key, task.path)
        if known is not None:
            inherited = known.lease is not None and known.lease.inherited
            if known.attempt > task.attempt or (known.attempt == task.attempt and not inherited):
                return
            self._handing.drop(known)
        self._handing.add(task)

    def held(self, task: QueuedTask, worker_id: str, lease: int) -> None:
        """After a restart: a worker had this attempt. It may claim it for a while, then the attempt goes back.

        The while begins with the first `dispatch`, because until then no worker can have come.
        """
        known = self._handing.find(task.run_key, task.path)
        if known is not None:
            if known.attempt > task.attempt or (known.attempt == task.attempt and known.place == LEASED):
                return
            self._handing.drop(known)
        worker = self._workers.get(task.namespace, worker_id)
        if worker is None:
            worker = self._add_worker(task.namespace, WorkerInfo(id=worker_id), self._clock_us())
        self._keeping.inherit(task, worker, lease)
        self._arm()

    def withdraw(self, run_key: int, path: str, *, queued: bool = False) -> None:
        """The attempt of an activation, waiting or leased, is over. With `queued` one that a worker has stays."""
        task = self._handing.find(run_key, path)
        if queued and task is not None and task.place == LEASED:
            return
        if task is not None:
            self._handing.drop(task)
        self._keeping.returns.forget(run_key, path)
        if self._handing.stirred:
            self._arm()

    def withdraw_run(self, run_key: int) -> None:
        """All attempts of a run are over."""
        for task in self._handing.of_run(run_key):
            self._handing.drop(task)
        self._keeping.returns.forget_run(run_key)
        self._details.drop_run(run_key)
        if self._handing.stirred:
            self._arm()

    def waiting_of(self, run_key: int) -> list[QueuedTask] | None:
        """The attempts of a run that wait; None if a worker has one of them."""
        tasks = self._handing.of_run(run_key)
        return None if any(task.place != WAITING for task in tasks) else tasks

    def set_aside(self, run_key: int) -> None:
        """A run leaves the memory, and none of its attempts is in a worker's hands; `came_back` is said of each."""
        self._handing.set_aside(run_key)

    def waits_outside(self, namespace: str, queue: str, handler: str, count: int, oldest_us: int) -> None:
        """Attempts of runs that left the memory of an earlier server wait."""
        self._handing.waits_outside(namespace, queue, handler, count, oldest_us)

    def came_back(self, namespace: str, queue: str, handler: str) -> None:
        """An attempt that waited outside is in memory, and offered."""
        self._handing.came_back(namespace, queue, handler)

    def fetched(self, namespace: str, queue: str, handler: str, next_us: int | None) -> None:
        """What the owner was asked to fetch is offered; `next_us` is when the next one that waits was queued."""
        self._handing.fetched(namespace, queue, handler, next_us)
        self.dispatch()

    def request_cancel(self, run_key: int, path: str, attempt: int) -> None:
        """The worker that has the attempt is told to stop, at its next heartbeat."""
        task = self._handing.find(run_key, path)
        if task is not None and task.attempt == attempt and task.lease is not None:
            task.lease.cancel_requested = True

    def settled(self, claim: Claim) -> None:
        """The result of a claimed attempt is taken, or refused for good: its worker has a slot more."""
        task = self._handing.find(claim.run_key, claim.path)
        lease = task.lease if task is not None else None
        if task is None or lease is None or task.attempt != claim.attempt or lease.number != claim.lease:
            return  # the lease ended while the owner made up its mind
        lease.worker.freed += 1
        self._handing.drop(task)
        self._keeping.returns.forget(claim.run_key, claim.path)
        if self._handing.stirred:
            self._arm()

    def dispatch(self) -> None:
        """Hands what waits to parked polls. Call it when completions that a commit has released took theirs.

        The first call says that all is known that was there before the start.
        """
        if not self._begun:
            self._begun = True
            self._keeping.grant_grace([lease for worker in self._workers for lease in worker.inherited])
        self._handing.dispatch(self._clock_us())
        self._arm()

    def hold_up(self, *, held_up: bool) -> None:
        """Nothing is handed out while the owner could not take note of it; what is held stays held."""
        self._handing.held_up = held_up
        self.dispatch()

    def heartbeat_details(self, run_key: int, path: str) -> Payload | None:
        """What the handler of an activation said last, in any attempt; None if nothing."""
        return self._details.get(run_key, path)

    # -- what workers ask --------------------------------------------------------------------------------------------

    async def poll(
        self,
        namespace: str,
        info: WorkerInfo,
        queue: str,
        handlers: Iterable[str],
        slots_total: int,
        park_timeout_us: int,
    ) -> list[Task]:
        """Tasks for a worker; waits for some if there are none. Empty when the time is over or somebody drains.

        Raises:
            SessionSuperseded: A newer process uses the worker's id.
            Refused: LIMIT_EXCEEDED if too many polls are parked, or see `present`.
        """
        worker, at, answer = self._take(namespace, info, queue, handlers, slots_total)
        if at is None or answer.tasks or park_timeout_us <= 0:
            return answer.tasks
        if self._parked >= self._settings.parked_polls:
            raise limit_exceeded("the server", "parked_polls", self._settings.parked_polls, self._parked + 1)
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        poll = ParkedPoll(worker, at, worker.serving[at], self._clock_us() + park_timeout_us, future)
        self._handing.park(poll)
        self._arm()
        self._parked += 1
        try:
            return (await future).tasks
        except asyncio.CancelledError:
            # Whatever it was given has not left the server.
            for lease in poll.answer.leases:
                if lease.open:
                    self._keeping.give_back(lease)
            self._arm()
            raise
        finally:
            self._parked -= 1
            if poll.open:
                self._handing.unpark(poll)

    def take(
        self, namespace: str, info: WorkerInfo, queue: str, handlers: Iterable[str], slots_total: int
    ) -> list[Task]:
        """Tasks for a worker that has just settled some; never waits.

        Raises:
            SessionSuperseded: A newer process uses the worker's id.
        """
        return self._take(namespace, info, queue, handlers, slots_total)[2].tasks

    def present(self, namespace: str, info: WorkerInfo) -> Worker:
        """The worker that speaks, for its claims.

        Raises:
            SessionSuperseded: A newer process uses the worker's id.
            Refused: LIMIT_EXCEEDED if it is new, and too many others are known.
        """
        worker = self._seen(namespace, info, self._clock_us())
        self._arm()
        return worker

    def claim(self, worker: Worker, token: bytes) -> Claim:
        """Finds the attempt a result is for. The lease goes on until `settled`.

        Raises:
            TokenInvalidError: The token was not given to this worker.
            TokenStaleError: The lease is over; the error says which it was.
        """
        lease = worker.leases.get(token)
        adopted = lease is None
        if lease is None:
            lease = self._keeping.adopt(worker, token)
            self._arm()
        task = lease.task
        return Claim(task.run_key, task.path, task.attempt, lease.number, adopted)

    def heartbeat(
        self, namespace: str, info: WorkerInfo, held: Sequence[HeldTask], *, all_held: bool
    ) -> list[HeldState.ValueType]:
        """Renews the leases a worker lists and tells what became of each.

        With `all_held` nothing that could bring the worker tasks is under way on its side; so what is not listed never
        arrived, and polls still parked for it are not its own any more.
        """
        now_us = self._clock_us()
        try:
            worker = self._seen(namespace, info, now_us)
        except SessionSuperseded:
            return [HeldState.HELD_STATE_LOST] * len(held)
        listed: set[Lease] = set()
        states = [self._keeping.beat(worker, entry, listed, now_us) for entry in held]
        if all_held:
            for poll in self._handing.parked(worker):
                self._handing.answer(poll)
            for lease in worker.holds:
                if lease not in listed:
                    self._keeping.put_back(lease, f"worker {info.id!r} does not have it")
        self._arm()
        return states

    def drain(self, namespace: str, info: WorkerInfo) -> None:
        """A worker goes down: its parked polls are answered empty and it gets nothing more.

        Raises:
            SessionSuperseded: A newer process uses the worker's id.
        """
        worker = self._seen(namespace, info, self._clock_us())
        worker.draining = True
        for poll in self._handing.parked(worker):
            self._handing.answer(poll)
        self._handing.dismiss(worker)
        self._arm()

    def drain_all(self) -> None:
        """The server goes down: all parked polls are answered empty and nothing more is handed out."""
        self._draining = True
        for worker in self._workers:
            for poll in self._handing.parked(worker):
                self._handing.answer(poll)

    # -- what people ask ---------------------------------------------------------------------------------------------

    def serves(self, namespace: str, queue: str, handler: str) -> bool:
        """Whether a connected worker serves the handler on that queue."""
        known = self._handing.known_queue(namespace, queue)
        return known is not None and known.serves(handler)

    @property
    def waiting(self) -> int:
        """How many attempts wait for workers, also those of runs that are not in memory."""
        return self._handing.waiting

    @property
    def running(self) -> int:
        """How many attempts are with workers."""
        return self._handing.running

    def attempts(self) -> list[QueuedTask]:
        """The attempts of runs in memory that wait for workers or are with them."""
        return self._handing.attempts()

    def queues(self, namespace: str) -> list[QueueSummary]:
        """The queues on which something waits, is worked on, or is served; by name."""
        return [summaries.of_queue(queue) for queue in self._handing.queues_of(namespace)]

    def workers(self, namespace: str) -> list[WorkerSummary]:
        """The connected workers, by id."""
        return [summaries.of_worker(worker) for worker in self._workers.of(namespace)]

    # -- as time passes ----------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Nothing happens by time any more."""
        self._closed = True
        self._alarm.stop()
        self._limits_alarm.stop()

    def _tick(self) -> None:
        """Looks at every lease, parked poll and worker whose time has come."""
        now_us = self._clock_us()
        self._stirred_us = None
        try:
            for item in self._handing.deadlines.due(now_us):
                if isinstance(item, Lease):
                    if item.open:  # an end before it in this round may have closed it
                        self._keeping.due(item, now_us)
                elif isinstance(item, ParkedPoll):
                    if item.open:
                        self._handing.answer(item)
                else:
                    self._worker_due(item, now_us)
            self.dispatch()
        finally:
            self._alarm.look()

    def _limits_tick(self) -> None:
        """Ends every attempt that has reached a limit."""
        now_us = self._attempts_us()
        try:
            for limits in self._handing.limits.due(now_us):
                if limits.open:
                    self._keeping.over(limits, now_us)
            self.dispatch()
        finally:
            self._limits_alarm.look()

    def _next_us(self) -> int | None:
        due_us, stirred_us = self._handing.deadlines.next_us(), self._stirred_us
        return due_us if stirred_us is None or (due_us is not None and due_us < stirred_us) else stirred_us

    def _arm(self) -> None:
        if not self._begun or self._closed:
            return
        if self._handing.stirred:
            # A parked poll can be served again. Usually a commit follows and `dispatch` with it, but not if what freed
            # the slot was refused.
            self._handing.stirred = False
            self._stirred_us = self._clock_us() + SOON_US
        next_us = self._next_us()
        if next_us is not None:
            self._alarm.expect(next_us)
        limit_us = self._handing.limits.next_us()
        if limit_us is not None:
            self._limits_alarm.expect(limit_us)

    def _worker_due(self, worker: Worker, now_us: int) -> None:
        if worker.holds or worker.parked:
            self._handing.deadlines.watch(worker, now_us + worker.lease_us)
            return
        self._handing.dismiss(worker)
        self._workers.remove(worker)

    # -- workers and their leases ------------------------------------------------------------------------------------

    def _add_worker(self, namespace: str, info: WorkerInfo, now_us: int) -> Worker:
        worker = self._workers.add(namespace, info, now_us)
        self._handing.deadlines.watch(worker, worker.due_us())
        return worker

    def _seen(self, namespace: str, info: WorkerInfo, now_us: int) -> Worker:
        worker = self._workers.get(namespace, info.id)
        if worker is None:
            most = self._settings.workers
            if len(self._workers) >= most:
                raise limit_exceeded("the server", "workers", most, len(self._workers) + 1, "worker.id")
            worker = self._add_worker(namespace, info, now_us)
        elif worker.info.session_id != info.session_id:
            if info.session_id in worker.past_sessions:
                raise SessionSuperseded(info)
            self._new_session(worker, info)
        worker.seen_us = now_us
        return worker

    def _new_session(self, worker: Worker, info: WorkerInfo) -> None:
        """A worker's process has started anew, so what the old one had is nobody's."""
        first = not worker.connected
        if not first:
            worker.past_sessions.append(worker.info.session_id)
        worker.info = WorkerInfo()
        worker.info.CopyFrom(info)
        if first:
            return
        worker.draining = False
        worker.freed = 0
        for poll in self._handing.parked(worker):
            self._handing.answer(poll)
        self._handing.dismiss(worker)
        for lease in worker.holds:
            self._keeping.put_back(lease, f"the process of worker {info.id!r} was replaced by a new one")

    def _take(
        self, namespace: str, info: WorkerInfo, queue: str, handlers: Iterable[str], slots_total: int
    ) -> tuple[Worker, TaskQueue | None, Answer]:
        """What there is, and the queue it may wait at if there is nothing."""
        now_us = self._clock_us()
        worker = self._seen(namespace, info, now_us)
        served = frozenset(handlers)
        if not served or worker.draining or self._draining:
            return worker, None, Answer()
        if worker.slots_total != slots_total:
            worker.slots_total = slots_total
            self._handing.slots_changed(worker)
        if self._handing.known_queue(namespace, queue) not in worker.serving:
            most = self._settings.worker_queues
            if len(worker.serving) >= most:
                raise limit_exceeded(f"worker {info.id!r}", "worker_queues", most, len(worker.serving) + 1, "queue")
        at = self._handing.queue(namespace, queue)
        answer = self._handing.take(worker, at, at.enlist(worker, served), now_us)
        worker.freed = 0
        self._arm()
        return worker, at, answer
