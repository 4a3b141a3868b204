"""Conditions, expressions and templates: compiled once at registration, evaluated by the engine without I/O or clock.

A plain reference (`steps.a.output.items[0].name`) is walked by our own code, null-safe, without CEL and without
decoding what it passes through. Everything else is CEL, which sees only the paths it names.
"""

from holdfast_server.engine.cel import Program, compile_program
from holdfast_server.engine.json_values import shown
from holdfast_server.engine.names import (
    NOT_A_PAYLOAD,
    ROOTS,
    ExpressionError,
    Names,
    NotAPayload,
    Ref,
    head_of,
    parse_reference,
)
from holdfast_server.engine.number_types import NumberTypes
from holdfast_server.engine.payloads import OpaquePayloadError
from holdfast_server.engine.templates import UNTYPED, Template, compile_template, deep_heads

__all__ = [
    "NOT_A_PAYLOAD",
    "ROOTS",
    "Condition",
    "Expression",
    "ExpressionError",
    "Names",
    "NotAPayload",
    "Ref",
    "Template",
    "compile_condition",
    "compile_expression",
    "compile_template",
    "deep_heads",
    "head_of",
]


class Condition:
    """A CEL condition.

    Attributes:
        text: as written.
        refs: the paths it names.
    """

    __slots__ = ("_program", "_ref", "refs", "text")

    def __init__(self, text: str, ref: Ref | None, program: Program | None) -> None:
        self.text = text
        self.refs: tuple[Ref, ...] = (ref,) if ref is not None else program.refs if program is not None else ()
        self._ref = ref
        self._program = program

    def holds(self, names: Names) -> bool:
        """Whether it is true.

        Raises:
            ExpressionError: it cannot be evaluated or is neither true nor false.
        """
        try:
            if self._program is not None:
                return self._program.truth(names)
            value = names.lookup(self._ref or ())
        except OpaquePayloadError as error:
            raise ExpressionError(self.text, str(error)) from error
        if value is True or value is False:
            return value
        raise ExpressionError(self.text, "a condition must be true or false, this is not", value=shown(value))


class Expression:
    """A CEL expression of any type.

    Attributes:
        text: as written.
        refs: the paths it names.
    """

    __slots__ = ("_program", "_ref", "refs", "text")

    def __init__(self, text: str, ref: Ref | None, program: Program | None) -> None:
        self.text = text
        self.refs: tuple[Ref, ...] = (ref,) if ref is not None else program.refs if program is not None else ()
        self._ref = ref
        self._program = program

    def value(self, names: Names) -> object:
        """Its JSON value. Treat it as immutable: it may be shared.

        Raises:
            ExpressionError: it cannot be evaluated.
        """
        try:
            if self._program is not None:
                return self._program.value(names)
            return names.lookup(self._ref or ())
        except OpaquePayloadError as error:
            raise ExpressionError(self.text, str(error)) from error


def compile_condition(text: str, numbers: NumberTypes = UNTYPED) -> Condition:
    """Compile a condition (`when`).

    Args:
        text: the expression.
        numbers: how schemas type numbers, by head.

    Raises:
        ExpressionError: it is no valid condition.
    """
    return Condition(text, *_parts(text, numbers, condition=True))


def compile_expression(text: str, numbers: NumberTypes = UNTYPED) -> Expression:
    """Compile an expression of a query.

    Args:
        text: the expression.
        numbers: how schemas type numbers, by head.

    Raises:
        ExpressionError: it is no valid expression.
    """
    return Expression(text, *_parts(text, numbers, condition=False))


def _parts(text: str, numbers: NumberTypes, *, condition: bool) -> tuple[Ref | None, Program | None]:
    ref = parse_reference(text)
    if ref is not None and ref[0] in ROOTS:
        return ref, None
    # An unknown first name is CEL's to report, with its position.
    return None, compile_program(text, numbers, condition=condition)
