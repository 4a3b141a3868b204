"""Lease tokens: what a worker shows to prove that an attempt is its own.

A token is a version byte, the run's key, the server's epoch, the lease's number, the attempt's number and the path,
followed by a keyed BLAKE2b over the namespace and id of the worker and all of these. So it works for one worker only.
"""

import hashlib
import hmac
import struct
from typing import NamedTuple

__all__ = ["KEY_BYTES_MIN", "Seal", "TokenContent", "TokenInvalidError", "TokenStaleError", "Tokens"]

VERSION = 1
HEAD = struct.Struct(">BqIqI")
MAC_BYTES = 16
KEY_BYTES_MIN, KEY_BYTES_MAX = 32, 64


class TokenContent(NamedTuple):
    """What a token says."""

    run_key: int
    server_epoch: int
    lease: int
    attempt: int
    path: str


class TokenInvalidError(Exception):
    """A token that no server with this key gave to this worker."""


class TokenStaleError(Exception):
    """A genuine token whose lease is over.

    Attributes:
        content: what the token says, so that a repeated result can be recognized.
    """

    def __init__(self, content: TokenContent) -> None:
        super().__init__(
            f"the lease of attempt {content.attempt} of step {content.path!r} is over: it is settled, withdrawn, "
            "or in other hands"
        )
        self.content = content


class Tokens:
    """Makes the seal of each worker."""

    __slots__ = ("_key", "server_epoch")

    def __init__(self, key: bytes, server_epoch: int) -> None:
        """Build it.

        Args:
            key: The secret of the database, 32 to 64 bytes.
            server_epoch: Grows at every start of the server.

        Raises:
            ValueError: The key is too short or too long.
        """
        if not KEY_BYTES_MIN <= len(key) <= KEY_BYTES_MAX:
            message = f"a token key has {KEY_BYTES_MIN} to {KEY_BYTES_MAX} bytes, this one has {len(key)}"
            raise ValueError(message)
        self._key = key
        self.server_epoch = server_epoch

    def seal(self, namespace: str, worker_id: str) -> "Seal":
        """What issues and reads the tokens of one worker."""
        # Keyed and fed with the worker once; each token continues from a copy, which saves half the work.
        begun = hashlib.blake2b(key=self._key, digest_size=MAC_BYTES)
        for part in (namespace.encode(), worker_id.encode()):
            begun.update(len(part).to_bytes(4, "big"))
            begun.update(part)
        return Seal(begun, self.server_epoch)


class Seal:
    """Issues and reads the tokens of one worker."""

    __slots__ = ("_begun", "_server_epoch")

    def __init__(self, begun: "hashlib.blake2b", server_epoch: int) -> None:
        self._begun = begun
        self._server_epoch = server_epoch

    def issue(self, run_key: int, path: str, attempt: int, lease: int) -> bytes:
        """A token for a lease given by this server."""
        body = HEAD.pack(VERSION, run_key, self._server_epoch, lease, attempt) + path.encode()
        digest = self._begun.copy()
        digest.update(body)
        return body + digest.digest()

    def read(self, token: bytes) -> TokenContent:
        """What a token says.

        Raises:
            TokenInvalidError: It is not a token of this worker, or it was changed.
        """
        body = token[:-MAC_BYTES]
        digest = self._begun.copy()
        digest.update(body)
        if len(body) < HEAD.size or not hmac.compare_digest(digest.digest(), token[-MAC_BYTES:]):
            raise TokenInvalidError("the token was not given to this worker by this installation")
        version, run_key, server_epoch, lease, attempt = HEAD.unpack_from(body)
        if version != VERSION:
            message = f"the token has version {version}, this server reads {VERSION}"
            raise TokenInvalidError(message)
        return TokenContent(run_key, server_epoch, lease, attempt, body[HEAD.size :].decode())
