"""A server inside a test's own process, with a clock that skips time."""

from holdfast_server.testing.errors import BackwardsError, NotAtRestError, SkipError
from holdfast_server.testing.server import LocalServer

__all__ = ["BackwardsError", "LocalServer", "NotAtRestError", "SkipError"]
