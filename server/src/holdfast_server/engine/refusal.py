"""How the engine says no: a typed refusal, raised before any event is made."""

from collections.abc import Mapping
from typing import Self

from holdfast.v1.errors_pb2 import ErrorReason

__all__ = ["Refused", "field_path", "limit_exceeded"]


def field_path(field: str, path: str) -> str:
    """Where a fault is: `path` within `field` of a request, such as `payload.items[0]`."""
    return f"{field}.{path}" if path and not path.startswith("[") else field + path


class Refused(Exception):
    """A request that is not carried out.

    Attributes:
        reason: one of the published reasons.
        metadata: facts for programs, for example `limit`, `value`, `actual`.
        violations: (field, description) of each faulty field.
    """

    def __init__(
        self,
        reason: ErrorReason.ValueType,
        message: str,
        metadata: Mapping[str, str] | None = None,
        violations: tuple[tuple[str, str], ...] = (),
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.metadata = dict(metadata or {})
        self.violations = violations

    def kept(self) -> Self:
        """This refusal without its traceback, for whoever keeps it.

        A traceback refers to frames and they to what they hold: the refusal itself, and large decoded values. Only the
        collector of cycles would free them, and that runs seldom.
        """
        return self.with_traceback(None)


def limit_exceeded(what: str, limit: str, value: int, actual: int, field: str = "") -> Refused:
    """LIMIT_EXCEEDED: `what` has `actual`, more than a limit of that name allows; `field` is the faulty one, if any."""
    said = f"has {actual}; the limit {limit} is {value}"
    facts = {"limit": limit, "value": str(value), "actual": str(actual)}
    if field:
        facts["field"] = field
    violations = ((field, said),) if field else ()
    return Refused(ErrorReason.ERROR_REASON_LIMIT_EXCEEDED, f"{what} {said}", facts, violations)
