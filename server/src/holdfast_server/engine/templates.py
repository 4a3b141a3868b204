"""Templates: JSON in which `${expr}` stands for values.

A string that is exactly `${expr}` becomes the typed value; `${expr}` inside longer text is written into it, text as it
is and other values as JSON. `$${` stands for `${` itself. Keys of objects are not templates.
"""

from collections.abc import Callable
from typing import Final

from holdfast.v1.payload_pb2 import Payload
from holdfast_server.engine.cel import compile_program
from holdfast_server.engine.json_values import JSON_DEPTH_MAX, canonical, encode, shown, too_deep
from holdfast_server.engine.names import (
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

__all__ = ["Template", "compile_template", "split"]

OPEN: Final = "${"
ESCAPED: Final = "$${"

UNTYPED: Final[NumberTypes] = {}
"""No schema says anything about numbers."""

_Render = Callable[[Names], object]


class Template:
    """A compiled template.

    Attributes:
        source: its text where it is a string, else the start of it as JSON; for errors.
        refs: the paths it names.
        deep_refs: heads (`("input",)`, `("steps", name, "output")`, `("signals",)`) of the payloads it looks into.
            A template that is one reference to a whole payload passes it through and has none.
    """

    __slots__ = ("_constant", "_ref", "_render", "deep_refs", "refs", "source")

    def __init__(
        self, text: str, refs: tuple[Ref, ...], ref: Ref | None, render: _Render | None, value: object
    ) -> None:
        self.source = text
        self.refs = refs
        self._ref = ref
        self._render = render
        self._constant: tuple[object, Payload | None] | None = None
        if render is None and ref is None:
            self._constant = (value, None if value is None else Payload(data=canonical(value).encode()))
        self.deep_refs = () if ref is not None and head_of(ref) == ref else deep_heads(refs)

    @property
    def constant(self) -> bool:
        """Whether it names nothing, so that it always renders the same."""
        return self._constant is not None

    def render(self, names: Names) -> Payload | None:
        """The payload it stands for; None for null. A constant's payload is shared: never change it.

        Raises:
            ExpressionError: an expression in it cannot be evaluated, or the result is nested too deeply.
        """
        if self._constant is not None:
            return self._constant[1]
        if self._ref is not None:
            payload = names.payload(self._ref)
            if not isinstance(payload, NotAPayload):
                return payload
        value = self.value(names)
        if value is None:
            return None
        data = encode(value)
        if too_deep(data):
            raise ExpressionError(self.source, f"it renders to JSON deeper than {JSON_DEPTH_MAX} levels")
        return Payload(data=data)

    def value(self, names: Names) -> object:
        """The JSON value it stands for. Treat it as immutable: parts of it may be shared.

        Raises:
            ExpressionError: an expression in it cannot be evaluated.
        """
        if self._constant is not None:
            return self._constant[0]
        try:
            if self._render is not None:
                return self._render(names)
            return names.lookup(self._ref or ())
        except OpaquePayloadError as error:
            raise ExpressionError(self.source, str(error)) from error

    def text(self, names: Names) -> str:
        """What it stands for as text: text as it is, other values as JSON.

        Raises:
            ExpressionError: an expression in it cannot be evaluated.
        """
        return _written(self.value(names))


def deep_heads(refs: tuple[Ref, ...]) -> tuple[tuple[str, ...], ...]:
    """Heads of the payloads that references lead to, each once."""
    heads: dict[tuple[str, ...], None] = {}
    for ref in refs:
        match ref:
            case ("input", *_):
                heads[("input",)] = None
            case ("signals", *_):
                heads[("signals",)] = None
            case ("steps", str() as name, "output", *_):
                heads[("steps", name, "output")] = None
    return tuple(heads)


def compile_template(value: object, numbers: NumberTypes = UNTYPED) -> Template:
    """Compile a JSON value with `${…}` in its strings.

    Args:
        value: the JSON value.
        numbers: how schemas type numbers in CEL, by head.

    Raises:
        ExpressionError: an expression in it does not compile; all of them start with the same text as in the template.
    """
    source = value if isinstance(value, str) else shown(value)
    if isinstance(value, str):
        parts = split(value)
        if len(parts) == 1 and isinstance(parts[0], Code):
            ref = parse_reference(parts[0].text)
            if ref is not None and ref[0] in ROOTS:
                return Template(source, (ref,), ref, None, None)
    compiler = _Compiler(numbers)
    constant, render = compiler.compile(value)
    return Template(source, tuple(compiler.refs), None, render, constant)


class Code:
    """An expression inside a template's string."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text


def split(text: str) -> list[str | Code]:
    """Cut a string into literal text and expressions.

    Raises:
        ExpressionError: an expression is not closed or empty.
    """
    parts: list[str | Code] = []
    literal = ""
    at = 0
    while (start := text.find(OPEN, at)) >= 0:
        if start > at and text[start - 1] == "$":
            literal += text[at : start - 1] + OPEN
            at = start + len(OPEN)
            continue
        end = _closing(text, start)
        literal += text[at:start]
        if literal:
            parts.append(literal)
            literal = ""
        code = text[start + len(OPEN) : end]
        if not code.strip():
            raise ExpressionError(text, "`${}` has no expression in it", start)
        parts.append(Code(code))
        at = end + 1
    literal += text[at:]
    if literal or not parts:
        parts.append(literal)
    return parts


def _closing(text: str, start: int) -> int:
    """Offset of the brace that closes the expression at `start`; braces in CEL's strings and comments do not count."""
    depth = 0
    at = start + len(OPEN)
    while at < len(text):
        character = text[at]
        if character in "\"'":
            at = _after_string(text, at)
            continue
        if text.startswith("//", at):
            line_end = text.find("\n", at)
            at = len(text) if line_end < 0 else line_end
            continue
        if character == "{":
            depth += 1
        elif character == "}":
            if depth == 0:
                return at
            depth -= 1
        at += 1
    raise ExpressionError(text, "`${` is not closed by `}`; write `$${` for the characters themselves", start)


def _after_string(text: str, start: int) -> int:
    quote = text[start] * 3 if text.startswith(text[start] * 3, start) else text[start]
    before = text[max(0, start - 2) : start].lower()
    raw = before.endswith("r") or before == "rb"
    at = start + len(quote)
    while at < len(text):
        if text[at] == "\\" and not raw:
            at += 2
        elif text.startswith(quote, at):
            return at + len(quote)
        else:
            at += 1
    return len(text)


class _Compiler:
    """Compiles the parts of one template; each into the value itself if it is constant, else a function."""

    def __init__(self, numbers: NumberTypes) -> None:
        self._numbers = numbers
        self.refs: dict[Ref, None] = {}

    def compile(self, value: object) -> tuple[object, _Render | None]:
        match value:
            case str():
                return self._text(value)
            case list():
                return self._list(value)
            case dict():
                return self._object(value)
            case _:
                return value, None

    def _list(self, items: list[object]) -> tuple[object, _Render | None]:
        compiled = [self.compile(item) for item in items]
        if all(render is None for _, render in compiled):
            return [constant for constant, _ in compiled], None
        return None, lambda names: [constant if render is None else render(names) for constant, render in compiled]

    def _object(self, members: dict[str, object]) -> tuple[object, _Render | None]:
        compiled: list[tuple[str, object, _Render | None]] = []
        for key, member in members.items():
            parts = split(key)
            if any(isinstance(part, Code) for part in parts):
                reason = "the key of an object is no template; write `$${` for the characters themselves"
                raise ExpressionError(key, reason)
            compiled.append(("".join(map(str, parts)), *self.compile(member)))
        if all(render is None for *_, render in compiled):
            return {key: constant for key, constant, _ in compiled}, None
        return None, lambda names: {
            key: constant if render is None else render(names) for key, constant, render in compiled
        }

    def _text(self, text: str) -> tuple[object, _Render | None]:
        if OPEN not in text:
            return text, None
        parts = [part if isinstance(part, str) else self._code(part.text) for part in split(text)]
        if len(parts) == 1:
            return (parts[0], None) if isinstance(parts[0], str) else (None, parts[0])
        return None, lambda names: "".join(part if isinstance(part, str) else _written(part(names)) for part in parts)

    def _code(self, text: str) -> _Render:
        ref = parse_reference(text)
        if ref is not None and ref[0] in ROOTS:
            self.refs[ref] = None
            return lambda names: names.lookup(ref)
        program = compile_program(text, self._numbers, condition=False)
        self.refs.update(dict.fromkeys(program.refs))
        return program.value


def _written(value: object) -> str:
    return value if isinstance(value, str) else encode(value).decode()
