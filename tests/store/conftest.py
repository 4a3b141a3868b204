"""The stores that every test of the conformance suite runs against."""

import sqlite3
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from random import Random

import pytest
import pytest_asyncio

from holdfast_server.store.port import Store
from holdfast_server.store.sqlite import SqliteStore
from holdfast_server.store.sqlite.driver import Driver, describe
from tests.simulation.disk import Disk
from tests.simulation.store import SimulatedStore, Weather

OpenStore = Callable[[], Store]


def one_connection_driver() -> Driver:
    """Return the library of Python, used as if it were too old for several connections, which it often is."""
    found = describe(sqlite3)
    return Driver(found.module, found.version, several_connections=False, keeps_nul=found.keeps_nul)


def _file(folder: Path) -> Store:
    return SqliteStore(str(folder / "holdfast.db"))


def _memory(_folder: Path) -> Store:
    return SqliteStore(":memory:")


def _one_connection(folder: Path) -> Store:
    return SqliteStore(str(folder / "holdfast.db"), driver=one_connection_driver())


def _simulated(_folder: Path) -> Store:
    return SimulatedStore(Disk(), Weather(Random(0)), "the tests")  # noqa: S311 - how long calls take


LASTING = {"sqlite file": _file, "sqlite file, one connection": _one_connection}
ADAPTERS = {**LASTING, "sqlite memory": _memory, "simulated": _simulated}


@pytest_asyncio.fixture(params=ADAPTERS)
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    """An open, empty store of each kind."""
    store = ADAPTERS[request.param](tmp_path)
    await store.open()
    yield store
    await store.close()


@pytest.fixture(params=LASTING)
def lasting_store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """A store, not open yet, that keeps what it is given when it is closed."""
    return LASTING[request.param](tmp_path)
