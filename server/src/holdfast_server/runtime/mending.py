"""What happens when the disk fails or a run has a fault: runs go back to what the disk says, faulty ones stand aside.

While the database refuses writes, nothing the server would do by itself is tried: what comes due is held back until
writing works again.
"""

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

import structlog

from holdfast.v1.errors_pb2 import ErrorReason
from holdfast_server.engine import effects as fx, views
from holdfast_server.engine.commands import Command
from holdfast_server.engine.refusal import Refused
from holdfast_server.journal.group_commit import Entry
from holdfast_server.runtime.host import OnDisk, RunHost
from holdfast_server.store.port import StoreConflictError, StoreError

if TYPE_CHECKING:  # they refer to each other
    from holdfast_server.runtime.runtime import Runtime

__all__ = ["Mending", "quarantined"]

log = structlog.get_logger("holdfast.runtime")

RETRY_S = 0.5


def quarantined(host: RunHost) -> Refused:
    """What is said of a run that stands aside."""
    message = f"run {host.state.run_id!r} is quarantined: {host.quarantined}"
    return Refused(ErrorReason.ERROR_REASON_RUN_QUARANTINED, message, {"detail": host.quarantined})


class Mending:
    """Mends runs.

    Attributes:
        contradictions: runs so far whose events the database did not take; callers whose runs may be among them look
            at `RunHost.quarantined` when the number has grown.
        put_aside: those of them that had been accepted.
    """

    def __init__(self, runtime: "Runtime") -> None:
        self._runtime = runtime
        self._held_back: list[tuple[int, Command, int]] = []
        self.contradictions = 0
        self.put_aside = 0

    # -- one run has a fault -----------------------------------------------------------------------------------------

    def quarantine(self, host: RunHost, error: Exception) -> None:
        """Keeps a run from deciding anything more, visibly; it is shown as it is on disk."""
        trace = None if isinstance(error, StoreError) else error  # what the database says is enough
        log.error("a run is quarantined", run_id=host.state.run_id, error=str(error), exc_info=trace)
        host.quarantined = f"{type(error).__name__}: {error}"
        host.stale = True
        self._runtime.drop_outside(host)
        _wake_watchers(host)

    def contradicted(self, error: StoreConflictError, entry: Entry) -> None:
        """The database does not take the events of one run, and never will."""
        host = entry.writer
        if not isinstance(host, RunHost):
            raise TypeError(host)
        self.contradictions += 1
        self._unpin(entry)
        if host.accepted:
            self.put_aside += 1
            self.quarantine(host, error)
            return
        log.info("a start was made before", run_id=host.state.run_id, error=str(error))
        host.quarantined = str(error)
        host.stale = True
        self._forget(host)

    # -- the disk fails ----------------------------------------------------------------------------------------------

    def commit_failed(self, error: StoreError, entries: Sequence[Entry], evictions: Sequence[int]) -> None:
        """Nobody knows whether these are on disk: their runs are folded again before they decide anything."""
        self._runtime.evictor.kept(evictions)
        keys: dict[int, None] = {}
        for entry in entries:
            self._unpin(entry)
            host = self._runtime.residence.by_key(entry.writer.key)
            if host is not None:
                host.stale = True
                self._runtime.drop_outside(host)
                keys[host.key] = None
        self._runtime.health.store_failed(error)
        self._runtime.matching.hold_up(held_up=True)
        self._runtime.spawn(self._reload_all(keys), "reload after a failed commit")

    def hold_back(self, host: RunHost, command: Command, since_us: int) -> None:
        """A command of the server's own, due since then, has to wait until the database takes writes again."""
        self._held_back.append((host.key, command, since_us))

    def go_on(self) -> None:
        """Does what was held back, if the database takes writes."""
        runtime = self._runtime
        if not runtime.health.writable:
            return
        held_back, self._held_back = self._held_back, []
        for key, command, since_us in held_back:
            host = runtime.residence.by_key(key)
            if host is not None:
                runtime.later(host, command, since_us)
        runtime.matching.hold_up(held_up=False)

    # -- folding again -----------------------------------------------------------------------------------------------

    async def reload(self, host: RunHost) -> None:
        """Folds a run again from disk, once for all who ask.

        Raises:
            StoreError: the disk does not answer.
            Refused: RUN_NOT_FOUND if the run never got there.
        """
        runtime = self._runtime
        if host.loading is not None:
            await asyncio.wait([host.loading])
            return
        host.loading = asyncio.get_running_loop().create_future()
        try:
            # What it decided before the fault may still be on its way to the disk.
            await runtime.journal.durable()
            run = await runtime.folder.run(host.key)
        finally:
            host.loading.set_result(None)
            host.loading = None
        if run is None:
            self._forget(host)
            message = f"run {host.state.run_id!r} was never accepted: its start could not be written"
            raise Refused(ErrorReason.ERROR_REASON_RUN_NOT_FOUND, message, {"run_id": host.state.run_id})
        host.state = run
        host.durable_seq = run.seq
        host.stale = False
        host.on_disk = OnDisk.UNKNOWN
        if not run.open:
            runtime.closed(host)
        else:
            runtime.residence.claim_key(host)
            if not host.quarantined:
                for effect in fx.standing(run):
                    runtime.perform(host, effect)
                runtime.dispatch_soon()
        self._show(host)
        _wake_watchers(host)

    def _show(self, host: RunHost) -> None:
        """What failed may have got to the disk all the same, so watchers of lists look again."""
        runtime = self._runtime
        runtime.runs_feed.note((host.key, ""))
        for scope, step, record in host.state.activations():
            if record is not None and record.gate is not None:
                runtime.gates_feed.note((host.key, scope.path(step)))

    async def _reload_all(self, keys: Sequence[int] | dict[int, None]) -> None:
        residence = self._runtime.residence
        for key in keys:
            while (host := residence.by_key(key)) is not None and host.stale and not host.quarantined:
                try:
                    await self.reload(host)
                except StoreError as error:
                    log.warning("a run cannot be reloaded; trying again", run_id=host.state.run_id, error=str(error))
                    await asyncio.sleep(RETRY_S)
                except Refused:
                    break

    def _forget(self, host: RunHost) -> None:
        """The run is not on disk, so there is no such run."""
        host.gone = True
        self._runtime.residence.remove(host)
        self._runtime.drop_outside(host)
        name = (host.state.namespace, host.state.run_id)
        if self._runtime.closers.wanted(*name):
            self._runtime.spawn(self._tell_closers(*name), "end of a run that was not accepted")
        _wake_watchers(host)

    async def _tell_closers(self, namespace: str, run_id: str) -> None:
        """Whoever waits for a run that was not accepted is told, unless there was one of that id already."""
        runtime = self._runtime
        while True:
            try:
                row = await runtime.store.run(namespace, run_id)
                run = await runtime.folder.run(row.key) if row is not None else None
            except StoreError as error:
                log.warning("a run cannot be looked up; trying again", run_id=run_id, error=str(error))
                await asyncio.sleep(RETRY_S)
                continue
            break
        if run is None or not run.open:
            for closer in runtime.closers.take(namespace, run_id):
                closer(None if run is None else views.outcome(run))

    def _unpin(self, entry: Entry) -> None:
        if entry.pinned:
            self._runtime.payloads.unpin(entry.pinned)
            entry.pinned = []


def _wake_watchers(host: RunHost) -> None:
    """Watchers look at the disk again: what they were sent of is there, but maybe not all of what is there."""
    for watcher in host.watchers or ():
        watcher.lag()
