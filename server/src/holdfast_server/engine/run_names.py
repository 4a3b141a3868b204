"""What an expression sees of a run, seen from one block."""

from collections.abc import Mapping
from dataclasses import dataclass

import orjson

from holdfast.v1.failure_pb2 import Failure
from holdfast.v1.payload_pb2 import Payload
from holdfast.v1.run_pb2 import StepState
from holdfast_server.engine import state as st
from holdfast_server.engine.expressions import NOT_A_PAYLOAD, NotAPayload, Ref
from holdfast_server.engine.payloads import PayloadBag
from holdfast_server.engine.state import RunState, Scope, StepRecord
from holdfast_server.engine.times import iso

__all__ = ["Finishing", "RunNames", "state_name"]

STATE_PREFIX = len("STEP_STATE_")
STATE_NAMES = {number: name[STATE_PREFIX:] for name, number in StepState.items()}


def state_name(state: int) -> str:
    """A step state as expressions and people see it, for example `SUCCEEDED`."""
    return STATE_NAMES[StepState.ValueType(state)]


@dataclass(frozen=True, slots=True)
class Finishing:
    """A step as it will be once the event that is being made is applied: its edges are judged by that."""

    scope: Scope
    index: int
    state: StepState.ValueType
    output: Payload | None
    failure: Failure | None
    finish_us: int


class RunNames:
    """The names of a run: `input`, `steps`, `signals`, `run`, and what the caller adds (`payload` in a wait)."""

    __slots__ = ("_bag", "_extra", "_finishing", "_run", "_scope")

    def __init__(
        self,
        run: RunState,
        scope: Scope,
        bag: PayloadBag,
        finishing: Finishing | None = None,
        extra: Mapping[str, Payload | None] | None = None,
    ) -> None:
        self._run = run
        self._scope = scope
        self._bag = bag
        self._finishing = finishing
        self._extra = extra

    def payload(self, ref: Ref) -> Payload | NotAPayload | None:
        """The undecoded payload held exactly at `ref`; NOT_A_PAYLOAD if what is there is something else."""
        head = ref[0]
        if head == "steps" and len(ref) == 3 and ref[2] == "output":  # noqa: PLR2004 - steps.<name>.output
            return self._output(str(ref[1]))
        if len(ref) == 1:
            if head == "input":
                return self._run.input
            if self._extra is not None and head in self._extra:
                return self._extra[str(head)]
        return NOT_A_PAYLOAD

    def lookup(self, ref: Ref) -> object:
        """The decoded value at `ref`; None where something is missing on the way."""
        head = ref[0]
        if head == "steps":
            return self._steps(ref)
        if head == "input":
            return _walk(self._bag.decode(self._run.input), ref, 1)
        if self._extra is not None and head in self._extra:
            return _walk(self._bag.decode(self._extra[str(head)]), ref, 1)
        if head == "signals":
            return self._signals(ref)
        if head == "run":
            return _walk(self._run_names(), ref, 1)
        return None

    def _steps(self, ref: Ref) -> object:
        if len(ref) == 1:
            return {step.name: self._step(step.name, None) for step in self._scope.block.steps}
        name = str(ref[1])
        if len(ref) == 2:  # noqa: PLR2004 - steps.<name>
            return self._step(name, None)
        attribute = str(ref[2])
        if attribute == "output":
            return _walk(self._bag.decode(self._output(name)), ref, 3)
        return _walk(self._step(name, attribute), ref, 3)

    def _output(self, name: str) -> Payload | None:
        index = self._scope.block.by_name.get(name)
        if index is None:
            return None
        finishing = self._finishing
        if finishing is not None and finishing.index == index and finishing.scope is self._scope:
            return finishing.output
        record = self._scope.steps[index]
        return None if record is None or record.state != st.SUCCEEDED else record.output

    def _step(self, name: str, attribute: str | None) -> object:
        index = self._scope.block.by_name.get(name)
        if index is None:
            return None
        record = self._scope.steps[index] or StepRecord()
        state, failure, finish_us = record.state, record.failure, record.finish_us
        finishing = self._finishing
        if finishing is not None and finishing.index == index and finishing.scope is self._scope:
            state, failure, finish_us = finishing.state, finishing.failure, finishing.finish_us
        if attribute == "state":
            return state_name(state)
        values: dict[str, object] = {
            "state": state_name(state),
            "failure": self._failure(failure),
            "attempts": record.attempt,
            "started_at": iso(record.schedule_us) if record.schedule_us else None,
            "finished_at": iso(finish_us) if finish_us else None,
        }
        if attribute is not None:
            return values.get(attribute)
        return values | {"output": self._bag.decode(self._output(name))}

    def _failure(self, failure: Failure | None) -> object:
        if failure is None:
            return None
        details = self._bag.decode(failure.details) if failure.HasField("details") else None
        return {"type": failure.type, "message": failure.message, "details": details}

    def _signals(self, ref: Ref) -> object:
        by_name: dict[str, list[object]] = {}
        for signal in self._run.signals.values():
            if len(ref) == 1 or signal.name == ref[1]:
                by_name.setdefault(signal.name, []).append(self._bag.decode(signal.payload))
        return by_name if len(ref) == 1 else _walk(by_name.get(str(ref[1]), []), ref, 2)

    def _run_names(self) -> dict[str, object]:
        run = self._run
        return {
            "id": run.run_id,
            "workflow": run.plan.workflow,
            "version": run.plan.version,
            "start_time": iso(run.start_us),
            "attributes": {name: orjson.loads(value.json) for name, value in run.attributes.items()},
        }


def _walk(value: object, ref: Ref, start: int) -> object:
    for part in ref[start:]:
        if isinstance(value, dict):
            value = value.get(part)
        elif isinstance(value, list) and isinstance(part, int) and -len(value) <= part < len(value):
            value = value[part]
        else:
            return None
    return value
