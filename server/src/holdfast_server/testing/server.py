"""A server on `:memory:` in the process of a test, whose time stands still unless it is skipped."""

import asyncio
import random
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, AsyncExitStack
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, Self

from pydantic import ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from holdfast.client import Client
from holdfast.converter import Converter
from holdfast_server.app import Server
from holdfast_server.clock import Clocks
from holdfast_server.config import ServerConfig
from holdfast_server.store.sqlite import SqliteStore
from holdfast_server.testing.auto import AutoSkip
from holdfast_server.testing.client import LocalClient
from holdfast_server.testing.clock import SkippingClock
from holdfast_server.testing.errors import BackwardsError, NotAtRestError, SkipError
from holdfast_server.testing.rest import Rest

__all__ = ["LocalServer"]

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LATEST = datetime(9999, 12, 31, tzinfo=UTC)
"""Times on the wire end with that year."""
MICROSECOND = timedelta(microseconds=1)
FIXED = {"listen": "127.0.0.1:0", "database": ":memory:"}
"""Settings that make it a server for tests."""
HEARTBEAT_S = 0.1
"""Nobody wants to wait in a test until a handler hears that it has to stop."""


class LocalServer:
    """A real server for tests: real gRPC on a free port of the loopback, a real store in memory, for real workers.

        async with LocalServer() as server, Worker(server.client, handlers=[charge]):
            await server.client.register(subscription)
            handle = await server.client.start("subscription", {"plan": "monthly"})
            await server.skip(days=30)
            assert await handle.result() == "renewed"

    Its time stands still. It passes by `skip`, and by itself while somebody waits for the end of a run by `client` and
    nothing is left to do before the next thing is due. So what happens when is the same each time a test runs. Leases
    of workers are not touched by that: they go by the clock of this machine.

    It belongs to the event loop it is started in.
    """

    def __init__(
        self,
        *,
        start: datetime | None = None,
        auto_skip: bool = True,
        seed: int = 0,
        timeout_s: float = 10.0,
        settings: Mapping[str, Any] | None = None,
        actor: str | None = None,
        converter: Converter | None = None,
    ) -> None:
        """Describe a server; `async with` starts it, and stops it.

        Args:
            start: Its time when it starts, with time zone; None for the time of this machine, cut to the second.
            auto_skip: Whether time passes by itself while somebody waits for the end of a run.
            seed: Of the randomness in the waits between attempts.
            timeout_s: How long `settled` and `skip` wait for handlers and calls, in seconds of this machine's clock.
                When time stands still for so long although somebody waits for the end of a run, a warning says why.
            settings: Settings of the server, by the names that `holdfast server` has for them, all but `listen` and
                `database`. The environment is not looked at.
            actor: Who acts by `client`; None for the user of the operating system.
            converter: Turns values into payloads and back for `client`; None for JSON.

        Raises:
            SkipError: The time has no time zone or is out of range, or a setting is not one.
        """
        begin = datetime.now(UTC).replace(microsecond=0) if start is None else start
        self._config = _config(settings or {})
        self._entropy = random.Random(seed).random  # noqa: S311 - the same again is what it is for
        self._timeout_s = timeout_s
        self._client_options = (actor, converter)
        self._rest = Rest()
        self._clock = SkippingClock(_us(begin), self._rest.changed)
        self._auto = AutoSkip(self._rest, self._clock, on=auto_skip, still_s=timeout_s)
        self._skipping = asyncio.Lock()
        self._exits = AsyncExitStack()
        self._server: Server | None = None
        self._client: Client | None = None

    async def __aenter__(self) -> Self:
        if self._server is not None:
            raise SkipError("the server was started before; make a new one")
        clocks = Clocks(runs=self._clock, attempts=self._clock, workers=Clocks.system().workers)
        server = Server(self._config, SqliteStore(":memory:"), clocks, self._entropy, [self._rest.calls])
        await server.start()
        self._exits.push_async_callback(server.stop)
        self._server = server
        self._rest.attach(server.runtime, self._clock)
        auto = asyncio.get_running_loop().create_task(self._auto.run(server.runtime), name="holdfast-auto-skip")
        self._exits.push_async_callback(_end, auto)
        actor, converter = self._client_options
        self._client = self.new_client(actor=actor, converter=converter)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client = None
        await self._exits.aclose()

    @property
    def client(self) -> Client:
        """A client of the server.

        Raises:
            SkipError: The server does not run.
        """
        if self._client is None:
            raise SkipError("the server does not run; start it with `async with`")
        return self._client

    @property
    def target(self) -> str:
        """Address of the server, `host:port`, for other clients and for workers in other processes.

        Raises:
            SkipError: The server does not run.
        """
        if self._server is None:
            raise SkipError("the server does not run; start it with `async with`")
        return f"127.0.0.1:{self._server.port}"

    def new_client(self, *, actor: str | None = None, converter: Converter | None = None) -> Client:
        """Return one more client, for example of another person; it is closed with the server.

        Args:
            actor: Who acts; None for the user of the operating system.
            converter: Turns values into payloads and back; None for JSON.

        Raises:
            SkipError: The server does not run.
        """
        client = LocalClient(
            self.target, self._auto, self._rest.calls, clock=self.now, actor=actor, converter=converter
        )
        self._exits.push_async_callback(client.close)
        return client

    # -- time --------------------------------------------------------------------------------------------------------

    def now(self) -> datetime:
        """Return the server's time, in UTC."""
        return _time(self._clock.now_us())

    def next_due(self) -> datetime | None:
        """Return when the next timer, or limit of an attempt, is due, in UTC; None if nothing is."""
        due_us = self._clock.next_us()
        return None if due_us is None else _time(due_us)

    async def settled(self, *, despite_running: bool = False, despite_queued: bool = False) -> None:
        """Wait until everything has happened that can happen without time passing.

        Args:
            despite_running: Do not wait for handlers that run.
            despite_queued: Do not wait for tasks that no worker has taken.

        Raises:
            NotAtRestError: Something still goes on after `timeout_s`; the error says what.
            SkipError: The server does not run.
        """
        _ = self.client
        despite = {"despite_running": despite_running, "despite_queued": despite_queued}
        try:
            async with asyncio.timeout(self._timeout_s):
                while not self._rest.reached(**despite):
                    await self._rest.change()
        except TimeoutError:
            raise NotAtRestError(self._rest.reasons(**despite), self._timeout_s) from None

    async def skip(
        self,
        duration: timedelta = timedelta(),
        *,
        days: float = 0,
        hours: float = 0,
        minutes: float = 0,
        seconds: float = 0,
        despite_running: bool = False,
        despite_queued: bool = False,
    ) -> datetime:
        """Let a length of time pass, as `skip_to` does, and return the server's time afterwards.

        Args:
            duration: How long; `days`, `hours`, `minutes` and `seconds` are added to it.
            days: Days.
            hours: Hours.
            minutes: Minutes.
            seconds: Seconds.
            despite_running: Do not wait for handlers that run; their attempts may reach their limits.
            despite_queued: Do not wait for tasks that no worker has taken.

        Raises:
            BackwardsError: The sum is negative.
            SkipError: The sum goes beyond the year 9999, or the server does not run.
            NotAtRestError: Something goes on for longer than `timeout_s`.
        """

        def until() -> datetime:
            try:
                return self.now() + duration + timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
            except (OverflowError, ValueError) as error:
                raise SkipError(f"time ends at {LATEST.isoformat()}; this is more than is left: {error}") from error

        return await self._pass(until, despite_running=despite_running, despite_queued=despite_queued)

    async def skip_to(self, time: datetime, *, despite_running: bool = False, despite_queued: bool = False) -> datetime:
        """Let time pass until it is `time`, and return the server's time afterwards.

        Whatever is due on the way happens at its time, and everything that follows from it, with the handlers this
        starts, before time passes on.

        Args:
            time: Until when, with time zone.
            despite_running: Do not wait for handlers that run; their attempts may reach their limits.
            despite_queued: Do not wait for tasks that no worker has taken.

        Raises:
            BackwardsError: That is before the server's time.
            SkipError: It has no time zone or is beyond the year 9999, or the server does not run.
            NotAtRestError: Something goes on for longer than `timeout_s`.
        """
        return await self._pass(lambda: time, despite_running=despite_running, despite_queued=despite_queued)

    async def skip_to_next(self) -> datetime | None:
        """Let time pass until the next thing is due, let happen what follows from it, and return the server's time.

        Returns:
            The server's time; None if nothing will ever be due, so that no time has passed.

        Raises:
            NotAtRestError: Something goes on for longer than `timeout_s`.
            SkipError: The server does not run.
        """
        async with self._skipping:
            with self._auto.held():
                await self.settled()
                due_us = self._clock.next_us()
                if due_us is None:
                    return None
                self._clock.move(due_us)
                await self.settled()
                return self.now()

    def held(self) -> AbstractContextManager[None]:
        """Keep time from passing by itself while a `with` block runs; `skip` still lets it pass."""
        return self._auto.held()

    async def _pass(self, until: Callable[[], datetime], *, despite_running: bool, despite_queued: bool) -> datetime:
        async with self._skipping:  # one after the other, so that none goes past what the other is waiting for
            time = until()
            to_us = _us(time)
            if to_us < self._clock.now_us():
                raise BackwardsError(self.now(), time)
            with self._auto.held():
                while True:
                    await self.settled(despite_running=despite_running, despite_queued=despite_queued)
                    due_us = self._clock.next_us()
                    if due_us is None or due_us > to_us:
                        break
                    self._clock.move(due_us)
                self._clock.move(to_us)
                return self.now()


class _Config(ServerConfig):
    """Settings that depend on nothing but what a test says."""

    @classmethod
    def settings_customise_sources(  # type: ignore[override]  # named as pydantic passes them
        cls, settings_cls: type[BaseSettings], init_settings: PydanticBaseSettingsSource, **_others: Any
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        del settings_cls
        return (init_settings,)


def _config(settings: Mapping[str, Any]) -> ServerConfig:
    fixed = sorted(FIXED.keys() & settings.keys())
    if fixed:
        raise SkipError(f"the setting {fixed[0]} of a server for tests is {FIXED[fixed[0]]!r}; leave it out")
    try:
        defaults = {"drain_s": 1.0} if "lease_s" in settings else {"drain_s": 1.0, "heartbeat_s": HEARTBEAT_S}
        return _Config(**{**defaults, **settings, **FIXED})
    except ValidationError as error:
        raise SkipError(f"a setting is not right: {error}") from error


def _us(time: datetime) -> int:
    if time.tzinfo is None:
        raise SkipError(f"{time.isoformat()} has no time zone; write for example datetime(..., tzinfo=UTC)")
    if not EPOCH <= time < LATEST:
        raise SkipError(f"{time.isoformat()} is not between {EPOCH.isoformat()} and {LATEST.isoformat()}")
    return (time - EPOCH) // MICROSECOND


def _time(time_us: int) -> datetime:
    return EPOCH + timedelta(microseconds=time_us)


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    try:
        await task
    except asyncio.CancelledError:
        if not task.cancelled():
            raise
