"""Lets runs that only wait leave the memory, so that it holds no more of them than it may.

A run leaves when nothing has happened to it for a while, or earlier when there are too many. What has to be found of
it is written first: when its first timer is due, its waiting attempts, its open gates. It comes back by its wake-up
(`wakes`), when workers have time for its attempts (`backlog`), or when someone names it (`loading`). What is changed
then goes to disk together with the note that the run is in memory; one that comes back and goes again unchanged costs
no write at all.
"""

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

from holdfast_server.engine import views
from holdfast_server.engine.snapshot import write_snapshot
from holdfast_server.matching.leases import QueuedTask
from holdfast_server.runtime.host import OnDisk, RunHost
from holdfast_server.store.port import EvictedGate, EvictedTask, Eviction, RunUpdate

if TYPE_CHECKING:  # they refer to each other
    from holdfast_server.runtime.runtime import Runtime

__all__ = ["NEVER_US", "Evictor"]

TICK_S = 1.0
TURN_TICKS = 10
"""In so many ticks every run in memory is looked at once."""
LOOKS_MIN = 64
"""Runs looked at in vain before those that have just been written are taken."""
SOON_US = 10_000_000
"""A run whose timer is due so soon stays."""
SNAPSHOT_AFTER = 32
"""Shorter histories are folded as fast as a snapshot is read."""
NEVER_US = 2**62
"""Deadline by which gates without one are sorted: they come last."""


class Evictor:
    """Decides which runs leave.

    Args:
        runtime: where they are.
        hot_runs: how many may be in memory; runs that workers are busy with, and those that are not on disk yet, stay
            beyond that.
        idle_s: how long nothing must have happened to a run that leaves though there is room.
    """

    def __init__(self, runtime: "Runtime", hot_runs: int, idle_s: float) -> None:
        self._runtime = runtime
        self._hot_runs = hot_runs
        self._idle_ticks = max(1, round(idle_s / TICK_S))
        self._timer: asyncio.TimerHandle | None = None
        self._fresh: list[RunHost] = []
        self._leaving = 0
        self.tick = 0

    def start(self) -> None:
        """Begins to look for runs that are idle."""
        self._timer = asyncio.get_running_loop().call_later(TICK_S, self._look)

    def stop(self) -> None:
        """Looks no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    @property
    def _excess(self) -> int:
        return len(self._runtime.residence) - self._leaving - self._hot_runs

    def written(self, host: RunHost) -> None:
        """Events of a run are on disk."""
        host.touched = self.tick
        if self._excess > 0:
            self._fresh.append(host)

    def make_room(self) -> None:
        """After a commit: lets as many runs go as there are too many.

        First those that wait for something else than workers, in turn. Of those that wait for workers the ones that
        have just begun to, because the others are to be served before them.
        """
        fresh, self._fresh = self._fresh, []
        if self._excess <= 0 or not self._runtime.health.writable:
            return
        residence = self._runtime.residence
        for _ in range(min(self._excess + LOOKS_MIN, len(residence))):
            if self._excess <= 0:
                return
            host = residence.next_in_turn()
            tasks = self._leavable(host)
            if tasks is not None and not tasks:
                self._let_go(host, tasks)
        while fresh and self._excess > 0:
            host = fresh.pop()
            tasks = self._leavable(host)
            if tasks is not None:
                self._let_go(host, tasks)

    def _look(self) -> None:
        self.start()
        self.tick += 1
        residence = self._runtime.residence
        if not self._runtime.health.writable:
            return
        for _ in range(min(LOOKS_MIN + len(residence) // TURN_TICKS, len(residence))):
            host = residence.next_in_turn()
            if self.tick - host.touched > self._idle_ticks and (tasks := self._leavable(host)) is not None:
                self._let_go(host, tasks)

    def _leavable(self, host: RunHost) -> Sequence[QueuedTask] | None:
        """The attempts of a run that wait, if it may leave; else None."""
        run = host.state
        if (
            not run.open
            or host.durable_seq != run.seq
            or host.stale
            or host.quarantined
            or host.watchers
            or host.pins
            or host.on_disk is OnDisk.LEAVING
            or self._runtime.residence.by_key(host.key) is not host
        ):
            return None
        first_us = _first_timer_us(host)
        if first_us and first_us < self._runtime.clock_us() + SOON_US:
            return None
        return self._runtime.matching.waiting_of(host.key)

    def _let_go(self, host: RunHost, tasks: Sequence[QueuedTask]) -> None:
        if host.on_disk is OnDisk.EVICTED:
            self._drop(host)
            return
        run = host.state
        snapshot = write_snapshot(run) if run.seq > SNAPSHOT_AFTER else b""
        shown = views.summary(run, lambda queue, handler: self._runtime.matching.serves(run.namespace, queue, handler))
        eviction = Eviction(
            host.key,
            run.namespace,
            run.run_id,
            run.plan.workflow,
            _first_timer_us(host),
            run.seq if snapshot else 0,
            snapshot,
            [EvictedTask(task.path, task.queue, task.handler, task.since_us) for task in tasks],
            [_evicted_gate(host, path) for path in run.open_gates],
        )
        update = RunUpdate(
            host.key,
            run.state,
            0,
            run.run_epoch,
            run.seq,
            shown.waiting_reason,
            shown.status_message[:1_000],
            hot=False,
        )
        host.on_disk = OnDisk.LEAVING
        self._leaving += 1
        self._runtime.journal.evict(eviction, update)

    def stays(self, host: RunHost) -> None:
        """Something happens to a run that was about to leave."""
        if host.on_disk is OnDisk.LEAVING:
            self._leaving -= 1

    def outdated(self, host: RunHost) -> None:
        """The time at which the disk wakes a run has come while it is in memory, so the next eviction is written."""
        self.stays(host)
        if host.on_disk is not OnDisk.HOT:
            host.on_disk = OnDisk.UNKNOWN

    def evicted(self, keys: Sequence[int]) -> None:
        """The evictions of these runs are on disk."""
        for key in keys:
            host = self._runtime.residence.by_key(key)
            if host is None or host.on_disk is not OnDisk.LEAVING:
                continue  # something has happened to it, and goes to disk with the next group
            self._leaving -= 1
            host.on_disk = OnDisk.EVICTED
            if self._leavable(host) is not None:
                self._drop(host)

    def kept(self, keys: Sequence[int]) -> None:
        """The evictions of these runs may or may not be on disk."""
        for key in keys:
            host = self._runtime.residence.by_key(key)
            if host is not None and host.on_disk is OnDisk.LEAVING:
                self._leaving -= 1
                host.on_disk = OnDisk.UNKNOWN

    def _drop(self, host: RunHost) -> None:
        runtime = self._runtime
        runtime.wakes.note(_first_timer_us(host), host.key)
        runtime.matching.set_aside(host.key)
        runtime.drop_timers(host)
        runtime.residence.remove(host)


def _first_timer_us(host: RunHost) -> int:
    """When the first of its timers is due; 0 if it has none."""
    return min((handle.due_us for handle in host.timers.values()), default=0)


def _evicted_gate(host: RunHost, path: str) -> EvictedGate:
    found = host.state.locate(path)
    record = found[0].steps[found[1].index] if found is not None else None
    if record is None or record.gate is None:
        message = f"run {host.state.run_id!r} has no gate at {path!r}"
        raise ValueError(message)
    return EvictedGate(path, record.gate.deadline_us or NEVER_US, record.gate.open_us)
