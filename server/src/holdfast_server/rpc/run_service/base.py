"""What the methods of RunService share."""

from dataclasses import dataclass

from holdfast.v1.run_pb2 import RunState
from holdfast.v1.run_service_pb2 import RunFilter
from holdfast.v1.run_service_pb2_grpc import RunServiceServicer
from holdfast_server.engine.times import timestamp_us
from holdfast_server.rpc.validation import Validator, invalid
from holdfast_server.runtime.changes import Changes
from holdfast_server.runtime.reading import Reading
from holdfast_server.runtime.runtime import Runtime
from holdfast_server.runtime.starting import Starter
from holdfast_server.store.port import RunQuery

__all__ = ["Base", "Parts"]


@dataclass(frozen=True, slots=True)
class Parts:
    """What the services are built from."""

    runtime: Runtime
    starter: Starter
    changes: Changes
    reading: Reading
    validator: Validator


class Base(RunServiceServicer):
    """A servicer with its parts."""

    def __init__(self, parts: Parts) -> None:
        self.runtime = parts.runtime
        self.starter = parts.starter
        self.changes = parts.changes
        self.reading = parts.reading
        self.validator = parts.validator

    def run_name(self, namespace: str, run_id: str) -> tuple[str, str]:
        """The checked namespace and id of a run."""
        return self.validator.namespace(namespace), self.validator.name("run_id", run_id)

    def query_of(self, namespace: str, wanted: RunFilter, limit: int) -> RunQuery:
        """A filter as the store takes it; what runs wait for is looked up in memory, since only open ones wait."""
        for position, state in enumerate(wanted.states):
            if state not in RunState.values() or not state:
                raise invalid(f"filter.states[{position}]", f"{state} is not a state of a run")
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
