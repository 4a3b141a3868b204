"""Payloads while the engine decides: what is large is kept by hash, what is decoded is decoded once."""

import hashlib
from collections.abc import Mapping

from holdfast.v1.payload_pb2 import Payload, PayloadRef
from holdfast_server.engine.json_values import JSON_DEPTH_MAX, decode, too_deep

__all__ = ["MissingPayloadError", "PayloadBag", "nests_too_deep", "payload_hash", "payload_size"]

TOO_DEEP = "depth limit exceeded"
"""How the reader's error begins for what nests a thousand levels deep."""
JSON_ENCODINGS = frozenset({b"", b"json/utf-8"})


class MissingPayloadError(LookupError):
    """A stored payload was needed and had not been loaded: a fault of `needs`."""


class OpaquePayloadError(ValueError):
    """A payload whose encoding expressions and schemas cannot look into."""


def payload_size(payload: Payload) -> int:
    """Length of the data in bytes, wherever they are."""
    return payload.ref.size_bytes if payload.HasField("ref") else len(payload.data)


def nests_too_deep(payload: Payload) -> bool:
    """Whether a payload with its data is JSON nested deeper than allowed."""
    data = payload.data
    if data.count(b"[") + data.count(b"{") <= JSON_DEPTH_MAX or _encoding(payload) not in JSON_ENCODINGS:
        return False
    try:
        return too_deep(data)
    except ValueError:
        return False  # it is no JSON


def _encoding(payload: Payload) -> bytes:
    return payload.metadata.get("encoding", b"") if payload.metadata else b""


def payload_hash(payload: Payload) -> bytes:
    """SHA-256 over the sorted metadata and the data, each with its length in front so that nothing can shift."""
    digest = hashlib.sha256()
    for name in sorted(payload.metadata):
        for part in (name.encode(), payload.metadata[name]):
            digest.update(len(part).to_bytes(8, "big"))
            digest.update(part)
    digest.update(b"\xff")
    digest.update(payload.data)
    return digest.digest()


class PayloadBag:
    """The payloads one decision sees: those loaded for it, and the large ones it makes.

    Attributes:
        new: large payloads made or received here, by hash, to be written with the events.
    """

    __slots__ = ("_decoded", "_inline_bytes", "_loaded", "new")

    def __init__(self, loaded: Mapping[bytes, Payload] | None = None, inline_bytes: int = 8 * 1024) -> None:
        self._loaded: Mapping[bytes, Payload] = loaded or {}
        self._inline_bytes = inline_bytes
        self._decoded: dict[bytes, object] = {}
        self.new: dict[bytes, Payload] = {}

    def intern(self, payload: Payload) -> Payload:
        """The payload as events carry it: itself when small, else a reference; the data are kept in `new`."""
        if len(payload.data) <= self._inline_bytes or payload.HasField("ref"):
            return payload
        digest = payload_hash(payload)
        self.new[digest] = payload
        return Payload(metadata=payload.metadata, ref=PayloadRef(sha256=digest, size_bytes=len(payload.data)))

    def open(self, payload: Payload) -> Payload:
        """The payload with its data.

        Raises:
            MissingPayloadError: it is stored and was not loaded.
        """
        if not payload.HasField("ref"):
            return payload
        digest = payload.ref.sha256
        found = self.new.get(digest) or self._loaded.get(digest)
        if found is None:
            raise MissingPayloadError(digest.hex())
        return found

    def decode(self, payload: Payload | None) -> object:
        """The JSON value of a payload; None for an absent one. Large ones are decoded once.

        Raises:
            OpaquePayloadError: its encoding is not JSON or it is not valid JSON.
        """
        if payload is None:
            return None
        if payload.HasField("ref"):
            digest = payload.ref.sha256
            if digest not in self._decoded:
                self._decoded[digest] = _decode(self.open(payload))
            return self._decoded[digest]
        return _decode(payload)


def _decode(payload: Payload) -> object:
    encoding = _encoding(payload)
    if encoding == b"text/markdown":
        try:
            return payload.data.decode()
        except UnicodeDecodeError as error:
            message = f"a payload with encoding 'text/markdown' is no UTF-8: {error}"
            raise OpaquePayloadError(message) from error
    if encoding not in JSON_ENCODINGS:
        message = f"a payload with encoding {encoding.decode(errors='replace')!r} cannot be read by expressions"
        raise OpaquePayloadError(message)
    if not payload.data:
        return None
    try:
        value = decode(payload.data)
        if not too_deep(payload.data):
            return value
    except ValueError as error:
        if not str(error).startswith(TOO_DEEP):
            message = f"a payload is not valid JSON: {error}"
            raise OpaquePayloadError(message) from error
    message = f"a payload is nested deeper than {JSON_DEPTH_MAX} levels, the limit json_depth"
    raise OpaquePayloadError(message)
