"""Feeds of changes: the latest state per key, resumable by a cursor for as long as the changes are remembered.

A feed remembers only while someone listens; a cursor from before that, or from another process, is unknown and its
listener starts again from a snapshot.
"""

import asyncio
from collections import OrderedDict

__all__ = ["Feed", "Subscription"]

Key = tuple[int, str]
"""(run key, path); in the feed of runs the path is empty, or the name of the run if it was deleted."""


class Subscription:
    """One listener: wakes when something changed after its position."""

    __slots__ = ("_feed", "position", "wake")

    def __init__(self, feed: "Feed", position: int) -> None:
        self._feed = feed
        self.position = position
        self.wake = asyncio.Event()

    @property
    def lost(self) -> bool:
        """Whether changes after the position are no longer remembered: a snapshot has to come."""
        return self._feed.forgot(self.position)

    def restart(self) -> None:
        """Goes on from now, after a snapshot that begins now."""
        self.position = self._feed.change
        self._feed.sleeps(self)

    def take(self, limit: int = 1_000) -> list[Key]:
        """Keys that changed since the position, oldest change first; moves the position behind them."""
        keys, self.position = self._feed.since(self.position, limit)
        if self.position >= self._feed.change:
            self._feed.sleeps(self)
        return keys

    def close(self) -> None:
        """Stops listening."""
        self._feed.remove(self)


class Feed:
    """Changes by key.

    Args:
        cursor_epoch: tells this process's cursors from those of others.
        limit: keys remembered.
    """

    def __init__(self, cursor_epoch: str, limit: int = 100_000) -> None:
        self._cursor_epoch = cursor_epoch
        self._limit = limit
        self._changes: OrderedDict[Key, int] = OrderedDict()
        self._forgotten = 0
        self._listeners: dict[Subscription, None] = {}
        self._asleep: dict[Subscription, None] = {}
        """Those to be woken by the next change; who is awake looks by itself, so that a change costs one look."""
        self.change = 0

    def note(self, key: Key) -> None:
        """Something changed. Costs nothing while nobody listens."""
        self.change += 1
        if not self._listeners:
            self._changes.clear()
            self._forgotten = self.change
            return
        self._changes[key] = self.change
        self._changes.move_to_end(key)
        if len(self._changes) > self._limit:
            _key, self._forgotten = self._changes.popitem(last=False)
        if self._asleep:
            for listener in self._asleep:
                listener.wake.set()
            self._asleep.clear()

    def sleeps(self, subscription: Subscription) -> None:
        """A listener has seen all there is, and waits for more."""
        subscription.wake.clear()
        self._asleep[subscription] = None

    def subscribe(self, cursor: str) -> tuple[Subscription, bool]:
        """A listener from a cursor, and whether the cursor was known; if not, a snapshot has to come first."""
        epoch, _, number = cursor.rpartition(".")
        known = epoch == self._cursor_epoch and number.isdigit() and self._forgotten <= int(number) <= self.change
        subscription = Subscription(self, int(number) if known else self.change)
        self._listeners[subscription] = None
        if known and subscription.position < self.change:
            subscription.wake.set()
        else:
            self.sleeps(subscription)
        return subscription, known

    def cursor(self, subscription: Subscription) -> str:
        """The cursor of a listener's position."""
        return f"{self._cursor_epoch}.{subscription.position}"

    def since(self, position: int, limit: int) -> tuple[list[Key], int]:
        """At most `limit` keys that changed after the position, and the position behind them."""
        found: list[tuple[int, Key]] = []
        for key, change in reversed(self._changes.items()):
            if change <= position:
                break
            found.append((change, key))
        found.reverse()
        taken = found[:limit]
        end = taken[-1][0] if len(taken) < len(found) else self.change
        return [key for _change, key in taken], end

    def forgot(self, position: int) -> bool:
        """Whether changes after the position are no longer remembered."""
        return position < self._forgotten

    def remove(self, subscription: Subscription) -> None:
        """Forgets a listener."""
        del self._listeners[subscription]
        self._asleep.pop(subscription, None)
