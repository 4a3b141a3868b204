"""Handing out: from queues into the hands of workers, to each no more than it has slots for, and fairly."""

import heapq
from collections.abc import Callable, Iterator, Sequence

from holdfast_server.matching.deadlines import YOUNG_US, Deadlines
from holdfast_server.matching.details import HeartbeatDetails
from holdfast_server.matching.leases import GONE, LEASED, OUTSIDE, WAITING, Lease, Limits, QueuedTask
from holdfast_server.matching.lines import Feed, Line
from holdfast_server.matching.open_attempts import OpenAttempts
from holdfast_server.matching.owner import Owner
from holdfast_server.matching.queues import Answer, Group, ParkedPoll, TaskQueue
from holdfast_server.matching.settings import MatchingSettings
from holdfast_server.matching.workers import Worker

__all__ = ["Handing"]


class Handing:
    """The queues, and what is handed out of them.

    Attributes:
        deadlines: leases, parked polls and workers, each to be looked at again at its time.
        limits: limits of leased attempts, likewise, but by the clock of attempts.
        stirred: set when a worker without free slots got one and tasks may wait for its parked polls.
        held_up: while set, nothing is handed out.
    """

    def __init__(
        self, owner: Owner, details: HeartbeatDetails, attempts_us: Callable[[], int], settings: MatchingSettings
    ) -> None:
        self.deadlines: Deadlines[Lease | ParkedPoll | Worker] = Deadlines()
        self.limits: Deadlines[Limits] = Deadlines()
        self.stirred = self.held_up = False
        self._owner = owner
        self._details = details
        self._attempts_us = attempts_us
        self._settings = settings
        self._full_bytes = settings.answer_bytes - settings.task_bytes
        self._open = OpenAttempts()
        self._queues: dict[tuple[str, str], TaskQueue] = {}
        self._unserved: dict[TaskQueue, None] = {}  # where tasks may now meet polls that are parked

    # -- attempts ----------------------------------------------------------------------------------------------------

    def find(self, run_key: int, path: str) -> QueuedTask | None:
        """The open attempt of an activation, waiting or leased."""
        return self._open.get(run_key, path)

    def of_run(self, run_key: int) -> list[QueuedTask]:
        """The open attempts of a run."""
        return self._open.of_run(run_key)

    def attempts(self) -> list[QueuedTask]:
        """All open attempts."""
        return list(self._open)

    @property
    def waiting(self) -> int:
        """How many attempts wait, in memory or outside."""
        return sum(queue.waiting + queue.outside.waiting for queue in self._queues.values())

    @property
    def running(self) -> int:
        """How many attempts are with workers."""
        return sum(queue.running for queue in self._queues.values())

    def add(self, task: QueuedTask) -> None:
        """An attempt begins to wait; none of its activation is open."""
        self._open.put(task)
        queue = self.queue(task.namespace, task.queue)
        queue.add(task)
        self._unserved[queue] = None

    def set_aside(self, run_key: int) -> None:
        """A run leaves the memory: its attempts, all of which wait, do so outside."""
        for task in self._open.of_run(run_key):
            queue = self.queue(task.namespace, task.queue)
            queue.outside.add(task.handler, 1, task.since_us)
            self.drop(task)

    def lease(self, task: QueuedTask, worker: Worker, number: int, token: bytes, now_us: int) -> Lease:
        """An attempt that is not open is in a worker's hands by an earlier server; without a token it is inherited."""
        self._open.put(task)
        return self._lease(task, self.queue(task.namespace, task.queue), worker, number, token, now_us)

    def limit(self, lease: Lease, deadline_us: int | None, silence_us: int | None, now_us: int) -> None:
        """A leased attempt may take until a deadline, its handler may be silent for so long, and speaks now."""
        if deadline_us is not None or silence_us is not None:
            limits = lease.limits = Limits(lease, deadline_us, silence_us, now_us)
            due_us = limits.due_us()
            if due_us - now_us > YOUNG_US:
                self.limits.watch_young(limits, now_us)
            else:
                self.limits.watch(limits, due_us)

    def drop(self, task: QueuedTask) -> None:
        """An attempt is open no longer, whether it waits or is leased."""
        self._open.remove(task)
        if task.place == WAITING:
            queue = self._queues[task.namespace, task.queue]
            queue.withdraw(task)
            self._forget_if_idle(queue)
            return
        task.place = GONE
        lease = task.lease
        if lease is not None:
            task.lease = None
            self._end(lease)

    def _lease(
        self, task: QueuedTask, queue: TaskQueue, worker: Worker, number: int, token: bytes, now_us: int
    ) -> Lease:
        lease = Lease(task, worker, queue, number, token, now_us)
        task.lease = lease
        task.place = LEASED
        queue.running += 1
        if token:
            worker.leases[token] = lease
        else:
            worker.inherited[lease] = None
        if worker.parked and worker.free <= 0:
            for poll in worker.parked:
                poll.group.ready.pop(poll, None)
        return lease

    def _end(self, lease: Lease) -> None:
        lease.open = False
        if lease.watched:
            self.deadlines.closed(lease)
        if lease.limits is not None:
            self.limits.closed(lease.limits)
        queue, worker = lease.queue, lease.worker
        queue.running -= 1
        if lease.inherited:
            worker.inherited.pop(lease, None)
        else:
            del worker.leases[lease.token]
        if worker.parked and worker.free == 1:  # it had none
            self.slots_changed(worker)
            self.stirred = bool(self._unserved)
        if not queue.running:
            self._forget_if_idle(queue)

    # -- polls -------------------------------------------------------------------------------------------------------

    def park(self, poll: ParkedPoll) -> None:
        """A poll begins to wait."""
        poll.queue.park(poll)
        self.deadlines.watch(poll, poll.due)
        self.slots_changed(poll.worker)

    def unpark(self, poll: ParkedPoll) -> None:
        """A poll waits no longer."""
        poll.queue.unpark(poll)
        self.deadlines.closed(poll)
        self._forget_if_idle(poll.queue)

    def answer(self, poll: ParkedPoll) -> None:
        """Gives a parked poll what there is for it."""
        self.unpark(poll)
        if not poll.future.done():
            poll.future.set_result(poll.answer)

    def slots_changed(self, worker: Worker) -> None:
        """Looks again which of a worker's parked polls may be served."""
        free = worker.free > 0 and not worker.draining
        for poll in worker.parked:
            if not free:
                poll.group.ready.pop(poll, None)
            elif poll not in poll.group.ready:
                poll.queue.make_ready(poll)
                if poll.queue.lines or poll.queue.outside:
                    self._unserved[poll.queue] = None

    # -- handing out -------------------------------------------------------------------------------------------------

    def take(self, worker: Worker, queue: TaskQueue, group: Group, now_us: int) -> Answer:
        """What is ready for a worker that asks now.

        It gets as many tasks as it has just settled, so that one message settles and brings. Beyond that it shares with
        those whose polls are parked.
        """
        answer = Answer()
        if queue.outside:
            self._fetch(queue, group)
        lines = queue.lines_for(group.handlers)
        if not lines:
            return answer
        if self.held_up:
            self._unserved[queue] = None
            return answer
        waiting = sum(line.waiting for line in lines)
        limit = waiting
        rivals = self._rivals(queue, worker, lines)
        if rivals:
            limit = max(worker.freed, -(-waiting // (rivals + 1)))
            self._unserved[queue] = None
        self._fill(answer, worker, queue, Feed(lines), limit, now_us)
        return answer

    def _rivals(self, queue: TaskQueue, worker: Worker, lines: Sequence[Line]) -> int:
        """How many parked polls of others could have tasks of these lines."""
        rivals = 0
        for group in queue.groups.values():
            if group.ready and any(line.handler in group.handlers for line in lines):
                rivals += len(group.ready)
                rivals -= sum(1 for poll in worker.parked if poll in group.ready)
        return rivals

    def dispatch(self, now_us: int) -> None:
        """Hands to parked polls what they can have."""
        while self._unserved and not self.held_up:
            queue = self._unserved.popitem()[0]
            try:
                self._spread(queue, now_us)
            except BaseException:
                self._unserved[queue] = None  # a fault with one task must not hold up those behind it
                raise

    def _spread(self, queue: TaskQueue, now_us: int) -> None:
        """Hands out the tasks of a queue, to each poll by the slots its worker has free, longest parked first."""
        turns: list[tuple[int, int, Group, Feed]] = []
        polls = 0
        lines_served: dict[Line, None] = {}
        for number, group in enumerate(queue.groups.values()):
            if group.ready and queue.outside:
                self._fetch(queue, group)
            if group.ready and (lines := queue.lines_for(group.handlers)):
                turns.append((0, number, group, Feed(lines)))
                polls += len(group.ready)
                lines_served.update(dict.fromkeys(lines))
        waiting = sum(line.waiting for line in lines_served)
        free = 0
        if waiting > polls:  # else one for each, and nobody is counted who gets nothing
            free = sum(poll.worker.free for _, _, group, _ in turns for poll in group.ready)
        served: dict[ParkedPoll, None] = {}
        try:
            while turns:
                turn, number, group, feed = turns[0]
                poll = next(iter(group.ready), None)
                if poll is None:
                    heapq.heappop(turns)
                elif poll.turn != turn:
                    heapq.heapreplace(turns, (poll.turn, number, group, feed))
                elif poll.future.done():  # its caller has left
                    group.ready.pop(poll)
                else:
                    share = -(-waiting * poll.worker.free // free) if free > 0 else 1
                    if not self._fill(poll.answer, poll.worker, queue, feed, share, now_us):
                        heapq.heappop(turns)
                        continue
                    served[poll] = None
                    if self._full(poll.answer):
                        group.ready.pop(poll, None)
                    elif poll in group.ready:
                        queue.make_ready(poll)
        finally:
            for poll in served:
                self.answer(poll)

    def _fetch(self, queue: TaskQueue, group: Group) -> None:
        for handler in queue.wanted_from_outside(group.handlers):
            self._owner.fetch(queue.namespace, queue.name, handler)

    def _full(self, answer: Answer) -> bool:
        return answer.size_bytes > self._full_bytes or len(answer.tasks) >= self._settings.answer_tasks

    def _fill(self, answer: Answer, worker: Worker, queue: TaskQueue, feed: Feed, limit: int, now_us: int) -> int:
        """Puts up to `limit` tasks into an answer and tells how many."""
        limit = min(limit, worker.free, self._settings.answer_tasks - len(answer.tasks))
        given = 0
        while given < limit and answer.size_bytes <= self._full_bytes:
            task = feed.take()
            if task is None:
                break
            given += self._hand(answer, worker, queue, task, now_us)
        return given

    def _hand(self, answer: Answer, worker: Worker, queue: TaskQueue, task: QueuedTask, now_us: int) -> bool:
        task.place = OUTSIDE
        try:
            handed = self._owner.hand_out(task, worker.info)
        except BaseException:
            self.drop(task)
            raise
        if task.place != OUTSIDE:  # the owner has withdrawn it
            return False
        if handed is None:
            self.drop(task)
            return False
        token = handed.task.token = worker.seal.issue(task.run_key, task.path, task.attempt, handed.lease)
        lease = self._lease(task, queue, worker, handed.lease, token, now_us)
        if worker.lease_us > YOUNG_US:
            self.deadlines.watch_young(lease, now_us)
        else:
            self.deadlines.watch(lease, lease.due_us())
        began_us = self._attempts_us()
        deadline_us = None if handed.start_to_close_us is None else began_us + handed.start_to_close_us
        self.limit(lease, deadline_us, handed.heartbeat_us, began_us)
        if self._details.size_bytes:
            details = self._details.get(task.run_key, task.path)
            if details is not None:
                handed.task.heartbeat_details.CopyFrom(details)
                answer.size_bytes += len(details.data)
        answer.tasks.append(handed.task)
        answer.leases.append(lease)
        answer.size_bytes += handed.size_bytes
        return True

    # -- outside of the memory ---------------------------------------------------------------------------------------

    def waits_outside(self, namespace: str, name: str, handler: str, count: int, oldest_us: int) -> None:
        """Attempts of runs that are not in memory wait."""
        queue = self.queue(namespace, name)
        queue.outside.add(handler, count, oldest_us)
        self._unserved[queue] = None

    def came_back(self, namespace: str, name: str, handler: str) -> None:
        """One of them is in memory."""
        queue = self._queues.get((namespace, name))
        if queue is not None:
            queue.outside.came_back(handler)

    def fetched(self, namespace: str, name: str, handler: str, next_us: int | None) -> None:
        """The owner has fetched some of them."""
        queue = self.queue(namespace, name)
        queue.outside.fetched(handler, next_us)
        self._unserved[queue] = None

    # -- queues ------------------------------------------------------------------------------------------------------

    def queue(self, namespace: str, name: str) -> TaskQueue:
        """The queue of that name, made if it is new."""
        queue = self._queues.get((namespace, name))
        if queue is None:
            queue = self._queues[namespace, name] = TaskQueue(namespace, name)
        return queue

    def known_queue(self, namespace: str, name: str) -> TaskQueue | None:
        """The queue of that name if anybody or anything is there."""
        return self._queues.get((namespace, name))

    def queues_of(self, namespace: str) -> list[TaskQueue]:
        """The queues of a namespace, by name."""
        found = [queue for queue in self._queues.values() if queue.namespace == namespace]
        return sorted(found, key=lambda queue: queue.name)

    def dismiss(self, worker: Worker) -> None:
        """A worker serves nothing any more."""
        for queue in list(worker.serving):
            queue.dismiss(worker)
            self._forget_if_idle(queue)

    def parked(self, worker: Worker) -> Iterator[ParkedPoll]:
        """The parked polls of a worker; they may be answered meanwhile."""
        yield from list(worker.parked)

    def _forget_if_idle(self, queue: TaskQueue) -> None:
        if queue.idle:
            self._queues.pop((queue.namespace, queue.name), None)
            self._unserved.pop(queue, None)
