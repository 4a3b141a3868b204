"""Functions as handlers: the name and queue they serve, and what their signature says about input and output."""

import inspect
import re
import typing
from collections.abc import Awaitable, Callable
from functools import cached_property, update_wrapper
from typing import Any, Generic, ParamSpec, TypeVar, overload

from pydantic import TypeAdapter
from pydantic.errors import PydanticSchemaGenerationError, PydanticUndefinedAnnotation, PydanticUserError

from holdfast.context import TaskContext
from holdfast.converter import Converter
from holdfast.errors import HandlerError
from holdfast.v1.payload_pb2 import Payload

__all__ = ["NO_INPUT", "Handler", "as_handler", "handler"]

P = ParamSpec("P")
R = TypeVar("R")

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_CONTEXT_NAMES = frozenset({"ctx", "context"})
_PARAMETERS_MAX = 2
_NULLS = (b"", b"null")


class _NoInput:
    def __repr__(self) -> str:
        return "NO_INPUT"


NO_INPUT = _NoInput()
"""The `input_type` of a handler that takes no input."""


class Handler(Generic[P, R]):
    """A function that workers run for steps. Calling it calls the function.

    Attributes:
        function: The function itself.
        name: Name that steps refer to.
        queue: Queue it is served on; None for the worker's own.
        is_async: Whether it is a coroutine function; others run in threads.
        takes_context: Whether it takes a `TaskContext`.
        has_default: Whether its input has a default, which stands in for null.
        input_type: Annotation of its input; `Any` if it has none, `NO_INPUT` if it takes no input.
        output_type: Annotation of what it returns; `Any` if it has none.
    """

    def __init__(self, function: Callable[P, R], *, name: str | None = None, queue: str | None = None) -> None:
        update_wrapper(self, function)
        self.function = function
        self.name = name if name is not None else getattr(function, "__name__", type(function).__name__)
        self.queue = queue
        for what, value in (("name", self.name), ("queue", queue)):
            if value is not None and not NAME.fullmatch(value):
                raise HandlerError(f"{what} {value!r} of {_title(function)} does not match {NAME.pattern}")
        call = type(function).__call__ if not inspect.isroutine(function) and callable(function) else None
        self.is_async = inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(call)
        self.takes_context, parameter = _parameters(function)
        hints = _hints(function)
        self._parameter = parameter
        self.has_default = parameter is not None and parameter.default is not parameter.empty
        self.input_type: Any = NO_INPUT if parameter is None else hints.get(parameter.name, Any)
        self.output_type: Any = hints.get("return", Any)
        self._check_types()

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function as it is."""
        return self.function(*args, **kwargs)

    def __repr__(self) -> str:
        return f"Handler({self.name!r})"

    def arguments(self, context: TaskContext, payload: Payload | None, converter: Converter) -> tuple[Any, ...]:
        """Return what the function is called with for a task.

        Args:
            context: The task.
            payload: Its input; None for null.
            converter: Reads the input.

        Raises:
            ConverterError: The input does not fit the function's type.
        """
        before = (context,) if self.takes_context else ()
        if self._parameter is None:
            return before
        if self.has_default and (payload is None or (payload.data in _NULLS and not payload.metadata)):
            return before  # the function's own default stands in for a null input
        return (*before, converter.decode(payload, self.input_type))

    @cached_property
    def input_schema(self) -> dict[str, Any] | None:
        """JSON Schema of the input; None if the signature does not say, or it takes no input."""
        return None if self.input_type is NO_INPUT else schema_of(self.input_type, "validation")

    @cached_property
    def output_schema(self) -> dict[str, Any] | None:
        """JSON Schema of the output; None if the signature does not say."""
        return schema_of(self.output_type, "serialization")

    def _check_types(self) -> None:
        """Find a type that cannot be read or written when the program starts, not when the first task comes."""
        for what, type_ in (("input", self.input_type), ("output", self.output_type)):
            if type_ is Any or type_ is NO_INPUT:
                continue
            try:
                TypeAdapter(type_)
            except (PydanticSchemaGenerationError, PydanticUserError, PydanticUndefinedAnnotation) as fault:
                raise HandlerError(f"{what} of handler {self.name}: {str(fault).splitlines()[0]}") from fault


@overload
def handler(function: Callable[P, R], /) -> Handler[P, R]: ...
@overload
def handler(*, name: str | None = None, queue: str | None = None) -> Callable[[Callable[P, R]], Handler[P, R]]: ...
def handler(
    function: Callable[P, R] | None = None, /, *, name: str | None = None, queue: str | None = None
) -> Handler[P, R] | Callable[[Callable[P, R]], Handler[P, R]]:
    """Make a function a handler.

    The function takes `(ctx, input)`, `(ctx)`, `(input)` or nothing; the context is the parameter annotated
    `TaskContext`, or one without annotation that is called `ctx`. Async functions run on the worker's loop, others in
    threads. What it raises is a failure; see `holdfast.Failure`.

    Args:
        function: The function; left out where options follow.
        name: Name that steps refer to; the function's own without.
        queue: Queue it is served on; the worker's own without.

    Raises:
        HandlerError: The signature, a type or a name does not fit.
    """
    if function is not None:
        return Handler(function)
    return lambda decorated: Handler(decorated, name=name, queue=queue)


def as_handler(function: "Handler[..., Any] | Callable[..., Any]") -> Handler[..., Any]:
    """Return a handler as it is, and a plain function as one."""
    return function if isinstance(function, Handler) else Handler(function)


def schema_of(type_: Any, mode: typing.Literal["validation", "serialization"]) -> dict[str, Any] | None:
    """Return the JSON Schema of a type; None where everything fits, or for bytes on their own, which are no JSON."""
    if type_ in (Any, object, bytes):
        return None
    schema = TypeAdapter(type_).json_schema(mode=mode)
    return schema or None


def _parameters(function: Callable[..., Any]) -> tuple[bool, inspect.Parameter | None]:
    """Return whether the function takes a context, and its parameter for the input."""
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError) as fault:
        raise HandlerError(f"{_title(function)} has no signature that can be read") from fault
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    others = [p for p in parameters if p not in positional and p.default is p.empty]
    unfit = [p.name for p in others if p.kind is p.KEYWORD_ONLY] or [p.name for p in positional[_PARAMETERS_MAX:]]
    if unfit:
        raise HandlerError(f"{_title(function)} takes {unfit}; a handler takes (ctx, input), (ctx), (input) or nothing")
    takes_context = bool(positional) and _is_context(positional[0], _hints(function))
    rest = positional[takes_context:]
    if len(rest) > 1:
        first = positional[0].name
        raise HandlerError(
            f"{_title(function)} takes two inputs, and a step has one: annotate {first!r} as TaskContext, "
            "or take one value, for example a dataclass with both as fields"
        )
    return takes_context, rest[0] if rest else None


def _is_context(parameter: inspect.Parameter, hints: dict[str, Any]) -> bool:
    type_ = hints.get(parameter.name)
    if type_ is None:
        return parameter.name in _CONTEXT_NAMES
    return isinstance(type_, type) and issubclass(type_, TaskContext)


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    target = function if inspect.isroutine(function) or inspect.isfunction(function) else type(function).__call__
    target = getattr(function, "func", target)  # of a partial
    try:
        hints = typing.get_type_hints(target, include_extras=True)
    except NameError as fault:
        raise HandlerError(f"{_title(function)}: an annotation names what its module does not: {fault}") from fault
    if typing.get_origin(hints.get("return")) in (Awaitable, typing.Awaitable):
        hints["return"] = typing.get_args(hints["return"])[0]
    return hints


def _title(function: Callable[..., Any]) -> str:
    return getattr(function, "__qualname__", None) or repr(function)
