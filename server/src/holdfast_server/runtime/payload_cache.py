"""Large payloads in memory: those not on disk yet for certain, recently used ones within a bound."""

from collections import Counter, OrderedDict
from collections.abc import Iterable, Sequence

from holdfast.v1.payload_pb2 import Payload
from holdfast_server.store.port import Store, StoreCorruptError

__all__ = ["PayloadCache"]


class PayloadCache:
    """Payloads by hash.

    Args:
        store: where the others are.
        limit_bytes: how many bytes of data are kept beyond those that are pinned.
    """

    def __init__(self, store: Store, limit_bytes: int = 64 * 1024 * 1024) -> None:
        self._store = store
        self._limit_bytes = limit_bytes
        self._kept: OrderedDict[bytes, Payload] = OrderedDict()
        self._kept_bytes = 0
        self._pinned: dict[bytes, Payload] = {}
        self._pins: Counter[bytes] = Counter()
        self.pinned_bytes = 0
        """Data that the disk does not have yet."""

    def pin(self, digest: bytes, payload: Payload) -> None:
        """Keeps a payload until `unpin`, because the disk does not have it yet."""
        self._pins[digest] += 1
        if digest not in self._pinned:
            self._pinned[digest] = payload
            self.pinned_bytes += len(payload.data)

    def unpin(self, digests: Iterable[bytes]) -> None:
        """The disk has them, or nobody will ask for them."""
        for digest in digests:
            self._pins[digest] -= 1
            if self._pins[digest] <= 0:
                del self._pins[digest]
                payload = self._pinned.pop(digest)
                self.pinned_bytes -= len(payload.data)
                self._keep(digest, payload)

    def find(self, digests: Sequence[bytes]) -> dict[bytes, Payload] | None:
        """All of them if all are in memory, else None."""
        found: dict[bytes, Payload] = {}
        for digest in digests:
            payload = self._pinned.get(digest) or self._kept.get(digest)
            if payload is None:
                return None
            found[digest] = payload
            if digest in self._kept:
                self._kept.move_to_end(digest)
        return found

    async def load(self, digests: Sequence[bytes]) -> dict[bytes, Payload]:
        """All of them, read from the disk where need be.

        Raises:
            StoreError: the disk does not answer.
            StoreCorruptError: one is missing.
        """
        found = {digest: kept for digest in digests if (kept := self._pinned.get(digest) or self._kept.get(digest))}
        missing = [digest for digest in dict.fromkeys(digests) if digest not in found]
        if missing:
            rows = await self._store.payloads(missing)
            for digest in missing:
                if digest not in rows:
                    message = f"payload {digest.hex()} is referred to but not stored"
                    raise StoreCorruptError(message)
                payload = Payload.FromString(rows[digest])
                found[digest] = payload
                self._keep(digest, payload)
        return found

    def _keep(self, digest: bytes, payload: Payload) -> None:
        if digest not in self._kept:
            self._kept_bytes += len(payload.data)
        self._kept[digest] = payload
        self._kept.move_to_end(digest)
        while self._kept_bytes > self._limit_bytes and len(self._kept) > 1:
            _digest, dropped = self._kept.popitem(last=False)
            self._kept_bytes -= len(dropped.data)
