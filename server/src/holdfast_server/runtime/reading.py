"""Reads of runs, open or closed: what is answered is on disk, and no worker is involved."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Sequence

from google.protobuf.message import Message

from holdfast.v1.errors_pb2 import ErrorReason
from holdfast.v1.history_pb2 import HistoryBatch, HistoryEvent
from holdfast.v1.payload_pb2 import JsonValue, Payload
from holdfast.v1.run_pb2 import RunOutcome, RunSummary
from holdfast_server.engine import views
from holdfast_server.engine.expressions import Expression, ExpressionError, deep_heads
from holdfast_server.engine.json_values import decode_exact, encode
from holdfast_server.engine.payloads import OpaquePayloadError, PayloadBag
from holdfast_server.engine.refusal import Refused
from holdfast_server.engine.run_names import RunNames
from holdfast_server.engine.state import OPEN_RUN, RunState
from holdfast_server.engine.times import timestamp
from holdfast_server.runtime.host import RunHost, Watcher
from holdfast_server.runtime.pieces import payloads_in
from holdfast_server.runtime.runtime import Runtime
from holdfast_server.store.port import RunRow, StoreError

__all__ = ["Reading"]

OUTPUT_REF = 3
"""Parts of `steps.<name>.output`; a shorter reference to steps means all they have."""


class Reading:
    """Reads runs."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    def serves(self, namespace: str) -> Callable[[str, str], bool]:
        """Whether a worker serves (queue, handler) in a namespace."""
        return lambda queue, handler: self._runtime.matching.serves(namespace, queue, handler)

    async def row(self, namespace: str, run_id: str) -> RunRow:
        """The row of a run on disk.

        Raises:
            Refused: RUN_NOT_FOUND.
            StoreError: the disk does not answer.
        """
        row = await self._runtime.store.run(namespace, run_id)
        if row is None:
            raise await self._runtime.deleting.refusal(namespace, run_id)
        return row

    async def stored(self, namespace: str, run_id: str) -> tuple[int, RunState]:
        """Key and state of a run as it is on disk; it is closed, or evicted, or was when the disk was read.

        Raises:
            Refused: RUN_NOT_FOUND.
            StoreError: the disk does not answer.
        """
        row = await self.row(namespace, run_id)
        run = await self._runtime.folder.run(row.key)
        if run is None:
            await self.row(namespace, run_id)  # it may have been deleted since
            message = f"run {run_id!r} has no history"
            raise Refused(ErrorReason.ERROR_REASON_RUN_NOT_FOUND, message, {"run_id": run_id})
        return row.key, run

    async def open_run(self, namespace: str, run_id: str) -> RunHost | None:
        """A run in memory, brought there if it was evicted; None if it is closed.

        Raises:
            Refused: RUN_NOT_FOUND.
            StoreError: the disk does not answer.
        """
        host = self._runtime.residence.by_id(namespace, run_id)
        if host is not None:
            return host
        row = await self.row(namespace, run_id)
        host = self._runtime.residence.by_key(row.key)
        if host is None and row.state in OPEN_RUN:
            host = await self._runtime.loading.one(row.key)
        return host

    async def any_run(self, namespace: str, run_id: str) -> RunHost:
        """A run in memory, brought there if need be, also if it is closed.

        Raises:
            Refused: RUN_NOT_FOUND.
            StoreError: the disk does not answer.
        """
        while True:
            host = self._runtime.residence.by_id(namespace, run_id)
            if host is not None:
                return host
            key = (await self.row(namespace, run_id)).key
            host = await self._runtime.loading.whatever(key)
            if host is not None:
                return host
            await self._runtime.deleting.ended(key)
            await self.stored(namespace, run_id)  # says why not

    async def state(self, namespace: str, run_id: str) -> tuple[RunState, str]:
        """The state of a run, all of it on disk, and why it is quarantined, if it is.

        Raises:
            Refused: RUN_NOT_FOUND.
            StoreError: the disk does not answer.
        """
        host = self._runtime.residence.by_id(namespace, run_id)
        if host is None:
            return (await self.stored(namespace, run_id))[1], ""
        while host.stale or host.durable_seq < host.state.seq:
            if host.stale:
                await self._runtime.bag(host)
            await self._runtime.durable(host)
        return host.state, host.quarantined

    @property
    def doubts(self) -> int:
        """Grows when something that was in memory turns out not to be on disk."""
        return self._runtime.journal.failures + self._runtime.mending.put_aside

    async def shown(self, hosts: Iterable[RunHost | None], doubts: int) -> None:
        """Waits until what was shown of some runs is on disk; nobody waits for a slow disk on behalf of others.

        Args:
            hosts: the runs; None for one that was read from the disk.
            doubts: what `doubts` was when the first was looked at.

        Raises:
            StoreError: a part of it may not be on disk.
        """
        if any(host and host.durable_seq < host.state.seq for host in hosts):
            await self._runtime.journal.durable()
        if self.doubts != doubts:
            raise StoreError("a part of what was to be shown may not be on disk; look again")

    async def fill(self, messages: Sequence[Message]) -> None:
        """Puts the data of large payloads into messages that carry references.

        Raises:
            StoreError: the disk does not answer.
        """
        found = [payload for message in messages for payload in payloads_in(message)]
        if found:
            loaded = await self._runtime.payloads.load([payload.ref.sha256 for payload in found])
            for payload in found:
                payload.CopyFrom(loaded[payload.ref.sha256])

    async def query(self, run: RunState, expression: Expression) -> Payload:
        """The value of an expression over a run.

        Raises:
            Refused: QUERY_FAILED.
            StoreError: the disk does not answer.
        """
        heads = deep_heads(expression.refs)
        every = any(ref[0] == "steps" and len(ref) < OUTPUT_REF for ref in expression.refs)

        def wanted() -> list[bytes]:
            return [digest for head, digest in run.large.items() if every or head in heads or head[:1] in heads]

        loaded: dict[bytes, Payload] = {}
        while not all(digest in loaded for digest in wanted()):
            # A run that is open may go on while payloads are read.
            loaded = await self._runtime.payloads.load(wanted())
        names = RunNames(run, run.root, PayloadBag(loaded))
        try:
            value = expression.value(names)
        except (ExpressionError, OpaquePayloadError) as error:
            message = f"the query cannot be evaluated: {error}"
            raise Refused(
                ErrorReason.ERROR_REASON_QUERY_FAILED, message, violations=(("query", str(error)),)
            ) from error
        return Payload(data=encode(value))

    async def events(
        self, namespace: str, run_id: str, after_seq: int, limit: int, max_bytes: int = 4 * 1024 * 1024
    ) -> list[HistoryEvent]:
        """Events after a sequence number that are on disk, at most `limit` of them.

        Raises:
            Refused: RUN_NOT_FOUND.
            StoreError: the disk does not answer.
        """
        host = self._runtime.residence.by_id(namespace, run_id)
        if host is not None:
            while host.stale:  # maybe it is not on disk at all, and then there is no such run
                await self._runtime.mending.reload(host)
            await self._runtime.durable(host)
            return await self._events(host.key, after_seq, limit, max_bytes)
        row = await self.row(namespace, run_id)
        events = await self._events(row.key, after_seq, limit, max_bytes)
        if not events and after_seq < row.last_seq:
            raise await self._runtime.deleting.refusal(namespace, run_id)
        return events

    async def _events(self, key: int, after_seq: int, limit: int, max_bytes: int) -> list[HistoryEvent]:
        found: list[HistoryEvent] = []
        for row in await self._runtime.store.history(key, after_seq, max_bytes):
            found.extend(event for event in HistoryBatch.FromString(row.blob).events if event.seq > after_seq)
            if len(found) >= limit:
                break
        return found[:limit]

    async def watch(self, namespace: str, run_id: str, after_seq: int) -> AsyncGenerator[list[HistoryEvent], None]:
        """Committed events after a sequence number as they come, in order and without gaps, until the run is closed.

        Raises:
            Refused: RUN_NOT_FOUND.
            StoreError: the disk does not answer.
        """
        host = await self.open_run(namespace, run_id)
        if host is None:
            row = await self.row(namespace, run_id)
            async for events in self._from_disk(row.key, after_seq):
                yield events
                after_seq = events[-1].seq
            if after_seq < row.last_seq:
                raise await self._runtime.deleting.refusal(namespace, run_id)
            return
        watcher = Watcher()
        host.watchers = [*(host.watchers or ()), watcher]
        try:
            async for events in self._follow(host, watcher, after_seq):
                yield events
        finally:
            host.watchers = [other for other in host.watchers or () if other is not watcher] or None

    async def _from_disk(self, key: int, after_seq: int) -> AsyncIterator[list[HistoryEvent]]:
        while events := await self._events(key, after_seq, 1_000, 1024 * 1024):
            yield events
            after_seq = events[-1].seq

    async def _follow(self, host: RunHost, watcher: Watcher, after_seq: int) -> AsyncIterator[list[HistoryEvent]]:
        async for events in self._from_disk(host.key, after_seq):
            yield events
            after_seq = events[-1].seq
        while True:
            watcher.wake.clear()
            if watcher.lagging:
                watcher.lagging = False
                watcher.events.clear()
                async for events in self._from_disk(host.key, after_seq):
                    yield events
                    after_seq = events[-1].seq
            fresh, watcher.events = [event for event in watcher.events if event.seq > after_seq], []
            if fresh:
                yield fresh
                after_seq = fresh[-1].seq
            if not host.state.open and after_seq >= host.state.seq:
                return
            if host.gone:
                message = f"run {host.state.run_id!r} was never accepted: its start could not be written"
                raise Refused(ErrorReason.ERROR_REASON_RUN_NOT_FOUND, message, {"run_id": host.state.run_id})
            await self._runtime.health.sleep(watcher.wake)

    async def outcome_of_closed(self, namespace: str, run_id: str) -> RunOutcome | None:
        """How a run that is not in memory ended; None if it is open.

        Raises:
            Refused: RUN_NOT_FOUND.
            StoreError: the disk does not answer.
        """
        run = (await self.stored(namespace, run_id))[1]
        return None if run.open else views.outcome(run)

    def summary_of(self, host: RunHost) -> RunSummary:
        """What lists show of a run in memory."""
        return views.summary(host.state, self.serves(host.state.namespace), host.quarantined)

    def summary_of_row(self, row: RunRow) -> RunSummary:
        """What lists show of a run on disk; one in memory is shown as it is there."""
        host = self._runtime.residence.by_key(row.key)
        if host is not None and not host.stale:
            return self.summary_of(host)
        made = RunSummary(
            namespace=row.namespace,
            run_id=row.run_id,
            workflow=row.workflow,
            version=row.version,
            key=row.business_key,
            state=row.state,  # type: ignore[arg-type]
            start_time=timestamp(row.start_time_us),
            run_epoch=row.run_epoch,
            last_seq=row.last_seq,
            waiting_reason=row.waiting_reason,  # type: ignore[arg-type]
            status_message=row.status_message,
        )
        if row.close_time_us:
            made.close_time.CopyFrom(timestamp(row.close_time_us))
        if row.attributes_json:
            attributes = decode_exact(row.attributes_json)
            for name, value in attributes.items() if isinstance(attributes, dict) else ():
                made.attributes[name].CopyFrom(JsonValue(json=encode(value).decode()))
        return made
