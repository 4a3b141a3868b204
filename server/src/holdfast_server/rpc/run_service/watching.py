"""WaitRun, WaitRuns, WatchRun, WatchRuns: calls that last."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial

from holdfast.v1 import run_service_pb2 as pb
from holdfast.v1.errors_pb2 import ItemError
from holdfast.v1.run_pb2 import RunOutcome, RunSummary
from holdfast_server.engine.refusal import Refused
from holdfast_server.engine.state import OPEN_RUN
from holdfast_server.engine.times import timestamp_us
from holdfast_server.rpc.errors import Context, abort, item_error, mapped, refusal_of
from holdfast_server.rpc.run_service.base import Base
from holdfast_server.runtime.feeds import Subscription
from holdfast_server.store.port import RunQuery, StoreError

__all__ = ["WatchingMethods"]

Closer = Callable[[RunOutcome], None]

PARK_US = 60_000_000
FLUSH_S = 0.1
"""Watchers of many runs get changes at most this often: people read them."""
CLOSED_LIMIT = 100


class WatchingMethods(Base):
    """Waits for runs and watches them."""

    @mapped
    async def WaitRun(self, request: pb.WaitRunRequest, _context: Context) -> pb.WaitRunResponse:
        """Parks until the run is closed."""
        namespace, run_id = self.run_name(request.namespace, request.run_id)
        park_us = PARK_US
        if request.HasField("park_timeout"):
            park_us = min(PARK_US, self.validator.duration_us("park_timeout", request.park_timeout))
        ended: asyncio.Future[RunOutcome] = asyncio.get_running_loop().create_future()

        def closer(outcome: RunOutcome) -> None:
            if not ended.done():
                ended.set_result(outcome)

        if not self.on_close(namespace, run_id, closer):
            closer(await self.reading.outcome_of_closed(namespace, run_id))
        done, _pending = await asyncio.wait([ended], timeout=park_us / 1e6)
        if not done:
            self.forget(namespace, run_id, closer)
            return pb.WaitRunResponse(closed=False)
        outcome = RunOutcome()
        outcome.CopyFrom(ended.result())
        await self.reading.fill([outcome])
        return pb.WaitRunResponse(closed=True, outcome=outcome)

    def on_close(self, namespace: str, run_id: str, closer: Closer) -> bool:
        """Whether the run is in memory, so that the closer will be called."""
        host = self.runtime.residence.by_id(namespace, run_id)
        if host is None or (not host.state.open and host.durable_seq == host.state.seq):
            return False
        if host.closers is None:
            host.closers = []
        host.closers.append(closer)
        return True

    def forget(self, namespace: str, run_id: str, closer: Closer) -> None:
        """Lets go of a closer that was not called."""
        host = self.runtime.residence.by_id(namespace, run_id)
        if host is not None and host.closers is not None and closer in host.closers:
            host.closers.remove(closer)

    async def WaitRuns(
        self, request_iterator: AsyncIterator[pb.WaitRunsRequest], context: Context
    ) -> AsyncIterator[pb.WaitRunsResponse]:
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
            if reader.done() and (error := reader.exception()) is not None:
                raise error
        except (Refused, StoreError) as error:
            await abort(context, refusal_of(error))
        finally:
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)
            waits.close()

    async def WatchRun(self, request: pb.WatchRunRequest, context: Context) -> AsyncIterator[pb.WatchRunResponse]:
        """Streams the events of a run until it is closed."""
        try:
            namespace, run_id = self.run_name(request.namespace, request.run_id)
            async for events in self.reading.watch(namespace, run_id, request.after_seq):
                answer = pb.WatchRunResponse(events=events)
                if request.payload_view != pb.PayloadView.PAYLOAD_VIEW_REFS:
                    await self.reading.fill([answer])
                yield answer
        except (Refused, StoreError) as error:
            await abort(context, refusal_of(error))

    async def WatchRuns(self, request: pb.WatchRunsRequest, context: Context) -> AsyncIterator[pb.WatchRunsResponse]:
        """Streams the matching runs and then every change of them."""
        try:
            namespace = self.validator.namespace(request.namespace)
            limit = self.validator.page_size(request.closed_limit, 1_000, CLOSED_LIMIT)
            self.query_of(namespace, request.filter, 1)
        except Refused as refused:
            await abort(context, refused)
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
                await subscription.wake.wait()
                if subscription.lost:
                    subscription.restart()
                    async for answer in self._snapshot(namespace, request.filter, limit, subscription, shown):
                        yield answer
                    continue
                runs = await self._changed(namespace, request.filter, subscription, shown, resumed=known)
                if runs:
                    yield pb.WatchRunsResponse(runs=runs, cursor=feed.cursor(subscription), live=True)
                await asyncio.sleep(FLUSH_S)
        except StoreError as error:
            await abort(context, refusal_of(error))
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
                yield pb.WatchRunsResponse(reset=reset, runs=runs, cursor=cursor)
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
            rows = await self.runtime.store.runs(query)
            runs = [self.reading.summary_of_row(row) for row in rows]
            runs = [run for run in runs if not wanted.waiting_reasons or run.waiting_reason in wanted.waiting_reasons]
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
    ) -> list[RunSummary]:
        """Changed runs that match, and those that matched when they were last sent."""
        runs: list[RunSummary] = []
        for key, _path in subscription.take():
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
            if _matches(made, wanted):
                shown.add(made.run_id)
                runs.append(made)
            elif made.run_id in shown or resumed:
                shown.discard(made.run_id)
                runs.append(made)
        return runs


class _Waits:
    """The runs one WaitRuns stream waits for."""

    def __init__(self, methods: WatchingMethods) -> None:
        self._methods = methods
        self._wake = asyncio.Event()
        self._outcomes: list[RunOutcome] = []
        self._errors: list[ItemError] = []
        self._waiting: dict[tuple[str, str], Closer] = {}
        self._ended = False

    async def read(self, requests: AsyncIterator[pb.WaitRunsRequest]) -> None:
        """Takes in runs to wait for."""
        try:
            async for request in requests:
                namespace = self._methods.validator.namespace(request.namespace)
                self._methods.validator.batch("run_ids", len(request.run_ids))
                for run_id in request.run_ids:
                    await self._add(namespace, run_id)
        finally:
            self._ended = True
            self._wake.set()

    async def _add(self, namespace: str, run_id: str) -> None:
        name = (namespace, run_id)
        if name in self._waiting:
            return
        closer = partial(self._closed, name)
        if self._methods.on_close(namespace, run_id, closer):
            self._waiting[name] = closer
            return
        try:
            outcome = await self._methods.reading.outcome_of_closed(namespace, run_id)
        except Refused as refused:
            refused.metadata["run_id"] = run_id
            self._errors.append(item_error(refused))
        else:
            self._outcomes.append(outcome)
        self._wake.set()

    def _closed(self, name: tuple[str, str], outcome: RunOutcome) -> None:
        del self._waiting[name]
        self._outcomes.append(outcome)
        self._wake.set()

    async def next(self) -> pb.WaitRunsResponse | None:
        """What came up since the last time; None at the end."""
        while not self._outcomes and not self._errors:
            if self._ended:
                return None
            self._wake.clear()
            await self._wake.wait()
        answer = pb.WaitRunsResponse(outcomes=self._outcomes[:1_000], errors=self._errors[:1_000])
        del self._outcomes[:1_000]
        del self._errors[:1_000]
        return answer

    def close(self) -> None:
        """Lets go of the runs that are still open."""
        for (namespace, run_id), closer in self._waiting.items():
            self._methods.forget(namespace, run_id, closer)


def _matches(run: RunSummary, wanted: pb.RunFilter) -> bool:
    return (
        (not wanted.states or run.state in wanted.states)
        and (not wanted.workflow or run.workflow == wanted.workflow)
        and (not wanted.key or run.key == wanted.key)
        and (not wanted.waiting_reasons or run.waiting_reason in wanted.waiting_reasons)
        and (
            not wanted.HasField("start_after_time")
            or timestamp_us(run.start_time) >= timestamp_us(wanted.start_after_time)
        )
        and (
            not wanted.HasField("start_before_time")
            or timestamp_us(run.start_time) < timestamp_us(wanted.start_before_time)
        )
    )
