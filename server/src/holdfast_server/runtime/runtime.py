"""The heart of the server: applies commands to runs, one at a time per run, and performs effects after commits.

A run is touched by whoever is running on the event loop, and deciding never waits, so there are no locks. What has
to be loaded first (a large payload, a state that was dropped) is loaded before, and looked at again after.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field

import structlog

from holdfast.v1.actor_pb2 import Actor, RequestMark
from holdfast.v1.errors_pb2 import ErrorReason
from holdfast_server.clock import Clock
from holdfast_server.engine import effects as fx, views
from holdfast_server.engine.commands import Command, FireTimer
from holdfast_server.engine.decide import Decision, decide, needs
from holdfast_server.engine.payloads import PayloadBag
from holdfast_server.engine.refusal import Refused
from holdfast_server.engine.settings import EngineSettings
from holdfast_server.engine.turn import Entropy
from holdfast_server.journal.group_commit import Entry, Journal
from holdfast_server.matching.matching import Matching, QueuedTask
from holdfast_server.runtime.backlog import Backlog
from holdfast_server.runtime.catalog import Catalog
from holdfast_server.runtime.closers import Closers
from holdfast_server.runtime.deleting import Deleting
from holdfast_server.runtime.eviction import Evictor
from holdfast_server.runtime.feeds import Feed
from holdfast_server.runtime.folding import Folder
from holdfast_server.runtime.health import Health
from holdfast_server.runtime.host import OnDisk, RunHost
from holdfast_server.runtime.loading import Loading
from holdfast_server.runtime.mending import Mending, quarantined
from holdfast_server.runtime.payload_cache import PayloadCache
from holdfast_server.runtime.pieces import payloads_in
from holdfast_server.runtime.residence import Residence
from holdfast_server.runtime.retention import Retention
from holdfast_server.runtime.wakes import WAKE, Wakes
from holdfast_server.store.port import PayloadRow, RunUpdate, Store, StoreError
from holdfast_server.timers.service import TimerService

__all__ = ["Due", "Runtime", "RuntimeSettings"]

MIB = 1024 * 1024
EVENTS_AT_ONCE = 1_000
"""Events that a batch makes before it lets others go on."""

Due = tuple[int, str, str]
"""What a timer is for: run key, path, and `Timer` or `WAKE`."""

log = structlog.get_logger("holdfast.runtime")


@dataclass(frozen=True, slots=True)
class RuntimeSettings:
    """Rules of the runtime; see the table of limits in `docs/semantics.md`."""

    engine: EngineSettings = field(default_factory=EngineSettings)
    uncommitted_transitions: int = 20_000
    lazy_delay_s: float = 0.005
    hot_runs: int = 20_000
    """Runs in memory; those beyond it leave as soon as they only wait."""
    evict_after_s: float = 10.0
    """Seconds after which runs leave that only wait, also when there is room."""
    retention_us: int | None = None
    """How long closed runs are kept whose workflow does not say it; None means for ever."""
    batch_items: int = 1_000
    """Items in a batch of starts, signals or results."""
    uncommitted_bytes: int = 256 * MIB
    """Large payloads that wait for the disk."""
    waits: int = 100_000
    """Waits for the end of runs at once."""
    history_warning_bytes: int = 64 * MIB
    """Size of a run's history that is worth a line in the log."""


class Runtime:
    """Runs, and everything that happens to them.

    Attributes:
        store: the database.
        journal: its one writer.
        catalog: the workflows.
        residence: the runs in memory.
        closers: who waits for the end of runs.
        folder, loading, evictor, wakes, backlog: how runs leave the memory and come back.
        matching: queues and workers; wired in `app.py`.
        on_done: called when something has ended that made it `busy`; for clocks that skip the time in which nothing
            happens.
        runs_feed, gates_feed: changes for those who watch.
    """

    def __init__(self, store: Store, clock: Clock, entropy: Entropy, server_id: str, settings: RuntimeSettings) -> None:
        self.store = store
        self.clock_us = clock.now_us
        self.entropy = entropy
        self.settings = settings
        self.health = Health(store.probe)
        self.mending = Mending(self)
        self.deleting = Deleting(self)
        self.health.listen(self.mending.go_on)
        self.evictor = Evictor(self, settings.hot_runs, settings.evict_after_s)
        self.journal = Journal(
            self.health.watched(store.commit),
            self.mending.commit_failed,
            self.mending.contradicted,
            self.evictor.evicted,
            self.evictor.kept,
            self._group_done,
            settings.lazy_delay_s,
            settings.uncommitted_transitions,
        )
        self.catalog = Catalog(store, self.journal, clock.now_us)
        self.payloads = PayloadCache(store)
        self.folder = Folder(store, self.catalog)
        self.residence = Residence(self._committed)
        self.closers = Closers(settings.waits)
        self.loading = Loading(self)
        self.wakes = Wakes(self)
        self.retention = Retention(self, clock, settings.retention_us)
        self.backlog = Backlog(self)
        self.runs_feed = Feed(server_id)
        self.gates_feed = Feed(server_id)
        self.timers: TimerService[Due] = TimerService(clock, self._due)
        self.matching: Matching
        self.last_key = 0
        self.on_done: Callable[[], None] = _nothing
        self._background: set[asyncio.Task[None]] = set()
        self._unbroken = 0

    @property
    def busy(self) -> bool:
        """Whether something goes on that no time has to pass for: work of its own, or what the disk has to take."""
        return bool(self._background) or not self.journal.idle or not self.health.writable

    def spawn(self, work: Coroutine[object, object, None], name: str) -> None:
        """Runs something in the background; a fault in it is logged."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._background.add(task)
        task.add_done_callback(self._spawned_done)

    def _spawned_done(self, task: asyncio.Task[None]) -> None:
        self._background.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("background work failed", work=task.get_name(), exc_info=error)
        self.on_done()

    def check_writable(self) -> None:
        """Refuses changes the disk would not take.

        Raises:
            Refused: STORE_UNAVAILABLE.
            JournalFullError: too much waits for the disk.
        """
        if not self.health.writable:
            raise Refused(ErrorReason.ERROR_REASON_STORE_UNAVAILABLE, self.health.message)
        self.journal.check_room()
        limit, actual = self.settings.uncommitted_bytes, self.payloads.pinned_bytes
        if actual > limit:
            message = f"{actual} bytes of payloads wait for the disk; the limit uncommitted_bytes is {limit}; try again"
            facts = {"limit": "uncommitted_bytes", "value": str(limit), "actual": str(actual)}
            raise Refused(ErrorReason.ERROR_REASON_STORE_UNAVAILABLE, message, facts)

    def made(self, events: int) -> None:
        """Counts events since the last chance of others, see `let_others`."""
        self._unbroken += events

    async def let_others(self) -> None:
        """Lets others go on once many events were made: a batch of large items must not keep everybody waiting."""
        if self._unbroken > EVENTS_AT_ONCE:
            self._unbroken = 0
            await asyncio.sleep(0)

    # -- applying commands -------------------------------------------------------------------------------------------

    def bag_now(self, host: RunHost) -> PayloadBag | None:
        """The payloads a command on the run needs, if they are in memory and the run is fit to decide."""
        if host.stale:
            return None
        hashes = needs(host.state)
        inline = self.settings.engine.inline_bytes
        if not hashes:
            return PayloadBag(None, inline)
        found = self.payloads.find(hashes)
        return None if found is None else PayloadBag(found, inline)

    async def bag(self, host: RunHost) -> PayloadBag:
        """The same, loading what is missing.

        Raises:
            StoreError: the disk does not answer.
            Refused: RUN_NOT_FOUND if the run turns out not to be on disk.
        """
        host.pins += 1
        try:
            while True:
                bag = self.bag_now(host)
                if bag is not None:
                    return bag
                if host.stale:
                    await self.mending.reload(host)
                    continue
                hashes = needs(host.state)
                loaded = await self.payloads.load(hashes)
                # Meanwhile it may have come to need more, or been dropped.
                if not self._dropped(host) and all(digest in loaded for digest in needs(host.state)):
                    return PayloadBag(loaded, self.settings.engine.inline_bytes)
        finally:
            host.pins -= 1

    @staticmethod
    def _dropped(host: RunHost) -> bool:
        return host.stale

    def apply(
        self,
        host: RunHost,
        command: Command,
        bag: PayloadBag,
        actor: Actor | None = None,
        request: RequestMark | None = None,
        *,
        lazy: bool = False,
    ) -> Decision:
        """Carries out a command now; it is on disk once `journal.durable()` has answered.

        Raises:
            Refused: it is not carried out.
        """
        if host.quarantined:
            raise quarantined(host)
        entry = self.journal.entry(host)
        before = len(entry.batch.events)
        life_before = (host.state.state, host.state.run_epoch)
        history_before = host.state.history_bytes
        try:
            decision = decide(
                host.state,
                command,
                self.clock_us(),
                self.entropy,
                bag,
                self.settings.engine,
                entry.batch,
                actor,
                request,
            )
        except Refused:
            if not before:
                self.journal.forget(host, 0)
            raise
        except Exception as error:
            self.journal.forget(host, before)
            self.mending.quarantine(host, error)
            raise quarantined(host) from error
        if decision.first_seq:
            self.made(host.state.seq - decision.first_seq + 1)
            if host.on_disk is not OnDisk.HOT:
                self._revive(host)
            entry.effects.extend(decision.effects)
            self.journal.add(self.pin_new(host.key, entry, before, bag), lazy=lazy)
            # A run that is retried and fails again at once is FAILED as before, and not the same.
            if (host.state.state, host.state.run_epoch) != life_before:
                self.state_changed(host)
            if history_before <= self.settings.history_warning_bytes < host.state.history_bytes:
                log.warning(
                    "the history of a run is large",
                    run_id=host.state.run_id,
                    history_bytes=host.state.history_bytes,
                    limit_bytes=self.settings.engine.history_bytes,
                )
        elif not before:
            self.journal.forget(host, 0)
        return decision

    def pin_new(self, key: int, entry: Entry, before: int, bag: PayloadBag) -> list[PayloadRow]:
        """Rows for the large payloads a decision made; they stay in memory until they are on disk.

        What it made and did not use, such as an output that did not fit its schema, is not among them.

        Args:
            key: of the run.
            entry: has the events of the decision.
            before: how many events it had before that.
            bag: what the decision made.
        """
        if not bag.new:
            return []
        used = {payload.ref.sha256 for event in entry.batch.events[before:] for payload in payloads_in(event)}
        rows = []
        for digest, payload in bag.new.items():
            if digest not in used:
                continue
            self.payloads.pin(digest, payload)
            entry.pinned.append(digest)
            rows.append(PayloadRow(digest, payload.SerializeToString(deterministic=True), key))
        return rows

    def _revive(self, host: RunHost) -> None:
        """A run that was evicted goes on: it is in memory from now on, for the disk too."""
        self.evictor.stays(host)
        host.on_disk = OnDisk.HOT
        run = host.state
        self.journal.revive(RunUpdate(host.key, run.state, run.close_us, run.run_epoch, run.seq, 0, ""))

    def state_changed(self, host: RunHost) -> None:
        """The row of a run follows its state: written when it closes, pauses, goes on."""
        run = host.state
        if run.open:
            self.residence.claim_key(host)
        else:
            self.residence.free_key(host)
        message = run.failure.message if run.failure is not None else run.cancel_reason
        self.journal.update(RunUpdate(host.key, run.state, run.close_us, run.run_epoch, run.seq, 0, message[:1_000]))

    async def durable(self, host: RunHost) -> None:
        """Waits until what is known of a run is on disk.

        Raises:
            StoreError: it may not be.
        """
        while host.durable_seq < host.state.seq and not host.stale:
            await self.journal.durable()

    # -- after a commit ----------------------------------------------------------------------------------------------

    def _committed(self, host: RunHost, entry: Entry) -> None:
        events = entry.batch.events
        if events:
            host.durable_seq = events[-1].seq
        self.evictor.written(host)
        if entry.pinned:
            self.payloads.unpin(entry.pinned)
        if host.watchers:
            listed = list(events)
            for watcher in host.watchers:
                watcher.push(listed)
        self.runs_feed.note((host.key, ""))
        try:
            for effect in entry.effects:
                self.perform(host, effect)
        except Exception as error:  # noqa: BLE001 - one run's fault must not end the writing of all
            self.mending.quarantine(host, error)

    def perform(self, host: RunHost, effect: object) -> None:
        """Lets an effect happen."""
        match effect:
            case fx.TaskReady():
                run = host.state
                self.matching.offer(
                    QueuedTask(
                        host.key,
                        run.namespace,
                        effect.queue,
                        effect.handler,
                        effect.path,
                        effect.attempt,
                        effect.since_us,
                    )
                )
            case fx.TaskClosed():
                self.matching.withdraw(host.key, effect.path, queued=effect.queued)
            case fx.TaskCancelRequested():
                self.matching.request_cancel(host.key, effect.path, effect.attempt)
            case fx.TaskHeld():
                self.matching.held(
                    QueuedTask(
                        host.key,
                        host.state.namespace,
                        effect.queue,
                        effect.handler,
                        effect.path,
                        effect.attempt,
                        effect.start_us,
                    ),
                    effect.worker_id,
                    effect.lease,
                )
            case fx.TimerSet():
                self._set_timer(host, effect)
            case fx.TimersCleared():
                for name in [name for name in host.timers if name[0] == effect.path]:
                    self.timers.cancel(host.timers.pop(name))
            case fx.GateChanged():
                self.gates_feed.note((host.key, effect.path))
            case fx.RunClosed():
                self.closed(host)
            case _:
                message = f"unknown effect {effect!r}"
                raise TypeError(message)

    def _set_timer(self, host: RunHost, effect: fx.TimerSet) -> None:
        name = (effect.path, effect.timer)
        old = host.timers.pop(name, None)
        if old is not None:
            self.timers.cancel(old)
        host.timers[name] = self.timers.add(effect.due_us, (host.key, effect.path, effect.timer))

    def closed(self, host: RunHost) -> None:
        """The end of a run is on disk: whoever waits for it is told, and it leaves the memory."""
        self.drop_outside(host)
        run = host.state
        if run.open:
            # Someone reopened it before its end was on disk; the effects of that follow.
            return
        closers = self.closers.take(run.namespace, run.run_id)
        if closers:
            outcome = views.outcome(run)
            for closer in closers:
                closer(outcome)
        if host.durable_seq == run.seq:
            self.residence.remove(host)
            self.retention.closed(run)

    def drop_outside(self, host: RunHost) -> None:
        """Takes a run's tasks and timers back."""
        self.matching.withdraw_run(host.key)
        self.drop_timers(host)

    def drop_timers(self, host: RunHost) -> None:
        """Takes a run's timers back."""
        for handle in host.timers.values():
            self.timers.cancel(handle)
        host.timers.clear()

    def dispatch_soon(self) -> None:
        """Hands out what was offered, once whoever is at it now has ended."""
        asyncio.get_running_loop().call_soon(self.matching.dispatch)
        self.on_done()

    def _group_done(self) -> None:
        self.evictor.make_room()
        # After those who wait for the commit have gone on: a completion takes the next tasks along in its answer.
        self.dispatch_soon()

    def _due(self, payloads: Sequence[Due]) -> None:
        for key, path, timer in payloads:
            if timer == WAKE:
                self.wakes.due()
                continue
            host = self.residence.by_key(key)
            if host is None:
                continue
            host.timers.pop((path, timer), None)
            self.later(host, FireTimer(path, fx.Timer(timer)))

    def later(self, host: RunHost, command: Command, since_us: int = 0) -> None:
        """Applies a command of the server's own, as soon as what it needs is in memory and the disk takes it.

        Args:
            host: the run.
            command: the command.
            since_us: when its time came, if that was before now.
        """
        since_us = since_us or self.clock_us()
        if not self.health.writable:
            self.mending.hold_back(host, command, since_us)
            return
        bag = self.bag_now(host)
        if bag is not None:
            self._apply_own(host, command, bag, since_us)
        else:
            name = f"{type(command).__name__} of run {host.state.run_id}"
            self.spawn(self._apply_when_loaded(host, command, since_us), name)

    async def _apply_when_loaded(self, host: RunHost, command: Command, since_us: int) -> None:
        while True:
            try:
                bag = await self.bag(host)
            except Refused:
                return  # it was never accepted
            except StoreError as error:
                log.warning("a run cannot be loaded; trying again", run_id=host.state.run_id, error=str(error))
                await asyncio.sleep(1.0)
                continue
            self._apply_own(host, command, bag, since_us)
            return

    def _apply_own(self, host: RunHost, command: Command, bag: PayloadBag, since_us: int) -> None:
        try:
            decision = self.apply(host, command, bag)
        except Refused as refused:
            log.info("the server's own command came too late", run_id=host.state.run_id, reason=refused.message)
            return
        if not decision.first_seq and self.clock_us() < since_us and host.state.open:
            # The clock was set back meanwhile, so it came too early and is void: its time will come again.
            for effect in fx.standing(host.state):
                if isinstance(effect, fx.TimerSet):
                    self._set_timer(host, effect)


def _nothing() -> None:
    """Stands in until somebody listens."""
