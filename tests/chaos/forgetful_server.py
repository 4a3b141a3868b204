"""`python -m tests.chaos.forgetful_server …`: `holdfast`, which says that things are on disk before they are.

Its store acknowledges a commit at once and writes it a moment later. The battery has to find that out.
"""

import asyncio
from collections import deque
from typing import Any, cast

from holdfast.cli import main
from holdfast.testing.processes import ServerProcess
from holdfast_server import app
from holdfast_server.store.port import Commit, Store
from holdfast_server.store.sqlite import SqliteStore

__all__ = ["ForgetfulServer"]

LATE_S = 0.2


class ForgetfulServer(ServerProcess):
    """A server with such a store."""

    program = "tests.chaos.forgetful_server"


class ForgetfulStore:
    """A store that writes late; what it is asked for it writes before."""

    def __init__(self, inner: SqliteStore) -> None:
        self._inner = inner
        self._waiting: deque[Commit] = deque()
        self._writing = asyncio.Lock()

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._inner, name)
        if not asyncio.iscoroutinefunction(method):
            return method

        async def after_what_waits(*arguments: Any, **options: Any) -> Any:
            await self._write()
            return await method(*arguments, **options)

        return after_what_waits

    async def commit(self, commit: Commit) -> None:
        self._waiting.append(commit)
        asyncio.get_running_loop().call_later(LATE_S, lambda: asyncio.ensure_future(self._write()))

    async def _write(self) -> None:
        async with self._writing:
            while self._waiting:
                await self._inner.commit(self._waiting.popleft())


class _Forgetful(app.Server):
    def __init__(self, config: Any) -> None:
        super().__init__(config, cast("Store", ForgetfulStore(SqliteStore(config.database))))


if __name__ == "__main__":
    app.Server = _Forgetful  # type: ignore[misc,assignment]  # the command line makes one of these
    main()
