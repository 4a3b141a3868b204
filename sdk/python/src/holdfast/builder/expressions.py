"""Expressions as objects: Python operators on what steps produce, rendered to CEL.

`draft.output.pages > 3` is not compared now but becomes the condition `steps.draft.output.pages > 3`, which the server
evaluates when the run is there. In an f-string an expression becomes a template: `f"Publish {draft.output.title}?"`.
"""

import dataclasses
import json
import math
import re
import types
import typing
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from enum import Enum
from typing import Any

from pydantic import BaseModel

from holdfast.errors import DefinitionError

__all__ = [
    "Expression",
    "Reference",
    "all_of",
    "any_of",
    "cel",
    "contains",
    "ends_with",
    "has",
    "is_in",
    "literal",
    "matches",
    "payload",
    "raw",
    "size",
    "starts_with",
    "template",
]

_INT64_MAX = 2**63 - 1
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# CEL refuses these as names of fields; they are written as keys.
_RESERVED = frozenset(
    {
        *("as", "break", "const", "continue", "else", "false", "for", "function", "if", "import", "in", "let", "loop"),
        *("namespace", "null", "package", "return", "true", "var", "void", "while"),
    }
)
_ATOM = 9  # binds tighter than every operator
_UNARY, _PRODUCT, _SUM, _RELATION, _AND, _OR = 8, 7, 6, 5, 4, 3


class Expression:
    """A CEL expression. Combine it by operators; `&`, `|` and `~` stand for and, or, not.

    It has no public attributes of its own, so that on a `Reference` every name is a field; `cel` gives its text.
    """

    __hash__ = object.__hash__
    __iter__ = None

    def __init__(self, text: str, binding: int, steps: frozenset[str] = frozenset()) -> None:
        self._text = text
        self._binding = binding
        self._steps = steps

    def __str__(self) -> str:
        return f"${{{self._text}}}"

    def __format__(self, spec: str) -> str:
        if spec:
            raise DefinitionError(f"the server writes {self._text}; it knows no format {spec!r}")
        return str(self)

    def __repr__(self) -> str:
        return f"<{self._text}>"

    def __bool__(self) -> bool:
        raise DefinitionError(
            f"the value of {self._text} is known only while a run goes on; use &, | and ~ for and, or and not, "
            "and an edge with `when` for if"
        )

    def __contains__(self, item: object) -> bool:
        raise DefinitionError("`in` cannot be rendered; write is_in(item, container)")

    def __eq__(self, other: object) -> "Expression":  # type: ignore[override]
        return _binary(self, "==", other, _RELATION)

    def __ne__(self, other: object) -> "Expression":  # type: ignore[override]
        return _binary(self, "!=", other, _RELATION)

    def __lt__(self, other: object) -> "Expression":
        return _binary(self, "<", other, _RELATION)

    def __le__(self, other: object) -> "Expression":
        return _binary(self, "<=", other, _RELATION)

    def __gt__(self, other: object) -> "Expression":
        return _binary(self, ">", other, _RELATION)

    def __ge__(self, other: object) -> "Expression":
        return _binary(self, ">=", other, _RELATION)

    def __and__(self, other: object) -> "Expression":
        return _binary(self, "&&", other, _AND)

    def __or__(self, other: object) -> "Expression":
        return _binary(self, "||", other, _OR)

    def __invert__(self) -> "Expression":
        return Expression(f"!{_inside(self, _UNARY)}", _UNARY, self._steps)

    def __neg__(self) -> "Expression":
        return Expression(f"-{_inside(self, _UNARY)}", _UNARY, self._steps)

    def __add__(self, other: object) -> "Expression":
        return _binary(self, "+", other, _SUM)

    def __radd__(self, other: object) -> "Expression":
        return _binary(other, "+", self, _SUM)

    def __sub__(self, other: object) -> "Expression":
        return _binary(self, "-", other, _SUM)

    def __rsub__(self, other: object) -> "Expression":
        return _binary(other, "-", self, _SUM)

    def __mul__(self, other: object) -> "Expression":
        return _binary(self, "*", other, _PRODUCT)

    def __rmul__(self, other: object) -> "Expression":
        return _binary(other, "*", self, _PRODUCT)

    def __truediv__(self, other: object) -> "Expression":
        return _binary(self, "/", other, _PRODUCT)

    def __mod__(self, other: object) -> "Expression":
        return _binary(self, "%", other, _PRODUCT)


class Reference(Expression):
    """A place in a run's data, for example a step's output; attributes and items lead deeper into it.

    Where the type is known (a pydantic model, a dataclass, a TypedDict), a field it does not have is refused at once.
    """

    def __init__(self, text: str, steps: frozenset[str] = frozenset(), type_: Any = Any) -> None:
        super().__init__(text, _ATOM, steps)
        self._type = type_

    def __getattr__(self, name: str) -> "Reference":
        if name.startswith("__"):  # asked by Python itself, for example when copying
            raise AttributeError(name)
        return self[name]

    def __getitem__(self, key: str | int) -> "Reference":
        if isinstance(key, bool) or not isinstance(key, (str, int)):
            raise DefinitionError(f"{self._text}[…] takes a field's name or a number, not {key!r}")
        if isinstance(key, int):
            return Reference(f"{self._text}[{key}]", self._steps, _item_type(self._type))
        name, type_ = _field(self._type, key, self._text)
        is_plain = _IDENTIFIER.fullmatch(name) and name not in _RESERVED
        step = f".{name}" if is_plain else f"[{json.dumps(name, ensure_ascii=False)}]"
        return Reference(f"{self._text}{step}", self._steps, type_)


payload = Reference("payload")
"""The payload of a signal, in the `when` of a wait."""


def raw(text: str) -> Expression:
    """Return CEL written by hand as an expression."""
    return Expression(text, 0)


def has(reference: Reference) -> Expression:
    """Return whether the value is there: `has(step.output.title)`."""
    return Expression(f"has({cel(reference)})", _ATOM, reference._steps)  # noqa: SLF001 - its own kind


def size(value: object) -> Expression:
    """Return the number of items, or of characters."""
    return _call("size", value)


def contains(text: object, part: object) -> Expression:
    """Return whether a text contains another."""
    return _method(text, "contains", part)


def starts_with(text: object, start: object) -> Expression:
    """Return whether a text starts with another."""
    return _method(text, "startsWith", start)


def ends_with(text: object, end: object) -> Expression:
    """Return whether a text ends with another."""
    return _method(text, "endsWith", end)


def matches(text: object, pattern: object) -> Expression:
    """Return whether an RE2 pattern is found in a text."""
    return _method(text, "matches", pattern)


def is_in(item: object, container: object) -> Expression:
    """Return whether an item is in a list, or a key in an object."""
    return _binary(item, "in", container, _RELATION)


def all_of(*conditions: object) -> Expression:
    """Return whether all conditions hold."""
    return _joined("&&", conditions, _AND)


def any_of(*conditions: object) -> Expression:
    """Return whether at least one condition holds."""
    return _joined("||", conditions, _OR)


def literal(text: str) -> str:
    """Return text in which `${` stands for itself where a template is expected."""
    return text.replace("${", "$${")


def cel(value: object) -> str:
    """Return the CEL text of an expression or a plain value.

    Raises:
        DefinitionError: The value has no CEL form.
    """
    if isinstance(value, Expression):
        return value._text  # noqa: SLF001 - its own kind
    if isinstance(value, Enum):
        return cel(value.value)
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, (int, float)):
        return _number(value)
    if isinstance(value, timedelta):
        return f'duration("{value.total_seconds():.6f}s")'
    if isinstance(value, datetime):
        return f'timestamp("{_aware(value).isoformat()}")'
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{cel(key)}: {cel(item)}" for key, item in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(cel, value)) + "]"
    raise DefinitionError(f"{type(value).__qualname__} has no form in an expression")


def template(value: object) -> Any:
    """Return plain JSON in which expressions are `${…}`, from anything made of JSON values, models and expressions.

    Raises:
        DefinitionError: Something in it has no JSON form.
    """
    if isinstance(value, Expression):
        return str(value)
    if isinstance(value, Enum):
        return template(value.value)
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise DefinitionError(f"{value} has no JSON form")
        return value
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", by_alias=True)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: template(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {_key(key): template(item) for key, item in value.items()}
    if isinstance(value, (Sequence, set, frozenset)) and not isinstance(value, (bytes, bytearray)):
        return [template(item) for item in value]
    raise DefinitionError(f"{type(value).__qualname__} has no JSON form in a definition")


def steps_in(value: object) -> frozenset[str]:
    """Return the names of the steps that the expressions in a value name; text written by hand is not looked into."""
    if isinstance(value, Expression):
        return value._steps  # noqa: SLF001 - its own kind
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return steps_in([getattr(value, field.name) for field in dataclasses.fields(value)])
    if isinstance(value, Mapping):
        return steps_in(list(value.values()))
    if isinstance(value, (list, tuple, set, frozenset)):
        return frozenset().union(*map(steps_in, value))
    return frozenset()


def _binary(left: object, operator: str, right: object, binding: int) -> Expression:
    # Of two operators of the same rank the left one binds first, so the right side needs brackets then; a comparison of
    # comparisons is written with both, for people.
    left_binding = binding + 1 if binding == _RELATION else binding
    text = f"{_inside(left, left_binding)} {operator} {_inside(right, binding + 1)}"
    return Expression(text, binding, steps_in([left, right]))


def _joined(operator: str, conditions: tuple[object, ...], binding: int) -> Expression:
    if not conditions:
        raise DefinitionError("no condition is given")
    text = f" {operator} ".join(_inside(condition, binding) for condition in conditions)
    return Expression(text, binding, steps_in(conditions))


def _call(function: str, *arguments: object) -> Expression:
    return Expression(f"{function}({', '.join(map(cel, arguments))})", _ATOM, steps_in(arguments))


def _method(target: object, method: str, argument: object) -> Expression:
    return Expression(f"{_inside(target, _ATOM)}.{method}({cel(argument)})", _ATOM, steps_in([target, argument]))


def _inside(value: object, binding: int) -> str:
    """Return the text of an operand, in brackets where it binds less than its operator."""
    text = cel(value)
    own = value._binding if isinstance(value, Expression) else _ATOM  # noqa: SLF001 - its own kind
    return text if own >= binding and not text.startswith("-") else f"({text})"


def _number(value: float) -> str:
    if isinstance(value, int):
        if not -_INT64_MAX - 1 <= value <= _INT64_MAX:
            raise DefinitionError(f"{value} does not fit into 64 bits")
        return str(value)
    if not math.isfinite(value):
        raise DefinitionError(f"{value} has no form in an expression")
    return repr(value)


def _aware(time: datetime) -> datetime:
    if time.tzinfo is None:
        raise DefinitionError(f"{time.isoformat()} has no time zone")
    return time


def _key(key: object) -> str:
    if not isinstance(key, str):
        raise DefinitionError(f"{key!r} is no key of a JSON object")
    return key


def _field(type_: Any, name: str, where: str) -> tuple[str, Any]:
    """Return how a field is called on the wire, and its type."""
    type_ = _bare(type_)
    if isinstance(type_, type) and issubclass(type_, BaseModel):
        for own, field in type_.model_fields.items():
            wire = field.serialization_alias or field.alias or own
            if name in (own, wire):
                return wire, field.annotation
        computed = type_.model_computed_fields
        if name in computed:
            return computed[name].alias or name, computed[name].return_type
        fields = [*type_.model_fields, *computed]
        is_open = type_.model_config.get("extra") == "allow"
    elif isinstance(type_, type) and (dataclasses.is_dataclass(type_) or typing.is_typeddict(type_)):
        hints = typing.get_type_hints(type_)
        if name in hints:
            return name, hints[name]
        fields, is_open = list(hints), False
    else:
        origin = typing.get_origin(type_)
        is_mapping = isinstance(origin, type) and issubclass(origin, Mapping)
        return name, typing.get_args(type_)[1] if is_mapping and len(typing.get_args(type_)) > 1 else Any
    if is_open:
        return name, Any
    raise DefinitionError(f"{where} ({type_.__qualname__}) has no field {name!r}; it has {', '.join(fields)}")


def _item_type(type_: Any) -> Any:
    type_ = _bare(type_)
    arguments = typing.get_args(type_)
    return arguments[0] if typing.get_origin(type_) in (list, Sequence) and arguments else Any


def _bare(type_: Any) -> Any:
    """Return a type without `Annotated` and without `None`; `Any` where several are possible."""
    if typing.get_origin(type_) is typing.Annotated:
        return _bare(typing.get_args(type_)[0])
    if typing.get_origin(type_) in (typing.Union, types.UnionType):
        others = [one for one in typing.get_args(type_) if one is not types.NoneType]
        return _bare(others[0]) if len(others) == 1 else Any
    return type_
