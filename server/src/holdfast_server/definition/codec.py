"""From a definition document to the message `WorkflowDefinition`.

Written out by hand: durations are texts, enum values have no prefix, and free JSON is kept as canonical text, none of
which protobuf's own JSON reads.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

from google.protobuf.duration_pb2 import Duration

from holdfast.v1 import definition_pb2 as pb
from holdfast.v1.payload_pb2 import JsonValue
from holdfast_server.engine.durations import DurationError, parse_duration_us
from holdfast_server.engine.faults import Faults
from holdfast_server.engine.json_values import canonical
from holdfast_server.engine.names import Ref

__all__ = ["to_message"]

_Doc = Mapping[str, Any]
_T = TypeVar("_T")
MICROS: Final = 1_000_000


def to_message(document: _Doc, faults: Faults) -> pb.WorkflowDefinition:
    """The message of a document that fits the document schema.

    Durations above the longest one are noted in `faults`; everything else the schema has made sure of.
    """
    return _Codec(faults).definition(document)


class _Codec:
    """Reads one document."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults

    def definition(self, doc: _Doc) -> pb.WorkflowDefinition:
        return pb.WorkflowDefinition(
            name=doc["name"],
            description=doc.get("description", ""),
            input_schema=_json(doc, "input_schema"),
            block=pb.Block(
                steps=[self._step(step, ("steps", index)) for index, step in enumerate(doc["steps"])],
                on_failure=_enum(pb.OnFailure, "ON_FAILURE_", doc.get("on_failure")),
            ),
            output=_json(doc, "output"),
            output_schema=_json(doc, "output_schema"),
            queries=[
                pb.QueryDefinition(name=one["name"], expression=one["expression"], schema=_json(one, "schema"))
                for one in doc.get("queries", ())
            ],
            signals=[
                pb.SignalDefinition(name=one["name"], schema=_json(one, "schema")) for one in doc.get("signals", ())
            ],
            timeout=self._duration(doc, "timeout", ()),
            attributes={name: JsonValue(json=canonical(value)) for name, value in doc.get("attributes", {}).items()},
            retention=self._duration(doc, "retention", ()),
        )

    def _step(self, doc: _Doc, path: Ref) -> pb.Step:
        return pb.Step(
            name=doc["name"],
            summary=doc.get("summary", ""),
            after=[
                pb.Edge(step=edge["step"], on=_enum(pb.EdgeOn, "EDGE_ON_", edge.get("on")), when=edge.get("when", ""))
                for edge in doc.get("after", ())
            ],
            join=_made(doc, "join", _join),
            cleanup=doc.get("cleanup", False),
            input=_json(doc, "input"),
            input_schema=_json(doc, "input_schema"),
            output_schema=_json(doc, "output_schema"),
            retry=_made(doc, "retry", lambda retry: self._retry(retry, (*path, "retry"))),
            timeouts=_made(doc, "timeouts", lambda timeouts: self._timeouts(timeouts, (*path, "timeouts"))),
            on_error=[
                self._error_rule(rule, (*path, "on_error", index)) for index, rule in enumerate(doc.get("on_error", ()))
            ],
            task=_made(doc, "task", lambda task: pb.TaskStep(handler=task["handler"], queue=task.get("queue", ""))),
            gate=_made(doc, "gate", lambda gate: self._gate(gate, (*path, "gate"))),
            wait=_made(doc, "wait", lambda wait: self._wait(wait, (*path, "wait"))),
            sleep=_made(doc, "sleep", lambda sleep: self._sleep(sleep, (*path, "sleep"))),
            compute=_made(doc, "compute", lambda _: pb.ComputeStep()),
        )

    def _retry(self, doc: _Doc, path: Ref) -> pb.Retry:
        return pb.Retry(
            max_attempts=doc.get("max_attempts", 0),
            initial_interval=self._duration(doc, "initial_interval", path),
            backoff=doc.get("backoff", 0),
            max_interval=self._duration(doc, "max_interval", path),
            jitter=doc.get("jitter"),
            non_retryable=doc.get("non_retryable", ()),
        )

    def _timeouts(self, doc: _Doc, path: Ref) -> pb.Timeouts:
        return pb.Timeouts(
            schedule_to_start=self._duration(doc, "schedule_to_start", path),
            start_to_close=self._duration(doc, "start_to_close", path),
            schedule_to_close=self._duration(doc, "schedule_to_close", path),
            heartbeat=self._duration(doc, "heartbeat", path),
        )

    def _error_rule(self, doc: _Doc, path: Ref) -> pb.ErrorRule:
        return pb.ErrorRule(
            match=doc["match"],
            fallback=_made(doc, "fallback", lambda one: self._fallback(one, (*path, "fallback"))),
            value=_json(doc, "value"),
            review=_made(doc, "review", lambda one: self._review(one, (*path, "review"))),
            fail=_made(doc, "fail", lambda _: pb.FailAction()),
        )

    def _fallback(self, doc: _Doc, path: Ref) -> pb.FallbackAction:
        return pb.FallbackAction(
            handler=doc["handler"],
            queue=doc.get("queue", ""),
            retry=_made(doc, "retry", lambda retry: self._retry(retry, (*path, "retry"))),
        )

    def _review(self, doc: _Doc, path: Ref) -> pb.ReviewAction:
        return pb.ReviewAction(
            title=doc.get("title", ""),
            body=doc.get("body", ""),
            approvers=_made(doc, "approvers", _approvers),
            deadline=self._duration(doc, "deadline", path),
        )

    def _gate(self, doc: _Doc, path: Ref) -> pb.GateStep:
        return pb.GateStep(
            title=doc["title"],
            body=doc.get("body", ""),
            action=_made(doc, "action", _action),
            decisions=[_enum(pb.Decision, "DECISION_", one) for one in doc.get("decisions", ())],
            response_schema=_json(doc, "response_schema"),
            approvers=_made(doc, "approvers", _approvers),
            quorum=doc.get("quorum", 0),
            veto=doc.get("veto"),
            deadline=self._duration(doc, "deadline", path),
            on_deadline=_enum(pb.OnDeadline, "ON_DEADLINE_", doc.get("on_deadline")),
            escalation=_made(
                doc,
                "escalation",
                lambda one: pb.Escalation(
                    approvers=_approvers(one["approvers"]),
                    deadline=self._duration(one, "deadline", (*path, "escalation")),
                ),
            ),
            fail_on_reject=doc.get("fail_on_reject", False),
        )

    def _wait(self, doc: _Doc, path: Ref) -> pb.WaitStep:
        return pb.WaitStep(signal=doc["signal"], when=doc.get("when", ""), timeout=self._duration(doc, "timeout", path))

    def _sleep(self, doc: _Doc, path: Ref) -> pb.SleepStep:
        if "until" in doc:
            return pb.SleepStep(expression=doc["until"])
        return pb.SleepStep(duration=self._duration(doc, "for", path))

    def _duration(self, doc: _Doc, name: str, path: Ref) -> Duration | None:
        text = doc.get(name)
        if text is None:
            return None
        try:
            micros = parse_duration_us(text)
        except DurationError as error:
            self._faults.add((*path, name), str(error))
            return Duration(seconds=1)  # so that nothing seems to be missing
        return Duration(seconds=micros // MICROS, nanos=micros % MICROS * 1_000)


def _made(doc: _Doc, name: str, make: Callable[[_Doc], _T]) -> _T | None:
    return make(doc[name]) if name in doc else None


def _json(doc: _Doc, name: str) -> JsonValue | None:
    return JsonValue(json=canonical(doc[name])) if name in doc else None


def _enum(kind: Any, prefix: str, name: str | None) -> Any:
    """The number of an enum value written without its prefix; 0, unspecified, if it is absent."""
    return 0 if name is None else kind.Value(f"{prefix}{name}")


def _join(doc: _Doc) -> pb.Join:
    return pb.Join(
        mode=_enum(pb.JoinMode, "JOIN_MODE_", doc["mode"]),
        count=doc.get("count", 0),
        cancel_others=doc.get("cancel_others", False),
    )


def _approvers(doc: _Doc) -> pb.Approvers:
    return pb.Approvers(
        principals=doc.get("principals", ()),
        roles=doc.get("roles", ()),
        exclude_starter=doc.get("exclude_starter", False),
    )


def _action(doc: _Doc) -> pb.GateAction:
    return pb.GateAction(
        name=doc["name"],
        args=_json(doc, "args"),
        args_schema=_json(doc, "args_schema"),
        risk=_enum(pb.Risk, "RISK_", doc.get("risk")),
    )
