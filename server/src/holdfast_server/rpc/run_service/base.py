"""What the methods of RunService share."""

from dataclasses import dataclass

from holdfast.v1 import run_service_pb2 as pb
from holdfast.v1.run_pb2 import RunState, RunSummary, WaitingReason
from holdfast.v1.run_service_pb2_grpc import RunServiceServicer
from holdfast_server.engine.times import timestamp_us
from holdfast_server.rpc.seats import Seats
from holdfast_server.rpc.validation import Validator
from holdfast_server.runtime.changes import Changes
from holdfast_server.runtime.reading import Reading
from holdfast_server.runtime.runtime import Runtime
from holdfast_server.runtime.starting import Starter
from holdfast_server.store.port import RunQuery

__all__ = ["Base", "Parts", "matches"]


@dataclass(frozen=True, slots=True)
class Parts:
    """What the services are built from."""

    runtime: Runtime
    starter: Starter
    changes: Changes
    reading: Reading
    validator: Validator
    seats: Seats


class Base(RunServiceServicer):
    """A servicer with its parts."""

    def __init__(self, parts: Parts) -> None:
        self.runtime = parts.runtime
        self.starter = parts.starter
        self.changes = parts.changes
        self.reading = parts.reading
        self.validator = parts.validator
        self.seats = parts.seats

    def wants_data(self, view: int) -> bool:
        """Whether large payloads are to be given with their data."""
        self.validator.member("payload_view", view, pb.PayloadView)
        return view != pb.PayloadView.PAYLOAD_VIEW_REFS

    def run_name(self, namespace: str, run_id: str) -> tuple[str, str]:
        """The checked namespace and id of a run."""
        return self.validator.namespace(namespace), self.validator.name("run_id", run_id)

    def query_of(self, namespace: str, wanted: pb.RunFilter, limit: int) -> RunQuery:
        """A filter as the store takes it; what runs wait for is looked up in memory, since only open ones wait."""
        for position, state in enumerate(wanted.states):
            self.validator.member(f"filter.states[{position}]", state, RunState, required=True)
        for position, reason in enumerate(wanted.waiting_reasons):
            self.validator.member(f"filter.waiting_reasons[{position}]", reason, WaitingReason, required=True)
        for name in ("start_after_time", "start_before_time"):
            if wanted.HasField(name):
                self.validator.time(f"filter.{name}", getattr(wanted, name))
        if wanted.workflow:
            self.validator.name("filter.workflow", wanted.workflow)
        if wanted.key:
            self.validator.name("filter.key", wanted.key)
        return RunQuery(
            namespace,
            tuple(wanted.states),
            wanted.workflow,
            wanted.key,
            timestamp_us(wanted.start_after_time) if wanted.HasField("start_after_time") else None,
            timestamp_us(wanted.start_before_time) if wanted.HasField("start_before_time") else None,
            limit=limit,
        )


def matches(run: RunSummary, wanted: pb.RunFilter) -> bool:
    """Whether a run, as it is shown, fits a filter."""
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
