"""Templates evaluated for a step, with every way that can go wrong turned into the step's failure."""

import orjson

from holdfast.v1.failure_pb2 import Failure
from holdfast.v1.payload_pb2 import Payload
from holdfast_server.engine import failures
from holdfast_server.engine.expressions import ExpressionError, Template
from holdfast_server.engine.payloads import OpaquePayloadError, payload_size
from holdfast_server.engine.plan import StepPlan
from holdfast_server.engine.schemas import Schema
from holdfast_server.engine.state import Scope
from holdfast_server.engine.turn import Turn

__all__ = ["StepFault", "check_size", "expression_fault", "misfit", "render", "render_input", "render_text"]


class StepFault(Exception):
    """What was evaluated for a step is the reason it fails.

    Attributes:
        failure: the failure of the step.
    """

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


def expression_fault(error: ExpressionError | OpaquePayloadError, what: str) -> StepFault:
    """The fault for an expression that could not be evaluated; expression, position and value are its details."""
    if isinstance(error, OpaquePayloadError):
        return StepFault(failures.failure(failures.EXPRESSION_ERROR, f"{what}: {error}"))
    shown = "" if error.value is None else f", found {error.value}"
    facts = {"expression": error.expression, "position": error.position, "value": error.value}
    details = Payload(data=orjson.dumps({name: fact for name, fact in facts.items() if fact is not None}))
    return StepFault(failures.failure(failures.EXPRESSION_ERROR, f"{what}: {error}{shown}", details=details))


def check_size(turn: Turn, payload: Payload | None, what: str) -> None:
    """Refuses payloads above the limit.

    Raises:
        StepFault: PayloadTooLarge.
    """
    limit = turn.settings.payload_bytes
    if payload is None or payload_size(payload) <= limit:
        return
    message = f"{what} has {payload_size(payload)} bytes; the limit payload_bytes is {limit}"
    raise StepFault(failures.failure(failures.PAYLOAD_TOO_LARGE, message))


def misfit(turn: Turn, schema: Schema, payload: Payload | None) -> str:
    """How a payload does not fit a schema; empty if it fits. One that cannot be read does not fit."""
    try:
        faults = schema.check(turn.bag.decode(payload), 0 if payload is None else payload_size(payload))
    except OpaquePayloadError as error:
        return str(error)
    return "; ".join(f"{fault.path or '(root)'}: {fault.message}" for fault in faults)


def render(turn: Turn, scope: Scope, template: Template, what: str) -> Payload | None:
    """The payload a template gives; None for null.

    Raises:
        StepFault: ExpressionError or PayloadTooLarge.
    """
    try:
        payload = template.render(turn.names(scope))
    except (ExpressionError, OpaquePayloadError) as error:
        raise expression_fault(error, what) from error
    check_size(turn, payload, what)
    return None if payload is None else turn.bag.intern(payload)


def render_text(turn: Turn, scope: Scope, template: Template, what: str) -> str:
    """The text a template gives.

    Raises:
        StepFault: ExpressionError.
    """
    try:
        return template.text(turn.names(scope))
    except (ExpressionError, OpaquePayloadError) as error:
        raise expression_fault(error, what) from error


def render_input(turn: Turn, scope: Scope, step: StepPlan) -> Payload | None:
    """The input of a step, checked against its schema.

    Raises:
        StepFault: ExpressionError, PayloadTooLarge or SchemaViolation.
    """
    payload = None if step.input is None else render(turn, scope, step.input, f"the input of step {step.name!r}")
    if step.input_schema is not None:
        listed = misfit(turn, step.input_schema, payload)
        if listed:
            message = f"the input of step {step.name!r} does not fit its schema: {listed}"
            raise StepFault(failures.failure(failures.SCHEMA_VIOLATION, message))
    return payload
