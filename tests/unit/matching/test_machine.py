"""Matching under everything at once: workers that come, poll, answer, fall silent and die, and servers that restart.

The model is the owner of the runs. It knows of each attempt whether it waits, is in somebody's hands, or is about to be
offered again, and objects as soon as matching does something that does not fit.
"""

import asyncio
from dataclasses import dataclass
from typing import Any

from hypothesis import settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from holdfast.v1.task_pb2 import Task, WorkerInfo
from holdfast.v1.worker_service_pb2 import HeldTask
from holdfast_server.matching.leases import LEASED, WAITING
from holdfast_server.matching.matching import (
    Adopted,
    HandedOut,
    Matching,
    MatchingSettings,
    QueuedTask,
    TokenInvalidError,
    Tokens,
    TokenStaleError,
)
from tests.unit.matching.world import KEY, LOST, NAMESPACE, SECOND_US, World, settle_loop

QUEUES = ("left", "right")
HANDLERS = ("a", "b", "c")
WORKERS = ("w1", "w2", "w3")
Place = tuple[int, str]

queues = st.sampled_from(QUEUES)
workers = st.sampled_from(WORKERS)
handler_sets = st.sets(st.sampled_from(HANDLERS), min_size=1).map(sorted)
seconds = st.sampled_from([0.0, 0.5, 2.0, 9.0, 29.0, 31.0])
choices = st.integers(0, 10**6)


@dataclass
class Attempt:
    """One attempt as the runs know it."""

    queue: str
    handler: str
    number: int = 1
    since_us: int = 0
    state: str = "waiting"
    worker: str = ""
    lease: int = 0


@dataclass
class Process:
    """A worker's process."""

    session: int = 0
    slots: int = 0
    draining: bool = False


class Model:
    """The runs, and what matching told them."""

    def __init__(self) -> None:
        self.open: dict[Place, Attempt] = {}
        self.processes = {name: Process() for name in WORKERS}
        self.lease = 0
        self.time_us = 0

    def used(self, worker: str) -> int:
        return sum(1 for attempt in self.open.values() if attempt.state == "held" and attempt.worker == worker)

    def hand_out(self, task: QueuedTask, worker: WorkerInfo) -> HandedOut | None:
        attempt = self.open[task.run_key, task.path]
        assert attempt.state == "waiting", "handed out twice"
        assert attempt.number == task.attempt
        process = self.processes[worker.id]
        assert self.used(worker.id) < process.slots, "more tasks than slots"
        assert not process.draining
        older = [
            other
            for other in self.open.values()
            if other.state == "waiting"
            and (other.queue, other.handler) == (task.queue, task.handler)
            and other.since_us < task.since_us
        ]
        assert older == [], "an older task was passed over"
        self.lease += 1
        attempt.state, attempt.worker, attempt.lease = "held", worker.id, self.lease
        message = Task(run_id=str(task.run_key), step_path=task.path, attempt=task.attempt, handler=task.handler)
        return HandedOut(message, self.lease, 45 * SECOND_US, 12 * SECOND_US, 100)

    def adopt(self, task: QueuedTask, worker: WorkerInfo, lease: int) -> Adopted | None:
        attempt = self.open[task.run_key, task.path]
        assert attempt.number == task.attempt
        if attempt.state == "held":
            assert (attempt.lease, attempt.worker) == (lease, worker.id)
        attempt.state, attempt.worker, attempt.lease = "held", worker.id, lease
        return Adopted(self.time_us, 45 * SECOND_US, 12 * SECOND_US)

    def attempt_ended(self, run_key: int, path: str, attempt: int, kind: str, detail: str) -> None:
        known = self.open[run_key, path]
        assert (known.number, known.state) == (attempt, "held")
        known.state = "failed"

    def attempt_returned(self, run_key: int, path: str, attempt: int) -> None:
        known = self.open[run_key, path]
        assert (known.number, known.state) == (attempt, "held")
        known.state = "returned"

    def fetch(self, namespace: str, queue: str, handler: str) -> None:
        raise AssertionError(f"nothing waits outside: {namespace} {queue} {handler}")


class Machine(RuleBasedStateMachine):
    """Random lives of servers and workers."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.world = World(MatchingSettings(answer_tasks=4))
        self.model = Model()
        self.runs = 0
        # What each worker believes to have: tasks by token. A token may be long stale.
        self.hands: dict[str, dict[bytes, Task]] = {name: {} for name in WORKERS}
        self.polls: list[tuple[str, int, asyncio.Task[list[Task]]]] = []
        self.dead: list[tuple[str, bytes]] = []
        self.renew_matching()
        self.matching.dispatch()

    def renew_matching(self) -> None:
        world = self.world
        tokens = Tokens(KEY, world.epoch)
        world.matching = Matching(self.model, tokens, world.clocks, world.settings)

    @property
    def matching(self) -> Matching:
        return self.world.matching

    def info(self, worker: str) -> WorkerInfo:
        return WorkerInfo(id=worker, session_id=f"s{self.model.processes[worker].session}")

    def offer(self, place: Place, attempt: Attempt) -> None:
        attempt.state = "waiting"
        self.matching.offer(
            QueuedTask(place[0], NAMESPACE, attempt.queue, attempt.handler, place[1], attempt.number, attempt.since_us)
        )

    def some_place(self, choice: int, *states: str) -> Place | None:
        places = [place for place, attempt in self.model.open.items() if attempt.state in states]
        return places[choice % len(places)] if places else None

    def spin(self) -> None:
        """Lets answered polls bring their tasks, and forgets polls that are done."""
        self.loop.run_until_complete(settle_loop())
        for worker, session, poll in self.polls:
            if poll.done() and not poll.cancelled() and session == self.model.processes[worker].session:
                self.hands[worker] |= {task.token: task for task in poll.result()}
        self.polls = [entry for entry in self.polls if not entry[2].done()]

    # -- the runs ----------------------------------------------------------------------------------------------------

    @rule(queue=queues, handlers=st.lists(st.sampled_from(HANDLERS), min_size=1, max_size=6))
    def start_runs(self, queue: str, handlers: list[str]) -> None:
        self.runs += 1
        for number, handler in enumerate(handlers):
            self.world.now_us += 1
            attempt = Attempt(queue, handler, since_us=self.world.now_us)
            place = (self.runs, f"step{number}")
            self.model.open[place] = attempt
            self.offer(place, attempt)

    @rule()
    def commit(self) -> None:
        for place, attempt in self.model.open.items():
            if attempt.state in ("failed", "returned"):
                attempt.number += attempt.state == "failed"
                self.world.now_us += 1
                attempt.since_us = self.world.now_us
                self.offer(place, attempt)
        self.matching.dispatch()
        self.spin()

    @rule(choice=choices)
    def pause_and_resume(self, choice: int) -> None:
        place = self.some_place(choice, "waiting")
        if place is not None:
            self.matching.withdraw(*place)
            self.offer(place, self.model.open[place])

    @rule(choice=choices)
    def close_run(self, choice: int) -> None:
        place = self.some_place(choice, "waiting", "held")
        if place is not None:
            self.matching.withdraw_run(place[0])
            self.model.open = {other: a for other, a in self.model.open.items() if other[0] != place[0]}

    @rule(choice=choices)
    def cancel(self, choice: int) -> None:
        place = self.some_place(choice, "held")
        if place is not None:
            self.matching.request_cancel(*place, self.model.open[place].number)

    # -- workers -----------------------------------------------------------------------------------------------------

    @rule(worker=workers, queue=queues, handlers=handler_sets, slots=st.integers(1, 6), arrives=st.booleans())
    def take(self, worker: str, queue: str, handlers: list[str], slots: int, arrives: bool) -> None:
        self.model.processes[worker].slots = slots
        tasks = self.matching.take(NAMESPACE, self.info(worker), queue, handlers, slots)
        assert len(tasks) <= 4
        assert all(task.handler in handlers for task in tasks)
        if arrives:
            self.hands[worker] |= {task.token: task for task in tasks}

    @rule(worker=workers, queue=queues, handlers=handler_sets, slots=st.integers(1, 6))
    def park(self, worker: str, queue: str, handlers: list[str], slots: int) -> None:
        process = self.model.processes[worker]
        process.slots = slots
        poll = self.matching.poll(NAMESPACE, self.info(worker), queue, handlers, slots, 60 * SECOND_US)
        self.polls.append((worker, process.session, self.loop.create_task(poll)))
        self.spin()

    @precondition(lambda self: self.polls)
    @rule(choice=choices, answered=st.booleans())
    def leave_poll(self, choice: int, answered: bool) -> None:
        poll = self.polls[choice % len(self.polls)][2]
        if answered:
            self.matching.dispatch()  # the answer is on its way when the caller leaves
        poll.cancel()
        self.spin()

    @rule(worker=workers, choice=choices, gives_back=st.booleans())
    def finish(self, worker: str, choice: int, gives_back: bool) -> None:
        if not self.hands[worker]:
            return
        token = list(self.hands[worker])[choice % len(self.hands[worker])]
        task = self.hands[worker].pop(token)
        place = (int(task.run_id), task.step_path)
        attempt = self.model.open.get(place)
        rightful = attempt is not None and attempt.state == "held" and attempt.worker == worker
        claim, refused = None, None
        try:
            claim = self.matching.claim(self.matching.present(NAMESPACE, self.info(worker)), token)
        except TokenStaleError as stale:
            refused = stale.content
        if claim is None:
            assert refused is not None
            assert (refused.run_key, refused.path) == place
            assert not rightful or attempt is None or attempt.lease != refused.lease
            return
        attempt = self.model.open[place]
        assert (claim.run_key, claim.path) == place
        assert (attempt.state, attempt.worker, attempt.number) == ("held", worker, claim.attempt)
        self.matching.settled(claim)
        self.dead.append((worker, token))
        if gives_back:
            attempt.state = "returned"
        else:
            del self.model.open[place]

    @rule(worker=workers, everything=st.booleans(), alive=st.booleans(), listed=choices)
    def heartbeat(self, worker: str, everything: bool, alive: bool, listed: int) -> None:
        tasks = list(self.hands[worker].values())
        if everything:
            for _, _, poll in [entry for entry in self.polls if entry[0] == worker]:
                poll.cancel()  # as a worker does that has lost its connection
            self.spin()
        else:
            tasks = [task for number, task in enumerate(tasks) if listed >> number & 1]
        held = [HeldTask(token=task.token, alive=alive) for task in tasks]
        states = self.matching.heartbeat(NAMESPACE, self.info(worker), held, all_held=everything)
        for task, state in zip(tasks, states, strict=True):
            attempt = self.model.open.get((int(task.run_id), task.step_path))
            if state == LOST:
                del self.hands[worker][task.token]
            else:
                assert attempt is not None
                assert (attempt.state, attempt.worker) == ("held", worker)
        if everything:
            kept = {(int(task.run_id), task.step_path) for task in self.hands[worker].values()}
            for place, attempt in self.model.open.items():
                if attempt.state == "held" and attempt.worker == worker:
                    assert place in kept

    @rule(worker=workers)
    def new_process(self, worker: str) -> None:
        process = self.model.processes[worker]
        self.dead += [(worker, token) for token in self.hands[worker]]
        self.hands[worker] = {}
        process.session += 1
        process.draining = False
        self.matching.heartbeat(NAMESPACE, self.info(worker), [], all_held=True)
        self.spin()
        assert self.model.used(worker) == 0

    @rule(worker=workers)
    def drain(self, worker: str) -> None:
        self.matching.drain(NAMESPACE, self.info(worker))
        self.model.processes[worker].draining = True
        self.spin()
        assert [entry for entry in self.polls if entry[0] == worker] == []

    @precondition(lambda self: self.dead)
    @rule(choice=choices)
    def show_an_old_token(self, choice: int) -> None:
        worker, token = self.dead[choice % len(self.dead)]
        try:
            content = self.matching.claim(self.matching.present(NAMESPACE, self.info(worker)), token)
        except (TokenStaleError, TokenInvalidError):
            return
        # Only after a restart that took back what was not on disk may it be good again.
        assert content.adopted
        self.matching.settled(content)
        del self.model.open[content.run_key, content.path]

    # -- time and servers --------------------------------------------------------------------------------------------

    @rule(by=seconds)
    def pass_time(self, by: float) -> None:
        self.world.pass_time(by)
        known = {summary.worker.id for summary in self.matching.workers(NAMESPACE)}
        for name, process in self.model.processes.items():
            process.draining = process.draining and name in known
        self.spin()

    @rule(on_disk=choices)
    def restart(self, on_disk: int) -> None:
        for _, _, poll in self.polls:
            poll.cancel()
        self.spin()
        self.world.epoch += 1
        self.world.clock.forget()
        self.model.time_us = self.world.now_us
        self.renew_matching()
        for process in self.model.processes.values():
            process.draining = False
        for number, (place, attempt) in enumerate(self.model.open.items()):
            if attempt.state == "held" and on_disk >> number % 20 & 1:
                task = QueuedTask(
                    place[0], NAMESPACE, attempt.queue, attempt.handler, place[1], attempt.number, self.world.now_us
                )
                self.matching.held(task, attempt.worker, attempt.lease)
            elif attempt.state in ("held", "waiting"):
                self.offer(place, attempt)
        self.matching.dispatch()

    # -- what holds always -------------------------------------------------------------------------------------------

    @invariant()
    def matching_and_the_runs_agree(self) -> None:
        handing = self.matching._handing
        for place, attempt in self.model.open.items():
            task = handing.find(*place)
            if attempt.state in ("failed", "returned"):
                assert task is None
                continue
            assert task is not None, "an attempt is lost"
            assert task.attempt == attempt.number
            if attempt.state == "waiting":
                assert (task.place, task.lease) == (WAITING, None)
            else:
                assert task.place == LEASED
                assert task.lease is not None
                assert (task.lease.worker.info.id, task.lease.number) == (attempt.worker, attempt.lease)
        for queue in handing.queues_of(NAMESPACE):
            mine = [attempt for attempt in self.model.open.values() if attempt.queue == queue.name]
            assert queue.waiting == sum(1 for attempt in mine if attempt.state == "waiting")
            assert queue.running == sum(1 for attempt in mine if attempt.state == "held")
        for summary in self.matching.workers(NAMESPACE):
            assert summary.slots_used == self.model.used(summary.worker.id)

    @invariant()
    def parked_polls_are_ready_exactly_if_their_workers_have_slots(self) -> None:
        for worker in self.matching._workers:
            for poll in worker.parked:
                assert poll.open
                assert (poll in poll.group.ready) == (worker.free > 0 and not worker.draining)

    def teardown(self) -> None:
        """Whatever happened, all work gets done in the end."""
        try:
            self.finish_everything()
        finally:
            for _, _, poll in self.polls:
                poll.cancel()
            self.spin()
            self.loop.close()
        super().teardown()

    def finish_everything(self) -> None:
        for process in self.model.processes.values():
            process.session += 1
            process.draining = False
        self.model.processes["last"] = Process(slots=4)
        self.hands["last"] = {}
        for _ in range(200):
            self.pass_time(31)
            self.commit()
            for queue in QUEUES:
                while tasks := self.matching.take(NAMESPACE, self.info("last"), queue, HANDLERS, 4):
                    for task in tasks:
                        self.hands["last"][task.token] = task
                        self.finish("last", 0, gives_back=False)
            if not self.model.open:
                break
        assert self.model.open == {}
        assert all(queue.queued == 0 for queue in self.matching.queues(NAMESPACE))


TestMachine: Any = Machine.TestCase
TestMachine.settings = settings(max_examples=60, stateful_step_count=50, deadline=None)
