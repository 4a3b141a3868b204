"""Page tokens: opaque to callers, checked when they come back."""

import base64
import binascii

import orjson

from holdfast.v1.errors_pb2 import ErrorReason
from holdfast_server.engine.refusal import Refused

__all__ = ["decode", "encode"]

INT64 = 2**63


def encode(kind: str, *position: int | str) -> str:
    """The token for the page that begins behind a position."""
    return base64.urlsafe_b64encode(orjson.dumps([kind, *position])).decode().rstrip("=")


def decode(kind: str, token: str, *types: type) -> tuple[int | str, ...] | None:
    """The position of a token; None for the first page.

    Raises:
        Refused: PAGE_TOKEN_INVALID.
    """
    if not token:
        return None
    try:
        found = orjson.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    except (binascii.Error, ValueError):
        found = None
    if (
        isinstance(found, list)
        and found[:1] == [kind]
        and [type(part) for part in found[1:]] == list(types)
        and all(abs(part) < INT64 for part in found[1:] if isinstance(part, int))
    ):
        return tuple(found[1:])
    message = "page_token is not one of this list; begin again without it"
    raise Refused(ErrorReason.ERROR_REASON_PAGE_TOKEN_INVALID, message, violations=(("page_token", message),))
