"""WaitRun, WaitRuns, WatchRun, WatchRuns: calls that last."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from functools import partial

from holdfast.v1 import run_service_pb2 as pb
from holdfast.v1.errors_pb2 import ErrorReason, ItemError
from holdfast.v1.run_pb2 import RunOutcome, RunSummary
from holdfast_server.engine.refusal import Refused
from holdfast_server.engine.state import OPEN_RUN
from holdfast_server.rpc.errors import Context, check_read, item_error, mapped, streamed
from holdfast_server.rpc.run_service.base import Base, matches
from holdfast_server.rpc.validation import invalid
from holdfast_server.runtime.closers import Closer
from holdfast_server.runtime.feeds import Subscription
from holdfast_server.runtime.pieces import filled_bytes, in_pieces, plain_bytes
from holdfast_server.store.port import RunQuery, StoreError

__all__ = ["WatchingMethods"]

PARK_US = 60_000_000
FLUSH_S = 0.1
"""Watchers of many runs get changes at most this often: people read them."""
CLOSED_LIMIT = 100
UNSENT_MAX = 1_000
"""Answers of a WaitRuns stream that may lie ready before its next request is read."""
SHOWN_MAX = 100_000
"""Runs a WatchRuns stream remembers having sent. One that sent more sends every change, matching or not."""


class WatchingMethods(Base):
    """Waits for runs and watches them."""

    @mapped
    async def WaitRun(self, request: pb.WaitRunRequest, _context: Context) -> pb.WaitRunResponse:
        """Parks until the run is closed."""
        namespace, run_id = self.run_name(request.namespace, request.run_id)
        park_us = PARK_US
        if request.HasField("park_timeout"):
            park_us = min(PARK_US, self.validator.duration_us("park_timeout", request.park_timeout))
        ended = asyncio.Event()
        outcomes: list[RunOutcome | None] = []

        def closer(outcome: RunOutcome | None) -> None:
            outcomes.append(outcome)
            ended.set()

        outcome = await self.on_close(namespace, run_id, closer)
        if outcome is None:
            try:
                async with asyncio.timeout(park_us / 1e6):
                    with self.seats.one():
                        await self.runtime.health.sleep(ended)
            except TimeoutError:
                if not outcomes:
                    return pb.WaitRunResponse(closed=False)
            except Refused as refused:
                # A server that goes down has no time to park; whoever asks again is told.
                if refused.reason != ErrorReason.ERROR_REASON_DRAINING:
                    raise
                if not outcomes:
                    return pb.WaitRunResponse(closed=False)
            finally:
                self.runtime.closers.drop(namespace, run_id, closer)
            outcome = outcomes[0] or await self.reading.outcome_of_closed(namespace, run_id)
            if outcome is None:
                return pb.WaitRunResponse(closed=False)  # another one was started by that id meanwhile
        answer = pb.WaitRunResponse(closed=True, outcome=outcome)
        await self.reading.fill([answer])
        return answer

    async def on_close(self, namespace: str, run_id: str, closer: Closer) -> RunOutcome | None:
        """Lets a closer be called when a run ends; answers how it ended if that was before, and then calls nothing.

        Raises:
            Refused: RUN_NOT_FOUND.
            StoreError: the disk does not answer.
        """
        closers = self.runtime.closers
        closers.add(namespace, run_id, closer)
        host = self.runtime.residence.by_id(namespace, run_id)
        if host is not None and (host.state.open or host.durable_seq < host.state.seq):
            return None
        try:
            row = await self.reading.row(namespace, run_id)
            if row.state in OPEN_RUN:
                return None  # evicted, or ended meanwhile: then the closer was called
            outcome = await self.reading.outcome_of_closed(namespace, run_id)
            if outcome is None:
                return None  # reopened meanwhile
        except BaseException:
            closers.drop(namespace, run_id, closer)
            raise
        return outcome if closers.drop(namespace, run_id, closer) else None

    @streamed
    async def WaitRuns(
        self, request_iterator: AsyncIterator[pb.WaitRunsRequest], _context: Context
    ) -> AsyncGenerator[pb.WaitRunsResponse, None]:
        """Answers each run that was named once it is closed, as many in a message as are."""
        waits = _Waits(self)
        reader = asyncio.get_running_loop().create_task(waits.read(request_iterator), name="WaitRuns reader")
        try:
            while True:
                answer = await waits.next()
                if answer is None:
                    break
                await self.reading.fill(answer.outcomes)
                yield answer
        finally:
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)
            waits.close()

    @streamed
    async def WatchRun(
        self, request: pb.WatchRunRequest, _context: Context
    ) -> AsyncGenerator[pb.WatchRunResponse, None]:
        """Streams the events of a run until it is closed."""
        namespace, run_id = self.run_name(request.namespace, request.run_id)
        if request.after_seq < 0:
            raise invalid("after_seq", f"{request.after_seq} is negative; 0 means from the beginning")
        full = self.wants_data(request.payload_view)
        size_of = filled_bytes if full else plain_bytes
        async with aclosing(self.reading.watch(namespace, run_id, request.after_seq)) as pieces:
            async for events in pieces:
                for piece in in_pieces(events, size_of):
                    answer = pb.WatchRunResponse(events=piece)
                    if full:
                        await self.reading.fill([answer])
                    yield answer

    @streamed
    async def WatchRuns(
        self, request: pb.WatchRunsRequest, _context: Context
    ) -> AsyncGenerator[pb.WatchRunsResponse, None]:
        """Streams the matching runs and then every change of them."""
        namespace = self.validator.namespace(request.namespace)
        limit = self.validator.range("closed_limit", request.closed_limit, 1_000) or CLOSED_LIMIT
        self.query_of(namespace, request.filter, 1)
        feed = self.runtime.runs_feed
        subscription, known = feed.subscribe(request.cursor)
        shown: set[str] = set()
        try:
            if not known:
                async for answer in self._snapshot(namespace, request.filter, limit, subscription, shown):
                    yield answer
            else:
                yield pb.WatchRunsResponse(cursor=feed.cursor(subscription), live=True)
            while True:
                await self.runtime.health.sleep(subscription.wake)
                if subscription.lost:
                    subscription.restart()
                    async for answer in self._snapshot(namespace, request.filter, limit, subscription, shown):
                        yield answer
                    continue
                if len(shown) > SHOWN_MAX:
                    shown.clear()
                    known = True
                doubts = self.reading.doubts
                runs, deleted = await self._changed(namespace, request.filter, subscription, shown, resumed=known)
                residence = self.runtime.residence
                await self.reading.shown((residence.by_id(namespace, run.run_id) for run in runs), doubts)
                pieces = [pb.WatchRunsResponse(runs=piece, live=True) for piece in in_pieces(runs, plain_bytes)]
                if deleted and not pieces:
                    pieces.append(pb.WatchRunsResponse(live=True))
                if pieces:
                    # The cursor is behind all of them, so it comes with the last.
                    pieces[-1].MergeFrom(
                        pb.WatchRunsResponse(deleted_run_ids=deleted, cursor=feed.cursor(subscription))
                    )
                for piece in pieces:
                    yield piece
                await asyncio.sleep(FLUSH_S)
        finally:
            subscription.close()

    async def _snapshot(
        self, namespace: str, wanted: pb.RunFilter, closed_limit: int, subscription: Subscription, shown: set[str]
    ) -> AsyncIterator[pb.WatchRunsResponse]:
        shown.clear()
        reset = True
        cursor = self.runtime.runs_feed.cursor(subscription)
        states = [*wanted.states] or [*range(1, 8)]
        for some, most in (
            ([state for state in states if state in OPEN_RUN], None),
            ([state for state in states if state not in OPEN_RUN], closed_limit),
        ):
            async for runs in self._pages(namespace, wanted, some, most):
                shown.update(run.run_id for run in runs)
                for piece in in_pieces(runs, plain_bytes):
                    yield pb.WatchRunsResponse(reset=reset, runs=piece)
                    reset = False
        yield pb.WatchRunsResponse(reset=reset, cursor=cursor, live=True)

    async def _pages(
        self, namespace: str, wanted: pb.RunFilter, states: Sequence[int], most: int | None
    ) -> AsyncIterator[list[RunSummary]]:
        if not states:
            return
        before: tuple[int, int] | None = None
        while True:
            size = min(1_000, most) if most is not None else 1_000
            base = self.query_of(namespace, wanted, size)
            query = RunQuery(
                namespace,
                states,
                base.workflow,
                base.business_key,
                base.start_after_us,
                base.start_before_us,
                before=before,
                limit=size,
            )
            doubts = self.reading.doubts
            rows = await self.runtime.store.runs(query)
            runs = [self.reading.summary_of_row(row) for row in rows]
            runs = [run for run in runs if not wanted.waiting_reasons or run.waiting_reason in wanted.waiting_reasons]
            residence = self.runtime.residence
            await self.reading.shown((residence.by_key(row.key) for row in rows), doubts)
            if runs:
                yield runs
            if len(rows) < size or most is not None:
                return
            before = (rows[-1].start_time_us, rows[-1].key)

    async def _changed(
        self,
        namespace: str,
        wanted: pb.RunFilter,
        subscription: Subscription,
        shown: set[str],
        *,
        resumed: bool,
    ) -> tuple[list[RunSummary], list[str]]:
        """Changed runs that match or matched when they were last sent, and ids of those that were deleted since."""
        runs: list[RunSummary] = []
        deleted: list[str] = []
        for key, name in subscription.take():
            if name:
                of, _, run_id = name.partition("/")
                if of == namespace and (run_id in shown or resumed):
                    shown.discard(run_id)
                    deleted.append(run_id)
                continue
            host = self.runtime.residence.by_key(key)
            if host is not None and not host.stale:
                made = self.reading.summary_of(host)
            else:
                row = await self.runtime.store.run_by_key(key)
                if row is None:
                    continue
                made = self.reading.summary_of_row(row)
            if made.namespace != namespace:
                continue
            if matches(made, wanted):
                shown.add(made.run_id)
                runs.append(made)
            elif made.run_id in shown or resumed:
                shown.discard(made.run_id)
                runs.append(made)
        return runs, deleted


class _Waits:
    """The runs one WaitRuns stream waits for."""

    def __init__(self, methods: WatchingMethods) -> None:
        self._methods = methods
        self._wake = asyncio.Event()
        self._outcomes: list[RunOutcome] = []
        self._errors: list[ItemError] = []
        self._waiting: dict[tuple[str, str], Closer] = {}
        self._room = asyncio.Event()
        self._ended = False
        self._fault: Exception | None = None

    async def read(self, requests: AsyncIterator[pb.WaitRunsRequest]) -> None:
        """Takes in runs to wait for."""
        try:
            async for request in requests:
                check_read(request)
                namespace = self._methods.validator.namespace(request.namespace)
                self._methods.validator.batch("run_ids", len(request.run_ids))
                for run_id in request.run_ids:
                    await self._add(namespace, run_id)
                    while len(self._outcomes) + len(self._errors) > UNSENT_MAX:
                        # Whoever does not read is not read from either.
                        self._room.clear()
                        await self._room.wait()
        except (Refused, StoreError) as error:
            self._fault = error
        finally:
            self._ended = True
            self._wake.set()

    async def _add(self, namespace: str, run_id: str) -> None:
        name = (namespace, run_id)
        if name in self._waiting:
            return
        closer = self._waiting[name] = partial(self._closed, name)
        try:
            self._methods.validator.name("run_ids", run_id)
            outcome = await self._methods.on_close(namespace, run_id, closer)
        except Refused as refused:
            self._waiting.pop(name, None)
            refused.metadata["run_id"] = run_id
            self._errors.append(item_error(refused))
        else:
            if outcome is None:
                return
            del self._waiting[name]
            self._outcomes.append(outcome)
        self._wake.set()

    def _closed(self, name: tuple[str, str], outcome: RunOutcome | None) -> None:
        del self._waiting[name]
        if outcome is not None:
            self._outcomes.append(outcome)
        else:
            message = f"run {name[1]!r} was never accepted: its start could not be written"
            refused = Refused(ErrorReason.ERROR_REASON_RUN_NOT_FOUND, message, {"run_id": name[1]})
            self._errors.append(item_error(refused))
        self._wake.set()

    async def next(self) -> pb.WaitRunsResponse | None:
        """What came up since the last time, as much as fits one message; None once all is answered.

        Raises:
            Refused: a request of the stream is not right, or the server goes down.
            StoreError: the disk does not answer.
        """
        while not self._outcomes and not self._errors:
            if self._fault is not None:
                raise self._fault
            if self._ended and not self._waiting:
                return None
            self._wake.clear()
            await self._methods.runtime.health.sleep(self._wake)
        errors, self._errors = self._errors[:1_000], self._errors[1_000:]
        outcomes: Sequence[RunOutcome] = next(in_pieces(self._outcomes, filled_bytes, 1_000), [])
        answer = pb.WaitRunsResponse(outcomes=outcomes, errors=errors)
        del self._outcomes[: len(outcomes)]
        self._room.set()
        return answer

    def close(self) -> None:
        """Lets go of the runs that are still open."""
        for (namespace, run_id), closer in self._waiting.items():
            self._methods.runtime.closers.drop(namespace, run_id, closer)
