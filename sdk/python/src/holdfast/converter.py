"""Python values to payloads and back: JSON by type annotations, bytes as they are, and a hook for codecs."""

import json
from functools import lru_cache
from typing import Any, Protocol

from pydantic import TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError, from_json, to_json

from holdfast.errors import ConverterError
from holdfast.v1.payload_pb2 import JsonValue, Payload

__all__ = ["BINARY", "JSON", "Codec", "Converter", "json_value"]

JSON = b"json/utf-8"
BINARY = b"binary/plain"


class Codec(Protocol):
    """What stands between the converter and the wire, for example compression or encryption."""

    def encode(self, payload: Payload) -> Payload:
        """Return what is sent for a payload."""

    def decode(self, payload: Payload) -> Payload:
        """Return the payload that was sent; one that this codec did not make is returned as it is."""


class Converter:
    """Turns values into payloads and back.

    JSON is the encoding: pydantic models, dataclasses, plain dicts and lists, dates; integers of any size stay exact.
    `bytes` on their own travel as they are, with the encoding `binary/plain`.
    """

    def __init__(self, codec: Codec | None = None) -> None:
        self._codec = codec

    def encode(self, value: object) -> Payload:
        """Return the payload of a value; a payload is passed through.

        Raises:
            ConverterError: The value has no JSON form (NaN and the infinities have none).
        """
        if isinstance(value, Payload):
            return value
        if isinstance(value, (bytes, bytearray, memoryview)):
            payload = Payload(metadata={"encoding": BINARY}, data=bytes(value))
        else:
            payload = Payload(data=_json_bytes(value))
        return payload if self._codec is None else self._codec.encode(payload)

    def encode_optional(self, value: object) -> Payload | None:
        """Return the payload of a value, or None for None, which the contract writes as an absent field."""
        return None if value is None else self.encode(value)

    def decode(self, payload: Payload | None, type_: Any = Any) -> Any:
        """Return the value of a payload, as the asked-for type; an absent or empty payload is null.

        Raises:
            ConverterError: The bytes cannot be read, or do not fit the type.
        """
        if payload is None:
            return self._read(b"null", type_)
        if payload.HasField("ref"):
            raise ConverterError("the payload is only a reference; ask for it with PAYLOAD_VIEW_FULL")
        if self._codec is not None:
            payload = self._codec.decode(payload)
        # Looking a missing key up adds it, empty: what only looked at the metadata must still be readable.
        encoding = payload.metadata.get("encoding", b"") or JSON if payload.metadata else JSON
        if encoding == JSON:
            return self._read(payload.data or b"null", type_)
        if encoding == BINARY:
            return _fitting(payload.data, type_)
        if encoding.startswith(b"text/"):
            return _fitting(payload.data.decode(), type_)
        raise ConverterError(f"no way to read a payload with encoding {encoding.decode(errors='replace')!r}")

    @staticmethod
    def _read(data: bytes, type_: Any) -> Any:
        try:
            if type_ is Any or type_ is object:
                return from_json(data, allow_inf_nan=False)
            return _adapter(type_).validate_json(data)
        except ValidationError as fault:
            raise ConverterError(f"payload does not fit {_name(type_)}: {_faults(fault)}") from fault
        except ValueError as fault:
            raise ConverterError(f"payload is not JSON: {fault}") from fault


def json_value(value: object) -> JsonValue:
    """Return free JSON of a definition or attribute as the contract's text form.

    Raises:
        ConverterError: The value has no JSON form.
    """
    return JsonValue(json=_json_bytes(value).decode())


def _json_bytes(value: object) -> bytes:
    try:
        data = to_json(value)
        if b"NaN" in data or b"Infinity" in data:  # may be part of a string: look properly
            json.dumps(from_json(data), allow_nan=False)
    except (PydanticSerializationError, ValueError, TypeError) as fault:
        raise ConverterError(f"{_name(type(value))} has no JSON form: {fault}") from fault
    return data


def _fitting(value: bytes | str, type_: Any) -> Any:
    if type_ is Any or type_ is object:
        return value
    try:
        return _adapter(type_).validate_python(value)
    except ValidationError as fault:
        raise ConverterError(f"payload does not fit {_name(type_)}: {_faults(fault)}") from fault


def _adapter(type_: Any) -> TypeAdapter[Any]:
    try:
        return _cached_adapter(type_)
    except TypeError:  # annotations with metadata that cannot be hashed
        return TypeAdapter(type_)


@lru_cache(maxsize=4096)
def _cached_adapter(type_: Any) -> TypeAdapter[Any]:
    return TypeAdapter(type_)


def _name(type_: Any) -> str:
    return getattr(type_, "__qualname__", None) or str(type_)


def _faults(fault: ValidationError) -> str:
    """Return the faults without the values: payloads may hold what does not belong into logs."""
    errors = fault.errors(include_url=False, include_context=False, include_input=False)
    return "; ".join(f"{'.'.join(map(str, e['loc'])) or 'value'}: {e['msg']}" for e in errors[:10])
