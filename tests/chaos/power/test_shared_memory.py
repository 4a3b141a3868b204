"""The index of the log cannot be mapped: at the start, and when it grows under a long log."""

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from holdfast_server.store.port import Commit, HistoryRow, StoreError
from holdfast_server.store.sqlite import SqliteStore
from tests.chaos.power.driver import driver_over
from tests.chaos.power.vfs import TracingVfs
from tests.store.rows import new_run, started

pytestmark = [
    pytest.mark.asyncio,
    pytest.mark.skipif(sys.platform == "win32", reason="the system calls are those of POSIX"),
]

_MIB = 1024 * 1024
_MAP = ctypes.CFUNCTYPE(
    ctypes.c_ssize_t, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_ssize_t
)
_refuse = _MAP(lambda *_arguments: -1)


@contextmanager
def nothing_can_be_mapped(vfs: TracingVfs) -> Iterator[None]:
    """SQLite below this file system gets no memory from the system that it can share."""
    vfs.xSetSystemCall("mmap", ctypes.cast(_refuse, ctypes.c_void_p).value or 0)
    try:
        yield
    finally:
        vfs.xSetSystemCall("mmap", 0)  # back to its own


async def test_at_the_start(tmp_path: Path) -> None:
    with TracingVfs() as vfs:
        store = SqliteStore(str(tmp_path / "holdfast.db"), driver=driver_over(vfs.name))
        with nothing_can_be_mapped(vfs), pytest.raises(StoreError, match="the disk refused to read or write"):
            await store.open()
        await store.open()
        await store.commit(started(new_run(1)))
        await store.close()


async def test_under_a_long_log(tmp_path: Path) -> None:
    with TracingVfs() as vfs:
        store = SqliteStore(str(tmp_path / "holdfast.db"), driver=driver_over(vfs.name))
        await store.open()
        await store.commit(started(new_run(1)))
        failed: list[int] = []
        for seq in range(2, 40):
            row = HistoryRow(1, seq, 1, bytes(_MIB))
            with nothing_can_be_mapped(vfs):
                try:
                    await store.commit(Commit(history=[row]))
                    continue
                except StoreError:
                    failed.append(seq)
                    assert len(await store.history(1, seq - 2)) == 1
            await store.probe()
            await store.commit(Commit(history=[row]))
            break
        assert failed
        assert [row.first_seq for row in await store.history(1)] == list(range(1, failed[0] + 1))
        await store.close()
