"""What compiling the parts of a definition has in common: expressions and schemas become compiled, faults are noted."""

from collections import defaultdict
from dataclasses import dataclass, field

from google.protobuf.duration_pb2 import Duration

from holdfast.v1.payload_pb2 import JsonValue
from holdfast_server.engine.expressions import (
    Condition,
    Expression,
    ExpressionError,
    Template,
    compile_condition,
    compile_expression,
    compile_template,
    deep_heads,
)
from holdfast_server.engine.faults import Faults
from holdfast_server.engine.json_values import decode_exact
from holdfast_server.engine.names import Ref
from holdfast_server.engine.number_types import NumberType, NumberTypes
from holdfast_server.engine.schemas import Schema, SchemaFaultError, compile_schema
from holdfast_server.engine.scopes import Scope, check_refs
from holdfast_server.engine.times import duration_us

__all__ = ["CompileContext"]


@dataclass(slots=True)
class CompileContext:
    """Collects what is wrong and what is looked into while a definition is compiled."""

    faults: Faults = field(default_factory=Faults)
    numbers: dict[Ref, NumberType] = field(default_factory=dict)
    """Typed numbers, by head; filled before expressions are compiled."""
    heads: defaultdict[int, dict[tuple[str, ...], None]] = field(default_factory=lambda: defaultdict(dict))
    """By step, or `RUN`: heads of the payloads that its expressions look into."""
    readers: tuple[int, ...] = ()
    """Whose expressions are compiled now."""

    def condition(self, text: str, scope: Scope, path: Ref, numbers: NumberTypes | None = None) -> Condition | None:
        """A compiled condition; None if the text is empty or faulty."""
        if not text:
            return None
        try:
            compiled = compile_condition(text, self.numbers if numbers is None else numbers)
        except ExpressionError as error:
            self.expression_fault(error, path)
            return None
        check_refs(compiled.refs, scope, path, self.faults)
        self._look_into(deep_heads(compiled.refs))
        return compiled

    def expression(self, text: str, scope: Scope, path: Ref) -> Expression | None:
        """A compiled query; None if it is faulty. What it looks into is loaded when it is asked."""
        try:
            compiled = compile_expression(text, self.numbers)
        except ExpressionError as error:
            self.expression_fault(error, path)
            return None
        check_refs(compiled.refs, scope, path, self.faults)
        return compiled

    def template(self, value: object, scope: Scope, path: Ref, *, opened: bool = False) -> Template | None:
        """A compiled template; None if it is faulty.

        Args:
            value: the JSON value.
            scope: what it may name.
            path: where it stands.
            opened: whether its result is looked at, by a schema or to write it as text, even if it is passed through.
        """
        try:
            compiled = compile_template(value, self.numbers)
        except ExpressionError as error:
            self.expression_fault(error, path)
            return None
        check_refs(compiled.refs, scope, path, self.faults)
        self._look_into(deep_heads(compiled.refs) if opened else compiled.deep_refs)
        return compiled

    def json_template(self, value: JsonValue, scope: Scope, path: Ref, *, opened: bool = False) -> Template | None:
        """A compiled template of free JSON; None if it is faulty."""
        try:
            decoded = decode_exact(value.json)
        except ValueError as error:
            self.faults.add(path, f"it is no JSON: {error}")
            return None
        return self.template(decoded, scope, path, opened=opened)

    def schema(self, value: JsonValue, path: Ref) -> Schema | None:
        """A compiled schema; None if it is faulty."""
        try:
            return compile_schema(value.json)
        except SchemaFaultError as error:
            where = f" at `{error.path}`" if error.path else ""
            self.faults.add(path, f"this is no usable JSON Schema{where}: {error.message}")
            return None

    def expression_fault(self, error: ExpressionError, path: Ref) -> None:
        """Note an expression that does not compile."""
        where = "" if error.position is None else f" at character {error.position + 1}"
        self.faults.add(path, f"{error.reason}{where} of `{error.expression[:200]}`")

    def duration_us(self, value: Duration, path: Ref, *, zero: bool = False) -> int:
        """A duration in microseconds; a fault if it is negative, or zero and may not be."""
        length_us = duration_us(value)
        if length_us < 0 or (length_us == 0 and not zero):
            self.faults.add(path, "a duration must be longer than 0" if not zero else "a duration cannot be negative")
        return length_us

    def _look_into(self, heads: tuple[tuple[str, ...], ...]) -> None:
        for reader in self.readers:
            self.heads[reader].update(dict.fromkeys(heads))
