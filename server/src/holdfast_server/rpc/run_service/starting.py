"""StartRun and StartRuns."""

from holdfast.v1 import run_service_pb2 as pb
from holdfast_server.engine.refusal import Refused
from holdfast_server.rpc.errors import Context, item_error, mapped
from holdfast_server.rpc.run_service.base import Base
from holdfast_server.rpc.validation import actor_of, invalid, over

__all__ = ["StartingMethods"]


class StartingMethods(Base):
    """Starts runs."""

    @mapped
    async def StartRun(self, request: pb.StartRunRequest, context: Context) -> pb.StartRunResponse:
        """Starts one run."""
        self._check(request)
        outcome = (await self.starter.start([request], actor_of(context)))[0]
        if isinstance(outcome, Refused):
            raise outcome
        return outcome

    @mapped
    async def StartRuns(self, request: pb.StartRunsRequest, context: Context) -> pb.StartRunsResponse:
        """Starts many runs, each with its own result."""
        self.validator.batch("starts", len(request.starts))
        results: list[pb.StartRunResult | None] = [None] * len(request.starts)
        good: dict[str, list[int]] = {}
        for position, start in enumerate(request.starts):
            try:
                self._check(start)
            except Refused as refused:
                results[position] = pb.StartRunResult(error=item_error(refused))
            else:
                good.setdefault(start.namespace, []).append(position)
        actor = actor_of(context)
        for positions in good.values():
            outcomes = await self.starter.start([request.starts[position] for position in positions], actor)
            for position, outcome in zip(positions, outcomes, strict=True):
                if isinstance(outcome, Refused):
                    results[position] = pb.StartRunResult(error=item_error(outcome))
                else:
                    results[position] = pb.StartRunResult(accepted=outcome)
        return pb.StartRunsResponse(results=[result for result in results if result is not None])

    def _check(self, request: pb.StartRunRequest) -> None:
        check = self.validator
        request.namespace = check.namespace(request.namespace)
        check.name("workflow", request.workflow)
        if request.version < 0:
            raise invalid("version", f"{request.version} is negative; 0 means the latest")
        if request.run_id:
            check.name("run_id", request.run_id)
        if request.key:
            check.name("key", request.key)
        check.member("on_conflict", request.on_conflict, pb.OnConflict)
        if request.HasField("start_after_time"):
            check.time("start_after_time", request.start_after_time)
        if request.HasField("input"):
            check.payload("input", request.input)
        if request.attributes:
            check.attributes("attributes", dict(request.attributes))
        if request.HasField("timeout"):
            check.duration_us("timeout", request.timeout, least_us=1)
        if len(request.signals) > check.limits.start_signals:
            raise over("signals", "start_signals", check.limits.start_signals, len(request.signals))
        for position, signal in enumerate(request.signals):
            check.snake(f"signals[{position}].name", signal.name)
            if signal.HasField("payload"):
                check.payload(f"signals[{position}].payload", signal.payload)
        check.request_id(request.request_id)
        check.traceparent(request.traceparent)
