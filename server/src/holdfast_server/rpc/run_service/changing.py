"""Signals, actions on steps, pause, resume, cancel, terminate, retry, delete."""

from typing import Any

import structlog

from holdfast.v1 import run_service_pb2 as pb
from holdfast.v1.run_pb2 import RunSummary
from holdfast.v1.step_action_pb2 import StepActionRequest, StepActionResponse
from holdfast_server.engine import commands as c, views
from holdfast_server.engine.refusal import Refused
from holdfast_server.engine.times import timestamp
from holdfast_server.rpc.errors import Context, item_error, mapped
from holdfast_server.rpc.run_service.base import Base
from holdfast_server.rpc.validation import actor_of, invalid
from holdfast_server.runtime.changes import Changed
from holdfast_server.runtime.starting import request_hash

__all__ = ["ChangingMethods"]

log = structlog.get_logger("holdfast.rpc")


class ChangingMethods(Base):
    """Changes runs."""

    @mapped
    async def SignalRun(self, request: pb.SignalRunRequest, context: Context) -> pb.SignalRunResponse:
        """Sends a signal into a run."""
        changed = await self._signal(request, context)
        await self.runtime.journal.durable()
        self.changes.check_kept(changed)
        return pb.SignalRunResponse(seq=changed.seq)

    @mapped
    async def SignalRuns(self, request: pb.SignalRunsRequest, context: Context) -> pb.SignalRunsResponse:
        """Sends many signals, each with its own result, all in one commit."""
        self.validator.batch("signals", len(request.signals))
        self.runtime.check_writable()  # else each would be refused for good, and callers would not try again
        applied: list[Changed | Refused] = []
        failures = self.runtime.journal.failures
        for signal in request.signals:
            await self.runtime.let_others()
            try:
                applied.append(await self._signal(signal, context))
            except Refused as refused:
                applied.append(refused.kept())
        await self.runtime.journal.durable(failures)
        return pb.SignalRunsResponse(results=map(self._signal_result, applied))

    def _signal_result(self, applied: Changed | Refused) -> pb.SignalRunResult:
        try:
            if isinstance(applied, Refused):
                raise applied
            self.changes.check_kept(applied)
        except Refused as refused:
            return pb.SignalRunResult(error=item_error(refused))
        return pb.SignalRunResult(accepted=pb.SignalRunResponse(seq=applied.seq))

    async def _signal(self, request: pb.SignalRunRequest, context: Context) -> Changed:
        name = self.validator.snake("signal.name", request.signal.name)
        payload = None
        if request.signal.HasField("payload"):
            payload = self.validator.payload("signal.payload", request.signal.payload)
        return await self._apply(request, c.SendSignal(name, payload), context)

    @mapped
    async def StepAction(self, request: StepActionRequest, context: Context) -> StepActionResponse:
        """Acts on one step."""
        changed = await self._apply(request, self._step_command(request), context)
        run = changed.state
        made = StepActionResponse(
            run=views.summary(run, self.reading.serves(run.namespace)),
            activation=views.activation_view(run, request.step_path),
        )
        await self.runtime.journal.durable()
        self.changes.check_kept(changed)
        return made

    def _step_command(self, request: StepActionRequest) -> c.Command:
        path = self.validator.path("step_path", request.step_path)
        note = self.validator.note("note", request.note)
        match request.WhichOneof("action"):
            case "retry":
                return c.RetryStep(path, note)
            case "skip":
                output = None
                if request.skip.HasField("output"):
                    output = self.validator.payload("skip.output", request.skip.output)
                return c.SkipStep(path, output, note)
            case "fail":
                kind = self.validator.failure_type("fail.type", request.fail.type)
                return c.FailStep(path, kind, self.validator.note("fail.message", request.fail.message), note)
        raise invalid("action", "is missing: an action is retry, skip or fail")

    @mapped
    async def PauseRun(self, request: pb.PauseRunRequest, context: Context) -> pb.PauseRunResponse:
        """Lets nothing new start."""
        command = c.Pause(self.validator.note("note", request.note))
        return pb.PauseRunResponse(run=await self._operate(request, command, context))

    @mapped
    async def ResumeRun(self, request: pb.ResumeRunRequest, context: Context) -> pb.ResumeRunResponse:
        """Ends a pause."""
        command = c.Resume(self.validator.note("note", request.note))
        return pb.ResumeRunResponse(run=await self._operate(request, command, context))

    @mapped
    async def CancelRun(self, request: pb.CancelRunRequest, context: Context) -> pb.CancelRunResponse:
        """Asks a run to stop."""
        command = c.Cancel(self.validator.note("reason", request.reason))
        return pb.CancelRunResponse(run=await self._operate(request, command, context))

    @mapped
    async def TerminateRun(self, request: pb.TerminateRunRequest, context: Context) -> pb.TerminateRunResponse:
        """Ends a run at once."""
        command = c.Terminate(self.validator.note("reason", request.reason))
        return pb.TerminateRunResponse(run=await self._operate(request, command, context))

    @mapped
    async def RetryRun(self, request: pb.RetryRunRequest, context: Context) -> pb.RetryRunResponse:
        """Lets a closed run go on from what failed."""
        command = c.Retry(self.validator.note("note", request.note))
        return pb.RetryRunResponse(run=await self._operate(request, command, context))

    @mapped
    async def DeleteRun(self, request: pb.DeleteRunRequest, context: Context) -> pb.DeleteRunResponse:
        """Deletes a closed run."""
        namespace, run_id = self.run_name(request.namespace, request.run_id)
        request_id = self.validator.request_id(request.request_id)
        actor = actor_of(context)
        delete_us = await self.runtime.deleting.delete(namespace, run_id, request_id)
        # Its history is gone, so this is where it is told who did it.
        log.info("run deleted", namespace=namespace, run_id=run_id, actor=actor.name)
        return pb.DeleteRunResponse(delete_time=timestamp(delete_us))

    async def _operate(self, request: Any, command: c.Command, context: Context) -> RunSummary:
        changed = await self._apply(request, command, context)
        made = views.summary(changed.state, self.reading.serves(changed.state.namespace))
        await self.runtime.journal.durable()
        self.changes.check_kept(changed)
        return made

    async def _apply(self, request: Any, command: c.Command, context: Context) -> Changed:
        namespace, run_id = self.run_name(request.namespace, request.run_id)
        request_id = self.validator.request_id(request.request_id)
        digest = b""
        if request_id:
            # The method is part of what is asked: the same id on another method is a reuse.
            named = type(request).__name__.encode()
            digest = request_hash(named + request.SerializeToString(deterministic=True))
        return await self.changes.apply(namespace, run_id, command, actor_of(context), request_id, digest)
