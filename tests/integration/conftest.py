"""One server for each module, a client for each test, and raw stubs where the SDK would be too polite."""

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from holdfast import Client
from holdfast.testing.processes import ServerProcess
from tests.integration.raw import Stubs, open_channel


@pytest.fixture(scope="module")
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """The server of the module; `SERVER_ARGUMENTS` in the module adds to its command line."""
    arguments = tuple(getattr(request.module, "SERVER_ARGUMENTS", ()))
    folder = tmp_path_factory.mktemp("server")
    with ServerProcess(folder / "holdfast.db", arguments=arguments, log=folder / "server.log") as process:
        yield process
        text = process.log.read_text(encoding="utf-8")
        assert "Traceback" not in text, f"the server ran into a fault of its own:\n{text[-6_000:]}"


@pytest_asyncio.fixture
async def client(server: ServerProcess) -> AsyncIterator[Client]:
    """A client of the module's server; acts as `ann`."""
    async with Client(server.target, actor="ann") as made:
        yield made


@pytest_asyncio.fixture
async def stubs(server: ServerProcess) -> AsyncIterator[Stubs]:
    """The bare services of the module's server."""
    channel = open_channel(server.target)
    try:
        yield Stubs(channel)
    finally:
        await channel.close()
