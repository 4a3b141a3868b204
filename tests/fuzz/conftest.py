"""The server, client and stubs of the integration tests."""

from tests.integration.conftest import client, server, stubs

__all__ = ["client", "server", "stubs"]
