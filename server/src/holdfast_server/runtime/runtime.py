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
from holdfast_server.engine import effects as fx, views
from holdfast_server.engine.commands import Command, FireTimer
from holdfast_server.engine.decide import Decision, decide, needs
from holdfast_server.engine.payloads import PayloadBag
from holdfast_server.engine.refusal import Refused
from holdfast_server.engine.settings import EngineSettings
from holdfast_server.engine.turn import Entropy
from holdfast_server.journal.group_commit import Entry, Journal, Writer
from holdfast_server.matching.matching import Matching, QueuedTask
from holdfast_server.runtime.catalog import Catalog
from holdfast_server.runtime.feeds import Feed
from holdfast_server.runtime.health import Health
from holdfast_server.runtime.host import RunHost
from holdfast_server.runtime.payload_cache import PayloadCache
from holdfast_server.runtime.residence import Residence, fold_run
from holdfast_server.store.port import PayloadRow, RunUpdate, Store, StoreError
from holdfast_server.timers.service import TimerService

__all__ = ["Runtime", "RuntimeSettings"]

log = structlog.get_logger("holdfast.runtime")


@dataclass(frozen=True, slots=True)
class RuntimeSettings:
    """Rules of the runtime; see the table of limits in `docs/semantics.md`."""

    engine: EngineSettings = field(default_factory=EngineSettings)
    uncommitted_transitions: int = 20_000
    lazy_delay_s: float = 0.005
    batch_items: int = 1_000
    """Items in a batch of starts, signals or results."""


class Runtime:
    """Runs, and everything that happens to them.

    Attributes:
        store: the database.
        journal: its one writer.
        catalog: the workflows.
        residence: the runs in memory.
        matching: queues and workers; wired in `app.py`.
        runs_feed, gates_feed: changes for those who watch.
    """

    def __init__(
        self, store: Store, clock_us: Callable[[], int], entropy: Entropy, server_id: str, settings: RuntimeSettings
    ) -> None:
        self.store = store
        self.clock_us = clock_us
        self.entropy = entropy
        self.settings = settings
        self.health = Health(store.probe)
        self.journal = Journal(
            store, self._commit_failed, self._group_done, settings.lazy_delay_s, settings.uncommitted_transitions
        )
        self.catalog = Catalog(store, self.journal, clock_us)
        self.payloads = PayloadCache(store)
        self.residence = Residence(self._committed)
        self.runs_feed = Feed(server_id)
        self.gates_feed = Feed(server_id)
        self.timers: TimerService[tuple[int, str, fx.Timer]] = TimerService(clock_us, self._due)
        self.matching: Matching
        self.last_key = 0
        self._background: set[asyncio.Task[None]] = set()

    def spawn(self, work: Coroutine[object, object, None], name: str) -> None:
        """Runs something in the background; a fault in it is logged."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._background.add(task)
        task.add_done_callback(self._spawned_done)

    def _spawned_done(self, task: asyncio.Task[None]) -> None:
        self._background.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("background work failed", work=task.get_name(), exc_info=error)

    def check_writable(self) -> None:
        """Refuses changes the disk would not take.

        Raises:
            Refused: STORE_UNAVAILABLE.
            JournalFullError: too much waits for the disk.
        """
        if not self.health.writable:
            raise Refused(ErrorReason.ERROR_REASON_STORE_UNAVAILABLE, self.health.message)
        self.journal.check_room()

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

    @staticmethod
    def is_fit(host: RunHost) -> bool:
        """Whether the state of a run is what its history says."""
        return not host.stale

    async def bag(self, host: RunHost) -> PayloadBag:
        """The same, loading what is missing.

        Raises:
            StoreError: the disk does not answer.
            Refused: RUN_NOT_FOUND if the run turns out not to be on disk.
        """
        while True:
            bag = self.bag_now(host)
            if bag is not None:
                return bag
            if host.stale:
                await self._reload(host)
                continue
            hashes = needs(host.state)
            loaded = await self.payloads.load(hashes)
            if all(digest in loaded for digest in needs(host.state)) and self.is_fit(host):
                return PayloadBag(loaded, self.settings.engine.inline_bytes)

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
            message = f"run {host.state.run_id!r} is quarantined: {host.quarantined}"
            raise Refused(ErrorReason.ERROR_REASON_RUN_QUARANTINED, message, {"detail": host.quarantined})
        entry = self.journal.entry(host)
        before = len(entry.batch.events)
        state_before = host.state.state
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
            self._quarantine(host, error)
            message = f"run {host.state.run_id!r} is quarantined after a fault of the server: {host.quarantined}"
            raise Refused(ErrorReason.ERROR_REASON_RUN_QUARANTINED, message, {"detail": host.quarantined}) from error
        if decision.first_seq:
            entry.effects.extend(decision.effects)
            self.journal.add(self.pin_new(host, bag), lazy=lazy)
            if host.state.state != state_before:
                self.state_changed(host)
        elif not before:
            self.journal.forget(host, 0)
        return decision

    def pin_new(self, host: RunHost, bag: PayloadBag) -> list[PayloadRow]:
        """Rows for the large payloads a decision made; they stay in memory until they are on disk."""
        if not bag.new:
            return []
        rows = []
        for digest, payload in bag.new.items():
            self.payloads.pin(digest, payload)
            host.pinned = [*(host.pinned or ()), digest]
            rows.append(PayloadRow(digest, payload.SerializeToString(deterministic=True), host.key))
        return rows

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
        if host.pinned:
            self.payloads.unpin(host.pinned)
            host.pinned = None
        if host.watchers:
            listed = list(events)
            for watcher in host.watchers:
                watcher.push(listed)
        self.runs_feed.note((host.key, ""))
        for effect in entry.effects:
            self.perform(host, effect)

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
                self.matching.withdraw(host.key, effect.path)
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
                self._closed(host)
            case _:
                message = f"unknown effect {effect!r}"
                raise TypeError(message)

    def _set_timer(self, host: RunHost, effect: fx.TimerSet) -> None:
        name = (effect.path, effect.timer)
        old = host.timers.pop(name, None)
        if old is not None:
            self.timers.cancel(old)
        host.timers[name] = self.timers.add(effect.due_us, (host.key, effect.path, effect.timer))

    def _closed(self, host: RunHost) -> None:
        self._drop_outside(host)
        run = host.state
        if run.open:
            # Someone reopened it before its end was on disk; the effects of that follow.
            return
        if host.closers:
            outcome = views.outcome(run)
            closers, host.closers = host.closers, None
            for closer in closers:
                closer(outcome)
        if host.durable_seq == run.seq:
            self.residence.remove(host)

    def _drop_outside(self, host: RunHost) -> None:
        self.matching.withdraw_run(host.key)
        for handle in host.timers.values():
            self.timers.cancel(handle)
        host.timers.clear()

    def _group_done(self) -> None:
        # After those who wait for the commit have gone on: a completion takes the next tasks along in its answer.
        asyncio.get_running_loop().call_soon(self.matching.dispatch)

    def _due(self, payloads: Sequence[tuple[int, str, fx.Timer]]) -> None:
        for payload in payloads:
            key, path, timer = payload
            host = self.residence.by_key(key)
            if host is None:
                continue
            host.timers.pop((path, timer), None)
            self.later(host, FireTimer(path, timer))

    def later(self, host: RunHost, command: Command) -> None:
        """Applies a command of the server's own, as soon as what it needs is in memory."""
        bag = self.bag_now(host)
        if bag is not None:
            self._apply_own(host, command, bag)
        else:
            self.spawn(self._apply_when_loaded(host, command), f"{type(command).__name__} of run {host.state.run_id}")

    async def _apply_when_loaded(self, host: RunHost, command: Command) -> None:
        while True:
            try:
                bag = await self.bag(host)
            except StoreError as error:
                log.warning("a run cannot be loaded; trying again", run_id=host.state.run_id, error=str(error))
                await asyncio.sleep(1.0)
                continue
            self._apply_own(host, command, bag)
            return

    def _apply_own(self, host: RunHost, command: Command, bag: PayloadBag) -> None:
        try:
            self.apply(host, command, bag)
        except Refused as refused:
            log.info("the server's own command came too late", run_id=host.state.run_id, reason=refused.message)

    # -- when something goes wrong -----------------------------------------------------------------------------------

    def _quarantine(self, host: RunHost, error: Exception) -> None:
        log.error("a run is quarantined after a fault", run_id=host.state.run_id, exc_info=error)
        host.quarantined = f"{type(error).__name__}: {error}"
        host.stale = True
        self._drop_outside(host)

    def _commit_failed(self, error: StoreError, writers: Sequence[Writer]) -> None:
        for writer in writers:
            host = self.residence.by_key(writer.key)
            if host is not None:
                host.stale = True
                self._drop_outside(host)
                if host.pinned:
                    self.payloads.unpin(host.pinned)
                    host.pinned = None
        self.health.store_failed(error)
        self.spawn(self._reload_all([writer.key for writer in writers]), "reload after a failed commit")

    async def _reload_all(self, keys: Sequence[int]) -> None:
        for key in keys:
            while (host := self.residence.by_key(key)) is not None and host.stale and not host.quarantined:
                try:
                    await self._reload(host)
                except StoreError as error:
                    log.warning("a run cannot be reloaded; trying again", run_id=host.state.run_id, error=str(error))
                    await asyncio.sleep(0.5)
                except Refused:
                    break

    async def _reload(self, host: RunHost) -> None:
        """Folds a run again from disk, once for all who ask.

        Raises:
            StoreError: the disk does not answer.
            Refused: RUN_NOT_FOUND if the run never got there.
        """
        if host.loading is not None:
            await asyncio.wait([host.loading])
            return
        host.loading = asyncio.get_running_loop().create_future()
        try:
            # What it decided before the fault may still be on its way to the disk.
            await self.journal.durable()
            run = await fold_run(self.store, self.catalog, host.key)
        finally:
            host.loading.set_result(None)
            host.loading = None
        if run is None:
            self.residence.remove(host)
            message = f"run {host.state.run_id!r} was never accepted: its start could not be written"
            raise Refused(ErrorReason.ERROR_REASON_RUN_NOT_FOUND, message, {"run_id": host.state.run_id})
        host.state = run
        host.durable_seq = run.seq
        host.stale = False
        if run.open and not host.quarantined:
            self.residence.claim_key(host)
            for effect in fx.standing(run):
                self.perform(host, effect)
            asyncio.get_running_loop().call_soon(self.matching.dispatch)
        elif not run.open:
            self._closed(host)
