"""A process that opens a store and does what it is told, for tests that kill it.

Run as `python -m tests.store.child DATABASE COMMAND`; it prints a line when it has got where the command leads.
"""

import asyncio
import signal
import sys

from holdfast_server.store.port import Commit, Deletion, HistoryRow, PayloadRow
from holdfast_server.store.sqlite import SqliteStore
from tests.store.rows import new_run, started, update


async def hold(store: SqliteStore) -> None:
    """Stay with the store open."""
    await store.open()
    say("open")
    await asyncio.Event().wait()


async def commit_and_die(store: SqliteStore) -> None:
    """Say what is durable, and die at once."""
    await store.open()
    await store.commit(started(*(new_run(key) for key in range(1, 101))))
    await store.commit(Commit(history=[HistoryRow(key, 2, 1, b"x" * 1000) for key in range(1, 101)]))
    say("100")
    signal.raise_signal(signal.SIGKILL)


async def commit_forever(store: SqliteStore) -> None:
    """Commit run after run, saying each that is durable."""
    await store.open()
    key = 0
    while True:
        key += 1
        await store.commit(started(new_run(key), new_run(key + 1_000_000)))
        say(str(key))


async def delete_forever(store: SqliteStore) -> None:
    """Delete run after run, saying each that is deleted for good."""
    await store.open()
    keys = range(1, 2_001)
    await store.commit(started(*(new_run(key) for key in keys)))
    payloads = [PayloadRow(number.to_bytes(32, "big"), b"x" * 9_000, key) for key in keys for number in (key, key // 5)]
    await store.commit(Commit(updates=[update(key) for key in keys], payloads=payloads))
    for key in keys:
        await store.delete_runs([Deletion(key, key)])
        say(str(key))
    await asyncio.Event().wait()


async def end_without_closing(store: SqliteStore) -> None:
    """Forget to close."""
    await store.open()
    await store.commit(started(new_run(1)))
    say("committed")


def say(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


COMMANDS = {
    "hold": hold,
    "commit-and-die": commit_and_die,
    "commit-forever": commit_forever,
    "delete-forever": delete_forever,
    "end-without-closing": end_without_closing,
}

if __name__ == "__main__":
    asyncio.run(COMMANDS[sys.argv[2]](SqliteStore(sys.argv[1])))
