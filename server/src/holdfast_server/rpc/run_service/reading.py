"""GetRun, ListRuns, CountRuns, GetHistory, QueryRun."""

from dataclasses import replace

from google.protobuf.message import Message

from holdfast.v1 import run_service_pb2 as pb
from holdfast.v1.errors_pb2 import ErrorReason
from holdfast.v1.run_pb2 import RunSummary
from holdfast_server.engine import views
from holdfast_server.engine.compile import compile_query
from holdfast_server.engine.expressions import ExpressionError
from holdfast_server.engine.refusal import Refused
from holdfast_server.engine.state import RunState
from holdfast_server.engine.times import timestamp_us
from holdfast_server.rpc import paging
from holdfast_server.rpc.errors import Context, mapped
from holdfast_server.rpc.run_service.base import Base, matches
from holdfast_server.rpc.validation import invalid, over
from holdfast_server.runtime.host import OnDisk, RunHost
from holdfast_server.runtime.pieces import filled_bytes, in_pieces, plain_bytes
from holdfast_server.store.port import RunQuery

__all__ = ["ReadingMethods"]


class ReadingMethods(Base):
    """Reads runs."""

    @mapped
    async def GetRun(self, request: pb.GetRunRequest, _context: Context) -> pb.GetRunResponse:
        """Shows one run."""
        namespace, run_id = self.run_name(request.namespace, request.run_id)
        full = self.wants_data(request.payload_view)
        run, quarantined = await self.reading.state(namespace, run_id)
        view = views.run_view(run, self.reading.serves(namespace), quarantined)
        self._add_heartbeats(view, namespace, run_id)
        if full:
            self._check_fits(view)
            await self.reading.fill([view])
        return pb.GetRunResponse(run=view)

    def _check_fits(self, view: Message) -> None:
        size, limit = filled_bytes(view), self.validator.limits.message_bytes
        if size > limit:
            message = (
                f"the run with all its data has {size} bytes; the limit message_bytes is {limit}: "
                "ask with payload_view REFS, or read the history, which comes in pages"
            )
            facts = {"limit": "message_bytes", "value": str(limit), "actual": str(size), "field": "payload_view"}
            raise Refused(
                ErrorReason.ERROR_REASON_LIMIT_EXCEEDED, message, facts, violations=(("payload_view", message),)
            )

    def _add_heartbeats(self, view: Message, namespace: str, run_id: str) -> None:
        host = self.runtime.residence.by_id(namespace, run_id)
        if host is None:
            return
        for activation in view.activations:  # type: ignore[attr-defined]
            details = self.runtime.matching.heartbeat_details(host.key, activation.path)
            if details is not None:
                activation.heartbeat_details.CopyFrom(details)

    @mapped
    async def ListRuns(self, request: pb.ListRunsRequest, _context: Context) -> pb.ListRunsResponse:
        """Lists runs, latest start first."""
        namespace = self.validator.namespace(request.namespace)
        size = self.validator.page_size(request.page_size)
        position = paging.decode("runs", request.page_token, int, int)
        before = (int(position[0]), int(position[1])) if position else None
        doubts = self.reading.doubts
        found = await self._matching(namespace, request.filter, before, size + 1)
        residence = self.runtime.residence
        await self.reading.shown((residence.by_key(key) for (_start_us, key), _run in found), doubts)
        runs = next(in_pieces([one for _place, one in found[:size]], plain_bytes), [])
        token = paging.encode("runs", *found[len(runs) - 1][0]) if len(found) > len(runs) else ""
        # What is in memory may have gone on since the disk was asked.
        runs = [one for one in runs if matches(one, request.filter)]
        return pb.ListRunsResponse(runs=runs, next_page_token=token)

    async def _matching(
        self, namespace: str, wanted: pb.RunFilter, before: tuple[int, int] | None, limit: int
    ) -> list[tuple[tuple[int, int], RunSummary]]:
        """Runs with their place in the order (start, key)."""
        query = self.query_of(namespace, wanted, limit)
        if wanted.waiting_reasons:
            return await self._waiting(query, wanted, before)
        rows = await self.runtime.store.runs(replace(query, before=before))
        return [((row.start_time_us, row.key), self.reading.summary_of_row(row)) for row in rows]

    async def _waiting(
        self, query: RunQuery, wanted: pb.RunFilter, before: tuple[int, int] | None
    ) -> list[tuple[tuple[int, int], RunSummary]]:
        """Open runs by what they wait for: for those that were evicted that is on disk, for the others in memory."""
        # Those in memory before and after the disk is read, because runs come and go meanwhile.
        hosts = {host.key: host for host in self._in_memory(wanted, query.namespace)}
        rows = {row.key: row for row in await self.runtime.store.runs(_by_reason(query, wanted, before))}
        hosts.update((host.key, host) for host in self._in_memory(wanted, query.namespace))
        places = {(row.start_time_us, key) for key, row in rows.items()}
        places.update((host.state.start_us, key) for key, host in hosts.items())
        found: list[tuple[tuple[int, int], RunSummary]] = []
        for place in sorted(places, reverse=True):
            if before is not None and place >= before:
                continue
            host = hosts.get(place[1])
            made = self.reading.summary_of(host) if host is not None else self.reading.summary_of_row(rows[place[1]])
            if made.waiting_reason in wanted.waiting_reasons:
                found.append((place, made))
                if len(found) >= query.limit:
                    break
        return found

    def _in_memory(self, wanted: pb.RunFilter, namespace: str) -> list[RunHost]:
        return [
            host
            for host in self.runtime.residence
            if host.accepted and not host.stale and host.state.namespace == namespace and _fits(host.state, wanted)
        ]

    @mapped
    async def CountRuns(self, request: pb.CountRunsRequest, _context: Context) -> pb.CountRunsResponse:
        """Counts runs by state."""
        namespace = self.validator.namespace(request.namespace)
        query = self.query_of(namespace, request.filter, 1)
        if request.filter.waiting_reasons:
            doubts = self.reading.doubts
            counts = await self.runtime.store.count_runs(_by_reason(query, request.filter, None))
            hosts = self._in_memory(request.filter, namespace)
            for host in hosts:
                made = self.reading.summary_of(host)
                if host.on_disk is not OnDisk.EVICTED and made.waiting_reason in request.filter.waiting_reasons:
                    counts[made.state] = counts.get(made.state, 0) + 1
            await self.reading.shown(hosts, doubts)
        else:
            counts = await self.runtime.store.count_runs(query)
        states = [
            pb.StateCount(state=state, count=count)  # type: ignore[arg-type]
            for state, count in sorted(counts.items())
            if count
        ]
        return pb.CountRunsResponse(total=sum(counts.values()), states=states)

    @mapped
    async def GetHistory(self, request: pb.GetHistoryRequest, _context: Context) -> pb.GetHistoryResponse:
        """Shows events of a run."""
        namespace, run_id = self.run_name(request.namespace, request.run_id)
        size = self.validator.page_size(request.page_size, self.validator.limits.history_page_size, 1_000)
        full = self.wants_data(request.payload_view)
        position = paging.decode("history", request.page_token, int)
        after = int(position[0]) if position else 0
        found = await self.reading.events(namespace, run_id, after, size)
        events = next(in_pieces(found, filled_bytes if full else plain_bytes), [])
        last_seq = events[-1].seq if events else after
        more = bool(await self.reading.events(namespace, run_id, last_seq, 1, 1)) if events else False
        if full:
            await self.reading.fill(events)
        token = paging.encode("history", last_seq) if more else ""
        return pb.GetHistoryResponse(events=events, next_page_token=token)

    @mapped
    async def QueryRun(self, request: pb.QueryRunRequest, _context: Context) -> pb.QueryRunResponse:
        """Evaluates a query over a run."""
        namespace, run_id = self.run_name(request.namespace, request.run_id)
        which = request.WhichOneof("query")
        if which is None:
            raise invalid("query", "is missing; give a name or an expression")
        size = len(request.expression.encode())
        if size > self.validator.limits.expression_bytes:
            raise over("expression", "expression_bytes", self.validator.limits.expression_bytes, size)
        run, _quarantined = await self.reading.state(namespace, run_id)
        if which == "name":
            expression = run.plan.queries.get(request.name)
            if expression is None:
                known = ", ".join(run.plan.queries) or "none"
                message = f"workflow {run.plan.workflow!r} has no query {request.name[:80]!r}; it has: {known}"
                raise Refused(
                    ErrorReason.ERROR_REASON_QUERY_NOT_FOUND,
                    message,
                    {"query": request.name[:80], "workflow": run.plan.workflow},
                    (("name", message),),
                )
        else:
            try:
                expression = compile_query(run.plan, request.expression)
            except ExpressionError as error:
                message = f"the expression does not compile: {error}"
                raise Refused(
                    ErrorReason.ERROR_REASON_QUERY_FAILED, message, violations=(("expression", str(error)),)
                ) from error
        return pb.QueryRunResponse(result=await self.reading.query(run, expression))


def _by_reason(query: RunQuery, wanted: pb.RunFilter, before: tuple[int, int] | None) -> RunQuery:
    """The query for evicted runs."""
    return replace(query, waiting_reasons=tuple(wanted.waiting_reasons), before=before)


def _fits(run: RunState, wanted: pb.RunFilter) -> bool:
    return (
        run.open
        and (not wanted.states or run.state in wanted.states)
        and (not wanted.workflow or run.plan.workflow == wanted.workflow)
        and (not wanted.key or run.key == wanted.key)
        and (not wanted.HasField("start_after_time") or run.start_us >= timestamp_us(wanted.start_after_time))
        and (not wanted.HasField("start_before_time") or run.start_us < timestamp_us(wanted.start_before_time))
    )
