"""Whether what a caller sends fits a schema; if not, the request is refused with every fault and its place."""

from collections.abc import Mapping

from holdfast.v1.errors_pb2 import ErrorReason
from holdfast.v1.payload_pb2 import Payload
from holdfast_server.engine.payloads import OpaquePayloadError, PayloadBag, payload_size
from holdfast_server.engine.refusal import Refused, field_path
from holdfast_server.engine.schemas import Schema

__all__ = ["check_schema"]


def check_schema(
    schema: Schema,
    payload: Payload | None,
    bag: PayloadBag,
    reason: ErrorReason.ValueType,
    field: str,
    facts: Mapping[str, str],
) -> None:
    """Refuses a payload that does not fit, or cannot be read.

    Raises:
        Refused: with `reason` and `facts`; the violations are places within `field`.
    """
    try:
        faults = schema.check(bag.decode(payload), 0 if payload is None else payload_size(payload))
    except OpaquePayloadError as error:
        raise Refused(reason, f"{field}: {error}", facts, ((field, str(error)),)) from error
    if faults:
        listed = tuple((field_path(field, fault.path), fault.message) for fault in faults)
        message = f"{field} does not fit its schema: {listed[0][0]}: {listed[0][1]}"
        raise Refused(reason, message, facts, listed)
