"""Writes the state of a run down and reads it again, so that a long history need not be folded from its beginning.

A snapshot is a shortcut and never the truth: one of another format is not read, and the history is folded instead.
Whatever the state has is written by its type; the plan is only named.
"""

import hashlib
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, get_args

import msgspec
from google.protobuf.message import DecodeError, Message

from holdfast_server.engine.plan import Plan
from holdfast_server.engine.state import RunState, Scope

__all__ = ["Snapshot", "SnapshotFormatError", "read_snapshot", "write_snapshot"]

MEANING = 1
"""Grows when a field of the state comes to mean something else without changing its name or type."""


class SnapshotFormatError(Exception):
    """The snapshot was written by another version; fold the history instead."""


@dataclass(slots=True)
class _Content:
    """What is written."""

    format: bytes
    workflow: str
    version: int
    run: dict[str, msgspec.Raw]
    """The fields of `RunState` but plan and scopes."""
    scopes: dict[str, dict[str, msgspec.Raw]]
    """By prefix, the fields of `Scope` but the block."""


def _types(kind: type, without: AbstractSet[str]) -> dict[str, Any]:
    return {one.name: one.type for one in fields(kind) if one.name not in without}


RUN_TYPES = _types(RunState, {"plan", "scopes"})
SCOPE_TYPES = _types(Scope, {"prefix", "block"})


def _encode_other(value: object) -> bytes:
    if isinstance(value, Message):
        return value.SerializeToString(deterministic=True)
    message = f"a snapshot cannot hold a {type(value).__name__}"
    raise TypeError(message)


def _decode_other(kind: type, value: Any) -> object:
    if issubclass(kind, Message):
        return kind.FromString(value)
    message = f"a snapshot cannot hold a {kind.__name__}"
    raise TypeError(message)


_ENCODER = msgspec.msgpack.Encoder(enc_hook=_encode_other)
_CONTENT = msgspec.msgpack.Decoder(_Content)
_RUN_DECODERS = {name: msgspec.msgpack.Decoder(kind, dec_hook=_decode_other) for name, kind in RUN_TYPES.items()}
_SCOPE_DECODERS = {name: msgspec.msgpack.Decoder(kind, dec_hook=_decode_other) for name, kind in SCOPE_TYPES.items()}


def _format() -> bytes:
    """A digest of the names and types of all that is written."""
    described: list[str] = []
    seen: set[type] = set()

    def look(kind: Any) -> None:
        for inner in get_args(kind):
            look(inner)
        if is_dataclass(kind) and isinstance(kind, type) and kind not in seen:
            seen.add(kind)
            look_at(kind.__qualname__, _types(kind, set()))

    def look_at(owner: str, types: dict[str, Any]) -> None:
        for name, kind in types.items():
            described.append(f"{owner}.{name}: {kind}")
            look(kind)

    look_at("RunState", RUN_TYPES)
    look_at("Scope", SCOPE_TYPES)
    return hashlib.sha256("\n".join([str(MEANING), *described]).encode()).digest()[:8]


FORMAT = _format()


def write_snapshot(run: RunState) -> bytes:
    """The state of a run as bytes."""
    scopes = {prefix: {name: getattr(scope, name) for name in SCOPE_TYPES} for prefix, scope in run.scopes.items()}
    return _ENCODER.encode(
        {
            "format": FORMAT,
            "workflow": run.plan.workflow,
            "version": run.plan.version,
            "run": {name: getattr(run, name) for name in RUN_TYPES},
            "scopes": scopes,
        }
    )


class Snapshot:
    """A snapshot that was read, still without the plan it needs.

    Attributes:
        namespace, workflow, version: name the plan.
    """

    def __init__(self, content: _Content) -> None:
        self._fields = _decoded(content.run, _RUN_DECODERS)
        self._scopes = {prefix: _decoded(raws, _SCOPE_DECODERS) for prefix, raws in content.scopes.items()}
        self.namespace: str = self._fields["namespace"]
        self.workflow = content.workflow
        self.version = content.version

    def state(self, plan: Plan) -> RunState:
        """The state that was written; call it once.

        Args:
            plan: the one that was named.
        """
        run = RunState(plan=plan, **self._fields)
        for prefix, values in self._scopes.items():
            run.scopes[prefix] = Scope(prefix=prefix, block=plan.block, **values)
        return run


def read_snapshot(data: bytes) -> Snapshot:
    """What `write_snapshot` wrote.

    Raises:
        SnapshotFormatError: it is of another format, or damaged.
    """
    try:
        content = _CONTENT.decode(data)
        if content.format == FORMAT:
            return Snapshot(content)
    except (msgspec.DecodeError, UnicodeDecodeError, DecodeError, LookupError) as error:
        raise SnapshotFormatError(str(error)) from error
    raise SnapshotFormatError(content.format.hex())


def _decoded(raws: dict[str, msgspec.Raw], decoders: dict[str, "msgspec.msgpack.Decoder[Any]"]) -> dict[str, Any]:
    return {name: decoder.decode(raws[name]) for name, decoder in decoders.items()}
