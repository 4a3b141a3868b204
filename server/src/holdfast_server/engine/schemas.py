"""JSON Schema 2020-12: compiled once, checked in about a microsecond, and never fetching anything from anywhere."""

from collections.abc import Iterator
from typing import Final, NamedTuple

from jsonschema_rs import Draft202012Validator, ReferencingError, RegexOptions, ValidationError

from holdfast_server.engine.json_values import JSON_DEPTH_MAX, decode_exact, shown
from holdfast_server.engine.schema_work import WORK_MAX, Extent, Work, WorkFaultError, extent, schema_work

__all__ = ["SCHEMA_BYTES_MAX", "Schema", "SchemaFault", "SchemaFaultError", "compile_schema", "path_text"]

DIALECTS: Final = frozenset(
    {"https://json-schema.org/draft/2020-12/schema", "https://json-schema.org/draft/2020-12/schema#"}
)
SCHEMA_BYTES_MAX: Final = 256 * 1024
"""Longest text of a schema, in bytes."""
FAULTS_MAX: Final = 10
"""Most faults one check reports."""
MESSAGE_CHARS_MAX: Final = 500
"""Longest message of a fault; most of it can only be names from the schema."""
PATTERN_BYTES_MAX: Final = 256 * 1024
"""Largest compiled regular expression."""
TOLD_VALUES_MAX: Final = 500
"""Largest value of which all faults are told. The library makes all of them before it hands out the first, each with a
copy of what it is about, so that a list of wrong values would fill the memory."""
TOLD_WORK_MAX: Final = 20_000
"""Most evaluations for which alternatives are told apart."""

_MASK: Final = "\N{NULL}"
"""Stands for the value in the library's messages, so that a large or secret one is never copied whole."""
_REFERENCES: Final = ("$ref", "$dynamicRef")
_BY_NAME: Final = frozenset({"properties", "patternProperties", "$defs", "definitions", "dependentSchemas"})
"""Keywords whose members are names and hold schemas."""
_DATA: Final = frozenset({"const", "enum", "default", "examples"})
"""Keywords that hold data, not schemas."""


SchemaDocument = dict[str, object] | bool
"""A schema as a JSON value."""


class SchemaFault(NamedTuple):
    """One way in which a value does not fit."""

    path: str
    """Where in the value, such as `items[2].price`; empty for the value itself."""
    message: str
    """What does not fit; shows at most 200 characters of the value."""


class SchemaFaultError(Exception):
    """A schema that cannot be used.

    Attributes:
        path: where in the schema; empty for all of it.
        message: what is wrong.
    """

    def __init__(self, message: str, path: str = "") -> None:
        super().__init__(f"{path}: {message}" if path else message)
        self.path = path
        self.message = message


class Schema:
    """A compiled schema.

    Attributes:
        document: the schema as a JSON value; not to be changed.
    """

    __slots__ = ("_validator", "_work", "document")

    def __init__(self, document: SchemaDocument, validator: Draft202012Validator, work: Work) -> None:
        self.document = document
        self._validator = validator
        self._work = work

    def check(self, value: object, size_bytes: int | None = None) -> tuple[SchemaFault, ...]:
        """The first ten faults of a JSON value, or the first one if it is large; none if it fits.

        Args:
            value: the value.
            size_bytes: length of its JSON, if known: then a small value need not be measured.
        """
        if size_bytes is None or size_bytes * self._work.per_byte > WORK_MAX:
            work = self._work.of(extent(value))
            if work > WORK_MAX:
                return (
                    SchemaFault("", f"it cannot be checked: that would take {work:,} steps, the limit is {WORK_MAX:,}"),
                )
        try:
            if self._validator.is_valid(value):
                return ()
            return tuple(self._faults(value, extent(value)))
        except ValueError as error:  # the library's guard against very deep values
            return (SchemaFault("", f"it cannot be checked: {error}"),)

    def _faults(self, value: object, size: Extent) -> Iterator[SchemaFault]:
        few = self._work.of(size) <= TOLD_WORK_MAX
        if few and size.values <= TOLD_VALUES_MAX:
            yield from _faults(self._validator.iter_errors(value))
        elif few or not self._work.branching:
            try:
                self._validator.validate(value)
            except ValidationError as error:
                yield from _faults(iter((error,)))
        else:
            yield SchemaFault("", f"it does not fit; it has too many values, {size.values:,}, to say where")


def _faults(errors: Iterator[ValidationError]) -> Iterator[SchemaFault]:
    for number, error in enumerate(errors):
        if number == FAULTS_MAX:
            return
        yield SchemaFault(path_text(error.instance_path), _message(error))


def _message(error: ValidationError) -> str:
    text = str(error.message).replace(_MASK, shown(error.instance))
    return text if len(text) <= MESSAGE_CHARS_MAX else f"{text[: MESSAGE_CHARS_MAX - 1]}…"


def path_text(parts: list[str | int]) -> str:
    """A path as it is shown: `a.b[0].c`."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts).removeprefix(".")


def compile_schema(json_text: str) -> Schema:
    """Compile a schema.

    Args:
        json_text: the schema as JSON.

    Raises:
        SchemaFaultError: it is no JSON, no schema of draft 2020-12, too large, or refers outside of itself.
    """
    size_bytes = len(json_text.encode(errors="surrogatepass"))
    if size_bytes > SCHEMA_BYTES_MAX:
        raise SchemaFaultError(f"the schema has {size_bytes:,} bytes, the limit is {SCHEMA_BYTES_MAX:,}")
    try:
        document = decode_exact(json_text)
    except (ValueError, RecursionError) as error:
        raise SchemaFaultError(f"the schema is no JSON: {error}") from error
    if not isinstance(document, dict | bool):
        raise SchemaFaultError(f"a schema is an object or a boolean, not {shown(document)}")
    _refuse_foreign(document, [])
    try:
        work = schema_work(document)
    except WorkFaultError as error:
        raise SchemaFaultError(str(error)) from error
    patterns = RegexOptions(size_limit=PATTERN_BYTES_MAX)
    try:
        validator = Draft202012Validator(
            document, validate_formats=True, offline=True, mask=_MASK, pattern_options=patterns
        )
    except ValidationError as error:
        raise SchemaFaultError(_message(error), path_text(error.instance_path)) from error
    except (ReferencingError, ValueError) as error:
        raise SchemaFaultError(str(error)) from error
    return Schema(document, validator, work)


def _refuse_foreign(schema: object, path: list[str | int]) -> None:
    """Refuse other drafts and references to anything but the schema itself, wherever a schema may stand."""
    if len(path) > 2 * JSON_DEPTH_MAX:
        raise SchemaFaultError(f"the schema is nested deeper than {JSON_DEPTH_MAX} levels")
    if isinstance(schema, list):
        for index, item in enumerate(schema):
            _refuse_foreign(item, [*path, index])
        return
    if not isinstance(schema, dict):
        return
    dialect = schema.get("$schema")
    if isinstance(dialect, str) and dialect not in DIALECTS:
        raise SchemaFaultError(
            f"only draft 2020-12 is known, not {shown(dialect)}; leave `$schema` out", path_text([*path, "$schema"])
        )
    if path and isinstance(schema.get("$id"), str):
        raise SchemaFaultError("only the whole schema can have an `$id`", path_text([*path, "$id"]))
    for keyword in _REFERENCES:
        target = schema.get(keyword)
        if isinstance(target, str) and not target.startswith("#"):
            message = f"{shown(target)} leads outside of the schema; only references that start with `#` are followed"
            raise SchemaFaultError(message, path_text([*path, keyword]))
    for keyword, inner in schema.items():
        if keyword in _DATA:
            continue
        if keyword in _BY_NAME and isinstance(inner, dict):
            for name, member in inner.items():
                _refuse_foreign(member, [*path, keyword, name])
        else:
            _refuse_foreign(inner, [*path, keyword])
