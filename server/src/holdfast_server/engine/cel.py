"""CEL behind one door: two environments, compiled programs, and the step from their results back to JSON.

Bounds are of size, depth and count, never of time, so that a result does not depend on the machine's speed:
the text of an expression, the values it sees, and how far macros can multiply them.
"""

import base64
import math
import re
from datetime import datetime, timedelta
from functools import cache
from typing import Any, Final

from cel_expr_python import cel

from holdfast_server.engine.cel_ast import Anatomy, anatomy
from holdfast_server.engine.cel_context import Context
from holdfast_server.engine.cel_mixed import allow_mixed
from holdfast_server.engine.cel_work import ITERATIONS_MAX
from holdfast_server.engine.json_values import JSON_DEPTH_MAX, shown
from holdfast_server.engine.names import ROOTS, ExpressionError, Names
from holdfast_server.engine.number_types import NumberTypes

__all__ = ["EXPRESSION_BYTES_MAX", "Program", "compile_program"]

EXPRESSION_BYTES_MAX: Final = 4 * 1024
"""Longest expression, in bytes of UTF-8."""
EXPANSION_MAX: Final = 10_000
"""Largest product of how often nested and chained macros repeat their variable."""
WORK_CHARS_MAX: Final = 64 * 1024 * 1024
"""Largest size, in characters, that `+` inside macros could build up in one evaluation."""
RESULT_VALUES_MAX: Final = 100_000
"""Most values in one result."""
RESULT_CHARS_MAX: Final = 4 * 1024 * 1024
"""Most characters of text in one result."""
INT64_MAX: Final = 2**63 - 1

_SIGNATURES: Final[dict[str, tuple[tuple[str, str, str, str], ...]]] = {
    # function: (overload id, left, right, result). The ids of CEL's own overloads keep CEL's implementation; `_mixed_`
    # ones let the checker pass what only rewriting makes work (`cel_mixed`).
    "_+_": (
        ("add_int64", "int", "int", "int"),
        ("add_uint64", "uint", "uint", "uint"),
        ("add_double", "double", "double", "double"),
        ("add_duration_duration", "duration", "duration", "duration"),
        ("add_duration_timestamp", "duration", "timestamp", "timestamp"),
        ("add_timestamp_duration", "timestamp", "duration", "timestamp"),
        ("add_mixed_int_double", "int", "double", "double"),
        ("add_mixed_double_int", "double", "int", "double"),
    ),
    "_-_": (
        ("subtract_int64", "int", "int", "int"),
        ("subtract_uint64", "uint", "uint", "uint"),
        ("subtract_double", "double", "double", "double"),
        ("subtract_duration_duration", "duration", "duration", "duration"),
        ("subtract_timestamp_duration", "timestamp", "duration", "timestamp"),
        ("subtract_timestamp_timestamp", "timestamp", "timestamp", "duration"),
        ("subtract_mixed_int_double", "int", "double", "double"),
        ("subtract_mixed_double_int", "double", "int", "double"),
    ),
    "_*_": (
        ("multiply_int64", "int", "int", "int"),
        ("multiply_uint64", "uint", "uint", "uint"),
        ("multiply_double", "double", "double", "double"),
        ("multiply_mixed_int_double", "int", "double", "double"),
        ("multiply_mixed_double_int", "double", "int", "double"),
    ),
    "_/_": (
        ("divide_int64", "int", "int", "int"),
        ("divide_uint64", "uint", "uint", "uint"),
        ("divide_double", "double", "double", "double"),
        ("divide_mixed_int_double", "int", "double", "double"),
        ("divide_mixed_double_int", "double", "int", "double"),
    ),
}
_JOINING: Final = (
    ("add_string", "string", "string", "string"),
    ("add_bytes", "bytes", "bytes", "bytes"),
    ("add_list", "list", "list", "list"),
)


def _type_yaml(name: str) -> str:
    if name == "list":
        return "{type_name: list, params: [{type_name: A, is_type_param: true}]}"
    return f"{{type_name: {name}}}"


def _config(*, condition: bool) -> str:
    lines = ["stdlib:"]
    if condition:
        lines.append("  exclude_macros: [map, filter]")
    lines.append("  exclude_functions:")
    lines += [f"    - name: {function}" for function in _SIGNATURES]
    lines += ["extensions:", "  - name: optional", "variables:"]
    lines += [f"  - {{name: {root}, type_name: dyn}}" for root in ROOTS]
    lines.append("functions:")
    for function, overloads in _SIGNATURES.items():
        lines += [f"  - name: {function}", "    overloads:"]
        joining = _JOINING if function == "_+_" and not condition else ()
        for name, left, right, result in (*overloads, *joining):
            lines += [
                f"      - id: {name}",
                f"        args: [{_type_yaml(left)}, {_type_yaml(right)}]",
                f"        return: {_type_yaml(result)}",
            ]
    return "\n".join(lines)


@cache
def _environment(*, condition: bool) -> Any:
    """The environment of conditions, which have no way to collect values or join text, or that of everything else."""
    return cel.NewEnv(config=cel.NewEnvConfigFromYaml(_config(condition=condition)))


class Program:
    """A compiled CEL expression.

    Attributes:
        text: as written.
        refs: the paths it names; the only ones it sees.
    """

    __slots__ = ("_anatomy", "_context", "_environment", "_expression", "_mixed", "refs", "text")

    def __init__(self, text: str, environment: Any, expression: Any, found: Anatomy, numbers: NumberTypes) -> None:
        self.text = text
        self.refs = tuple(found.refs)
        self._environment = environment
        self._expression = expression
        self._mixed: Any = None
        self._anatomy = found
        self._context = Context(text, self.refs, numbers)

    def value(self, names: Names) -> object:
        """Evaluate to a JSON value.

        Raises:
            ExpressionError: it cannot be evaluated, or goes over a limit.
        """
        return _Decoder(self.text).decode(self._evaluate(names))

    def truth(self, names: Names) -> bool:
        """Evaluate to true or false.

        Raises:
            ExpressionError: as for `value`, and if the result is neither.
        """
        result = self._evaluate(names)
        if result.type() == cel.Type.BOOL:
            return bool(result.plain_value())
        value = _Decoder(self.text).decode(result)
        raise ExpressionError(
            self.text, f"a condition must be true or false, this is {_kind(value)}", value=shown(value)
        )

    def _evaluate(self, names: Names) -> Any:
        variables, seen = self._context.build(names)
        found = self._anatomy
        found.looks.check(self.text, variables, seen)
        if found.nesting and (found.joins or found.builds):
            turns = min(ITERATIONS_MAX, max(seen.longest, found.literal_items, 1) ** found.nesting)
            work = (seen.chars + seen.values + EXPRESSION_BYTES_MAX) * found.expansion * (turns if found.joins else 1)
            if work > WORK_CHARS_MAX:
                raise ExpressionError(
                    self.text,
                    f"its macros could build up {work:,} characters, the limit is {WORK_CHARS_MAX:,}; "
                    "name less, or let a step do it",
                )
        try:
            result = self._expression.eval(data=variables)
            if result.type() == cel.Type.ERROR and _MIXED.search(repr(result)):
                # What succeeds without mixed arithmetic gives the same with it, so trying without first is safe.
                result = self._with_mixed().eval(data=variables)
            return result
        except (RuntimeError, ValueError) as error:
            raise ExpressionError(self.text, _runtime_reason(str(error))) from error

    def _with_mixed(self) -> Any:
        if self._mixed is None:
            self._mixed = self._environment.deserialize(allow_mixed(self._expression.serialize()))
        return self._mixed


def compile_program(text: str, numbers: NumberTypes, *, condition: bool) -> Program:
    """Compile a CEL expression.

    Args:
        text: the expression.
        numbers: how numbers are typed, by head.
        condition: whether it must be true or false, and so may not collect values.

    Raises:
        ExpressionError: it is no CEL, names something unknown, or could only fail or overflow.
    """
    size_bytes = len(text.encode(errors="surrogatepass"))
    if size_bytes > EXPRESSION_BYTES_MAX:
        raise ExpressionError(text, f"it is {size_bytes:,} bytes long, the limit is {EXPRESSION_BYTES_MAX:,}")
    expression = _compile(text, text, condition=condition)
    kind = expression.return_type().name()
    if kind.startswith("optional_type"):
        if condition:
            raise ExpressionError(text, "a condition must be true or false, this is an optional; add `.orValue(false)`")
        # A template or query gives null for an optional without a value. The line end keeps a comment from eating it.
        expression = _compile(f"(\n{text}\n).orValue(dyn(null))", text, condition=condition)
    elif condition and kind not in ("BOOL", "DYN"):
        raise ExpressionError(text, f"a condition must be true or false, this is {kind.lower()}")
    try:
        found = anatomy(expression.serialize())
    except ValueError as error:
        raise ExpressionError(text, str(error)) from error
    if condition and found.builds:
        raise ExpressionError(text, "a condition cannot use macros that collect values (`map`, `filter`, `optMap`)")
    if found.expansion > EXPANSION_MAX:
        raise ExpressionError(text, f"its macros can multiply a value more than {EXPANSION_MAX:,} times")
    return Program(text, _environment(condition=condition), expression, found, numbers)


def _compile(source: str, text: str, *, condition: bool) -> Any:
    try:
        return _environment(condition=condition).compile(source)
    except (RuntimeError, ValueError) as error:
        reason, position = _compile_reason(str(error), text, condition=condition)
        raise ExpressionError(text, reason, position) from error


_COMPILE_ERROR: Final = re.compile(r"ERROR: <input>:(-?\d+):(-?\d+): (.*)")
_UNDECLARED: Final = re.compile(r"undeclared reference to '([^']*)'")
_COLLECTING: Final = re.compile(r"undeclared reference to '(map|filter)'")
_NO_OVERLOAD: Final = re.compile(r"found no matching overload for '([^']*)' applied to '(.*)'")
_LIMIT: Final = re.compile(r"[Ee]xpression recursion limit exceeded|max recursion depth")


def _compile_reason(message: str, text: str, *, condition: bool) -> tuple[str, int | None]:
    """What CEL's report of a fault means to an author, and where it is."""
    if _LIMIT.search(message):
        return "it is nested deeper than 32 levels", None
    if "node count exceeded" in message:
        return "its macros expand to more than 100,000 nodes", None
    match = _COMPILE_ERROR.search(message)
    if match is None:
        return message.partition("\n")[0].removesuffix(" [INVALID_ARGUMENT]"), None
    line, column, reason = int(match[1]), int(match[2]), match[3].removesuffix(" [INVALID_ARGUMENT]")
    if condition and (collecting := _COLLECTING.search(message)):
        reason = f"a condition cannot use `{collecting[1]}`; use `exists`, `all` or `exists_one`"
    elif undeclared := _UNDECLARED.search(reason):
        reason = f"unknown name '{undeclared[1]}'; known are {', '.join(ROOTS)} and CEL's functions"
    elif overload := _NO_OVERLOAD.search(reason):
        reason = f"`{overload[1].replace('_', ' ').strip()}` does not take {overload[2]}"
        if condition and overload[1] == "_+_":
            reason += "; in conditions `+` is for numbers and times"
    else:
        reason = reason.partition(", expecting")[0].partition(" expecting ")[0].removeprefix("Syntax error: ")
    return reason, _offset(text, line, column)


def _offset(text: str, line: int, column: int) -> int | None:
    lines = text.split("\n")
    if not 1 <= line <= len(lines) or column < 1:
        return None
    return sum(len(one) + 1 for one in lines[: line - 1]) + column - 1


_MIXED: Final = re.compile(r"No matching overloads found : _[-+*/]_\((?:int64, double|double, int64)\)")
_STATUS: Final = re.compile(r"^[A-Z_]+: |\s*\[[A-Z_]+\]$")


def _runtime_reason(message: str) -> str:
    reason = _STATUS.sub("", message)
    if missing := re.match(r"Key not found in map : (.*)", reason):
        return f"there is no {missing[1]}; guard it with has() or read it with `.?`"
    if overload := re.match(r"No matching overloads found : (.*)", reason):
        return f"no operator or function takes {overload[1]}"
    if "Iteration budget exceeded" in reason:
        return f"its macros take more than {ITERATIONS_MAX:,} turns"
    return reason


def _kind(value: object) -> str:
    match value:
        case None:
            return "null"
        case str():
            return "text"
        case bool():
            return "true or false"
        case int() | float():
            return "a number"
        case list():
            return "a list"
        case _:
            return "an object"


class _Decoder:
    """Turns one result into JSON.

    The binding's own conversion of null gives up a reference to None that it never took, which ends a Python 3.11
    process after some thousand nulls. So nulls are recognised by their type here and never converted.
    """

    __slots__ = ("_chars", "_text", "_values")

    def __init__(self, text: str) -> None:
        self._text = text
        self._values = 0
        self._chars = 0

    def decode(self, value: Any, depth: int = 0) -> object:
        kind = value.type().name()
        self._values += 1
        if self._values > RESULT_VALUES_MAX or self._chars > RESULT_CHARS_MAX:
            limit = f"{RESULT_VALUES_MAX:,} values or {RESULT_CHARS_MAX:,} characters"
            raise ExpressionError(self._text, f"its result has more than {limit}")
        match kind.partition("<")[0]:
            case "NULL":
                return None
            case "BOOL" | "INT":
                return value.plain_value()
            case "STRING":
                text = value.plain_value()
                self._chars += len(text)
                return text
            case "DOUBLE":
                return self._double(value.plain_value())
            case "LIST":
                self._descend(depth)
                return [self.decode(item, depth + 1) for item in value.value()]
            case "MAP":
                self._descend(depth)
                members = value.value()
                # CEL keeps no order of keys; sorted, the same values always make the same bytes.
                return {key: self.decode(members[key], depth + 1) for key in sorted(map(self._key, members))}
            case "ERROR" | "UNKNOWN":
                raise ExpressionError(self._text, self._error(repr(value)))
            case _:
                return self._scalar(kind, value)

    def _scalar(self, kind: str, value: Any) -> object:
        match kind:
            case "UINT":
                number: int = value.plain_value()
                if number > INT64_MAX:
                    raise ExpressionError(self._text, "an integer does not fit into 64 bits", value=str(number))
                return number
            case "BYTES":
                return base64.b64encode(value.plain_value()).decode()
            case "TIMESTAMP":
                time: datetime = value.plain_value()
                return time.isoformat().replace("+00:00", "Z")
            case "DURATION":
                return _duration_text(value.plain_value())
            case _:
                raise ExpressionError(self._text, f"its result has a {kind.lower()}, which is no JSON value")

    def _double(self, number: float) -> float:
        if not math.isfinite(number):
            raise ExpressionError(self._text, f"its result is {number}, which JSON cannot write")
        return number

    def _key(self, key: object) -> str:
        if not isinstance(key, str):
            raise ExpressionError(self._text, "the keys of an object must be text", value=shown(key))
        self._chars += len(key)
        return key

    def _descend(self, depth: int) -> None:
        if depth >= JSON_DEPTH_MAX:
            raise ExpressionError(self._text, f"its result is nested deeper than {JSON_DEPTH_MAX} levels")

    def _error(self, message: str) -> str:
        if message.startswith("optional"):
            return "its result has an optional inside; add `.orValue(…)` to it, or write `[?…]` or `{?…}`"
        return _runtime_reason(message)


def _duration_text(duration: timedelta) -> str:
    micros = duration // timedelta(microseconds=1)
    if micros % 1_000_000 == 0:
        return f"{micros // 1_000_000}s"
    return f"{micros // 1_000}ms" if micros % 1_000 == 0 else f"{micros / 1_000_000}s"
