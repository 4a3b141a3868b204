"""Starts runs, many at a time: repetitions get the first answer, conflicts are told apart, all is one commit."""

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NoReturn

from holdfast.v1.actor_pb2 import Actor, RequestMark
from holdfast.v1.errors_pb2 import ErrorReason
from holdfast.v1.run_service_pb2 import OnConflict, StartRunRequest, StartRunResponse
from holdfast_server.engine.commands import SendSignal, Start, Terminate
from holdfast_server.engine.decide import start_run
from holdfast_server.engine.payloads import PayloadBag
from holdfast_server.engine.plan import Plan
from holdfast_server.engine.refusal import Refused
from holdfast_server.engine.state import OPEN_RUN
from holdfast_server.engine.times import duration_us, timestamp_us
from holdfast_server.runtime.changes import repeated_seq
from holdfast_server.runtime.host import RunHost
from holdfast_server.runtime.mending import quarantined
from holdfast_server.runtime.runtime import Runtime
from holdfast_server.store.port import NewRun, RunQuery, RunRow, StoreError

__all__ = ["StartOutcome", "Starter", "request_hash"]

FORMER = 4
"""Runs that had a business key and are asked whether a request was for them."""
REPEATED_US = 3_600_000_000
"""How long after the end of a run requests for it are repeated."""
FAILS = frozenset({OnConflict.ON_CONFLICT_UNSPECIFIED, OnConflict.ON_CONFLICT_FAIL})
"""What callers say who want no other run in place of a new one."""

StartOutcome = StartRunResponse | Refused
"""What became of one item."""


def request_hash(serialized: bytes) -> bytes:
    """What tells the repetition of a request from the reuse of its id."""
    return hashlib.blake2b(serialized, digest_size=16).digest()


@dataclass(slots=True)
class _Item:
    """One start on its way."""

    request: StartRunRequest
    hash: bytes
    joined: "asyncio.Future[StartOutcome] | None" = None
    own: "asyncio.Future[StartOutcome] | None" = None
    answer: StartOutcome | None = None
    bag: PayloadBag | None = None
    host: RunHost | None = None
    """The run it started."""
    used: RunHost | None = None
    """The run its signals went to in place of one."""
    pinned: RunHost | None = None
    """The open run that has its business key; it stays in memory until the start is decided."""


class Starter:
    """Starts runs.

    Args:
        runtime: where they run.
        new_id: makes run ids.
        new_trace: makes trace contexts.
    """

    def __init__(self, runtime: Runtime, new_id: Callable[[], str], new_trace: Callable[[], str]) -> None:
        self._runtime = runtime
        self._new_id = new_id
        self._new_trace = new_trace
        self._in_flight: dict[tuple[str, str], tuple[bytes, asyncio.Future[StartOutcome]]] = {}

    async def start(self, requests: Sequence[StartRunRequest], actor: Actor) -> list[StartOutcome]:
        """Starts each; an item that is refused does not affect the others. All answers are durable.

        The requests have been checked for form, and all are of one namespace.

        Raises:
            Refused: STORE_UNAVAILABLE for all of them.
            StoreError: the disk does not answer.
        """
        self._runtime.check_writable()
        items = [
            _Item(request, request_hash(request.SerializeToString(deterministic=True)) if request.request_id else b"")
            for request in requests
        ]
        self._join(items)
        failures = self._runtime.journal.failures
        try:
            await self._start_own([item for item in items if item.joined is None], actor, failures)
        except asyncio.CancelledError:
            # The caller has left, but what it began goes on, and a repetition waits for that.
            self._runtime.spawn(self._settle_later(items, failures), "start whose caller left")
            raise
        except Exception as error:
            self._settle(items, error)
            raise
        self._settle(items, None)
        return [item.answer if item.joined is None else await item.joined for item in items]  # type: ignore[misc]

    def _join(self, items: Sequence[_Item]) -> None:
        """An item whose request id is in flight gets that one's answer."""
        loop = asyncio.get_running_loop()
        for item in items:
            request_id = item.request.request_id
            if not request_id:
                continue
            name = (item.request.namespace, request_id)
            found = self._in_flight.get(name)
            if found is None:
                item.own = loop.create_future()
                # A failure nobody waits for here is reported to whoever started it.
                item.own.add_done_callback(lambda done: None if done.cancelled() else done.exception())
                self._in_flight[name] = (item.hash, item.own)
            elif found[0] == item.hash:
                item.joined = asyncio.shield(found[1])
            else:
                item.answer = _reused(request_id)

    async def _settle_later(self, items: Sequence[_Item], failures: int) -> None:
        try:
            await self._runtime.journal.durable(failures)
            await self._check_kept(items)
        except (Refused, StoreError) as error:
            self._settle(items, error)
        else:
            self._settle(items, None)

    def _settle(self, items: Sequence[_Item], error: Exception | None) -> None:
        for item in items:
            if item.own is None:
                continue
            del self._in_flight[item.request.namespace, item.request.request_id]
            if error is not None:
                item.own.set_exception(error)
            elif item.answer is not None:
                item.own.set_result(_repeated(item.answer))
            else:
                item.own.set_exception(StoreError("whoever made this request first left before it began; try again"))

    async def _start_own(self, items: Sequence[_Item], actor: Actor, failures: int) -> None:
        items = [item for item in items if item.answer is None]
        if not items:
            return
        deleting = self._runtime.deleting
        turns = deleting.turns
        known = await self._known([item for item in items if _needs_look_up(item.request)])
        plans: dict[tuple[str, str, int], Plan | Refused] = {}
        try:
            await self._bring_by_key([item for item in items if item.request.key])
            for item in items:
                await self._prepare(item, plans)
            while deleting.turns != turns:
                # A run that was not there yet may be gone already, and its id is taken all the same.
                turns = deleting.turns
                known = await self._known([item for item in items if _needs_look_up(item.request)])
            for item in items:
                request = item.request
                if not request.key:  # else who has the key must be who had it when that was looked up
                    await self._runtime.let_others()
                plan = plans[request.namespace, request.workflow, request.version]
                try:
                    item.answer = item.answer or self._start_one(item, plan, known, actor)
                except Refused as refused:
                    item.answer = refused.kept()
        finally:
            for item in items:
                if item.pinned is not None:
                    item.pinned.pins -= 1
                    item.pinned = None
        await self._runtime.journal.durable(failures)
        await self._check_kept(items)

    async def _check_kept(self, items: Sequence[_Item]) -> None:
        """A run the database did not take had been started before: by this request, or with this id.

        That is seldom, so most starts are not looked up first: the unique indexes of the database find it out.
        """
        for item in items:
            if item.used is not None and item.used.quarantined:
                item.answer = quarantined(item.used)
            if item.host is None or not item.host.gone:
                continue
            fault = item.host.quarantined
            try:
                item.answer = self._as_known(item.request, item.hash, await self._known([item]))
                if item.answer is None and item.request.key:
                    await self._refuse_by_key(item.request)
            except Refused as refused:
                item.answer = refused.kept()
            if item.answer is None:
                message = f"the start contradicts what is stored: {fault}"
                item.answer = Refused(ErrorReason.ERROR_REASON_INTERNAL, message)

    async def _refuse_by_key(self, request: StartRunRequest) -> NoReturn:
        """Says who has the key of a start that the database did not take.

        In memory the key was free already, because its run was about to end, and then that end did not get to the disk.

        Raises:
            Refused: KEY_IN_USE, RUN_QUARANTINED, or STORE_UNAVAILABLE if the start may be possible in a moment.
        """
        query = RunQuery(request.namespace, tuple(OPEN_RUN), request.workflow, request.key, limit=1)
        for row in await self._runtime.store.runs(query):
            host = self._runtime.residence.by_key(row.key)
            if host is not None and host.stale:
                await self._runtime.bag(host)  # folded again, it has its key again
            if request.on_conflict in FAILS:
                raise _in_use(request, row.run_id)
            if host is not None and host.quarantined:
                raise quarantined(host)
        message = f"key {request.key!r} belongs to a run whose end is not on disk; try again"
        raise Refused(ErrorReason.ERROR_REASON_STORE_UNAVAILABLE, message, {"key": request.key})

    async def _known(self, items: Sequence[_Item]) -> dict[str, RunRow | None]:
        """Stored runs that have one of the ids or request ids; the latter are marked by a leading NUL.

        The id of a run that was deleted has None.
        """
        run_ids = [item.request.run_id for item in items if item.request.run_id]
        request_ids = [item.request.request_id for item in items if item.request.request_id]
        if not run_ids and not request_ids:
            return {}
        namespace = items[0].request.namespace
        rows = await self._runtime.store.known_starts(namespace, run_ids, request_ids)
        known: dict[str, RunRow | None] = {}
        if run_ids:
            # After the runs: one that is deleted in between is found here, the other way round it would not be.
            known = {one.run_id: None for one in await self._runtime.store.deleted_runs(namespace, run_ids)}
        for row in rows:
            known[row.run_id] = row
            if row.request_id:
                known["\0" + row.request_id] = row
        return known

    async def _bring_by_key(self, items: Sequence[_Item]) -> None:
        """Open runs that have the business keys come into memory, and stay there."""
        residence = self._runtime.residence
        for item in items:
            self._pin(item)
        names = [(item.request.workflow, item.request.key) for item in items if item.pinned is None]
        if not names:
            return
        rows = await self._runtime.store.open_runs_by_key(items[0].request.namespace, names)
        await self._runtime.loading.bring([row.key for row in rows if residence.by_key(row.key) is None])
        for item in items:
            if item.pinned is None:
                self._pin(item)

    def _pin(self, item: _Item) -> None:
        request = item.request
        item.pinned = self._runtime.residence.by_business_key(request.namespace, request.workflow, request.key)
        if item.pinned is not None:
            item.pinned.pins += 1

    async def _prepare(self, item: _Item, plans: dict[tuple[str, str, int], Plan | Refused]) -> None:
        request = item.request
        name = (request.namespace, request.workflow, request.version)
        if name not in plans:
            try:
                plans[name] = await self._runtime.catalog.plan(*name)
            except Refused as refused:
                plans[name] = refused.kept()
        named = self._runtime.residence.by_id(request.namespace, request.run_id) if request.run_id else None
        if named is not None and named.stale:
            await self._bag_if_there(named)
        existing = self._runtime.residence.by_business_key(request.namespace, request.workflow, request.key)
        if request.key and existing is not None:
            item.bag = await self._bag_if_there(existing)
        uses = request.on_conflict == OnConflict.ON_CONFLICT_USE_EXISTING
        if uses and request.key and request.signals and request.request_id:
            item.answer = await self._used_before(item, existing)

    async def _used_before(self, item: _Item, existing: RunHost | None) -> StartOutcome | None:
        """The answer of a request whose signals went to a run that had the key before, and is closed since.

        Raises:
            StoreError: the disk does not answer.
        """
        request, runtime = item.request, self._runtime
        query = RunQuery(request.namespace, workflow=request.workflow, business_key=request.key, limit=FORMER)
        for row in await runtime.store.runs(query):
            host = runtime.residence.by_key(row.key)
            long_ago = row.close_time_us and row.close_time_us < runtime.clock_us() - REPEATED_US
            if long_ago or (host is not None and host is existing):
                continue
            run = host.state if host is not None else await runtime.folder.run(row.key)
            try:
                if run is not None and repeated_seq(run, request.request_id, item.hash) is not None:
                    return StartRunResponse(run_id=run.run_id, started=False, version=run.plan.version)
            except Refused as refused:
                return refused
        return None

    async def _bag_if_there(self, host: RunHost) -> PayloadBag | None:
        """The payloads of a run; None if its start could not be written, so that it is in nobody's way.

        Raises:
            StoreError: the disk does not answer.
        """
        try:
            return await self._runtime.bag(host)
        except Refused:
            return None

    def _as_known(
        self, request: StartRunRequest, digest: bytes, known: dict[str, RunRow | None]
    ) -> StartOutcome | None:
        """The answer if the request or its run id was seen before.

        Raises:
            Refused: RUN_EXISTS.
        """
        if request.request_id:
            row = known.get("\0" + request.request_id)
            if row is not None:
                if row.request_hash != digest:
                    return _reused(request.request_id)
                return StartRunResponse(run_id=row.run_id, started=False, version=row.version)
        run_id = request.run_id
        if run_id and (run_id in known or self._runtime.residence.by_id(request.namespace, run_id) is not None):
            message = f"run id {run_id!r} is taken; run ids are never reused"
            raise Refused(ErrorReason.ERROR_REASON_RUN_EXISTS, message, {"run_id": run_id}, (("run_id", message),))
        return None

    def _start_one(
        self, item: _Item, plan: Plan | Refused, known: dict[str, RunRow | None], actor: Actor
    ) -> StartOutcome:
        request = item.request
        answer = self._as_known(request, item.hash, known)
        if answer is not None:
            return answer
        if isinstance(plan, Refused):
            raise plan
        existing = None
        if request.key:
            existing = self._runtime.residence.by_business_key(request.namespace, request.workflow, request.key)
        if existing is not None:
            if request.on_conflict == OnConflict.ON_CONFLICT_USE_EXISTING:
                return self._use(item, existing, actor)
            if request.on_conflict != OnConflict.ON_CONFLICT_TERMINATE_EXISTING:
                raise _in_use(request, existing.state.run_id)
        return self._begin(item, plan, existing, actor)

    def _use(self, item: _Item, existing: RunHost, actor: Actor) -> StartOutcome:
        """Answers the open run that has the key, and sends it the signals, once."""
        request = item.request
        run = existing.state
        answer = StartRunResponse(run_id=run.run_id, started=False, version=run.plan.version)
        if repeated_seq(run, request.request_id, item.hash) is not None:
            return answer
        last = len(request.signals) - 1
        for position, signal in enumerate(request.signals):
            payload = signal.payload if signal.HasField("payload") else None
            mark = None
            if request.request_id and position == last:
                mark = RequestMark(id=request.request_id, hash=item.hash)
            bag = self._bag_of(item, existing)
            self._runtime.apply(existing, SendSignal(signal.name, payload), bag, actor, mark)
            item.used = existing
        return answer

    def _bag_of(self, item: _Item, host: RunHost) -> PayloadBag:
        bag = self._runtime.bag_now(host) or item.bag
        if bag is None:
            message = f"run {host.state.run_id!r} cannot be changed at this moment; try again"
            raise Refused(ErrorReason.ERROR_REASON_STORE_UNAVAILABLE, message)
        return bag

    def _begin(self, item: _Item, plan: Plan, existing: RunHost | None, actor: Actor) -> StartRunResponse:
        request = item.request
        runtime = self._runtime
        run_id = request.run_id or self._new_id()
        now_us = runtime.clock_us()
        command = Start(
            request.namespace,
            run_id,
            request.key,
            request.input if request.HasField("input") else None,
            dict(request.attributes),
            timestamp_us(request.start_after_time) if request.HasField("start_after_time") else 0,
            duration_us(request.timeout) if request.HasField("timeout") else None,
            tuple((one.name, one.payload if one.HasField("payload") else None) for one in request.signals),
            request.traceparent or self._new_trace(),
        )
        bag = PayloadBag(None, runtime.settings.engine.inline_bytes)
        mark = RequestMark(id=request.request_id, hash=item.hash) if request.request_id else None
        run, decision = start_run(plan, command, now_us, runtime.entropy, bag, runtime.settings.engine, actor, mark)
        runtime.made(run.seq)
        if existing is not None:
            # Only now that the new run is known to be right.
            reason = f"replaced by run {run_id!r}, which has the same key {request.key!r}"
            runtime.apply(existing, Terminate(reason), self._bag_of(item, existing), actor)
        runtime.last_key += 1
        host = item.host = runtime.residence.add(runtime.last_key, run)
        attributes = ",".join(f'"{name}":{value.json}' for name, value in sorted(run.attributes.items()))
        row = NewRun(
            host.key,
            request.namespace,
            run_id,
            plan.workflow,
            plan.version,
            request.key,
            run.start_us,
            request.request_id,
            item.hash,
            f"{{{attributes}}}" if attributes else "",
        )
        runtime.journal.begin(host, decision.batch, decision.effects, row)
        runtime.journal.add(runtime.pin_new(host.key, runtime.journal.entry(host), 0, bag))
        if not run.open:
            runtime.state_changed(host)
        return StartRunResponse(run_id=run_id, started=True, version=plan.version)


def _in_use(request: StartRunRequest, run_id: str) -> Refused:
    message = f"key {request.key!r} belongs to the open run {run_id!r} of workflow {request.workflow!r}"
    facts = {"run_id": run_id, "key": request.key}
    return Refused(ErrorReason.ERROR_REASON_KEY_IN_USE, message, facts, (("key", message),))


def _needs_look_up(request: StartRunRequest) -> bool:
    """Whether a repetition has to be found before anything is done.

    One with a key may signal or terminate another run, and one that names its run may find that run in memory.
    """
    return bool(request.key or request.run_id)


def _reused(request_id: str) -> Refused:
    message = f"request id {request_id!r} was used for another request; make a new one for each request"
    return Refused(
        ErrorReason.ERROR_REASON_REQUEST_ID_REUSED,
        message,
        {"request_id": request_id},
        (("request_id", message),),
    )


def _repeated(answer: StartOutcome) -> StartOutcome:
    if isinstance(answer, Refused):
        return answer
    return StartRunResponse(run_id=answer.run_id, started=False, version=answer.version)
