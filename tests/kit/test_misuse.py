"""What a local server refuses, with errors that say why; and what it stands next to: the environment, other servers."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta, timezone

import pytest

from holdfast import RunFailedError, TaskContext, Worker, handler
from holdfast.errors import ClientClosedError, HoldfastError
from holdfast_server.testing import BackwardsError, LocalServer, NotAtRestError, SkipError
from tests.kit.world import START, passed

SLEEPS = "name: sleeps\nsteps:\n  - {name: a, sleep: {for: 1h}}\n"
WORKS = "name: works\nsteps:\n  - {name: a, task: {handler: work}, retry: {max_attempts: 1}}\n"


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "back",
    [
        lambda server: server.skip(timedelta(microseconds=-1)),
        lambda server: server.skip(days=1, hours=-25),
        lambda server: server.skip_to(START - timedelta(days=1)),
    ],
)
async def test_time_does_not_go_back(back: Callable[[LocalServer], Awaitable[datetime]]) -> None:
    async with LocalServer(start=START) as server:
        with pytest.raises(BackwardsError, match="does not go back") as refused:
            await back(server)
        assert refused.value.now == START
        assert refused.value.to < START
        assert passed(server) == timedelta()
        await server.skip_to(START)


@pytest.mark.asyncio
async def test_times_that_mean_nothing_are_refused() -> None:
    async with LocalServer(start=START) as server:
        with pytest.raises(SkipError, match="has no time zone"):
            await server.skip_to(datetime(2027, 1, 1))  # noqa: DTZ001 - that is the fault
        with pytest.raises(SkipError, match="9999"):
            await server.skip(days=8_000 * 366)
        with pytest.raises(SkipError, match="9999"):
            await server.skip(timedelta.max)
        assert passed(server) == timedelta()
        elsewhere = timezone(timedelta(hours=9))
        assert await server.skip_to(datetime(2026, 1, 1, 10, tzinfo=elsewhere)) == START + timedelta(hours=1)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"start": datetime(2027, 1, 1)}, "no time zone"),  # noqa: DTZ001 - that is the fault
        ({"start": datetime(1969, 1, 1, tzinfo=START.tzinfo)}, "is not between"),
        ({"settings": {"lease_s": -1}}, "lease_s"),
        ({"settings": {"colour": "red"}}, "colour"),
        ({"settings": {"listen": "0.0.0.0:1"}}, "leave it out"),
        ({"settings": {"database": "a.db"}}, "leave it out"),
    ],
)
def test_a_server_that_cannot_be_is_refused(options: dict[str, object], why: str) -> None:
    with pytest.raises(SkipError, match=why):
        LocalServer(**options)  # type: ignore[arg-type]


@pytest.mark.asyncio
async def test_a_server_that_does_not_run_says_so() -> None:
    server = LocalServer(start=START)
    for use in (server.settled, server.skip_to_next, lambda: server.skip(days=1)):
        with pytest.raises(SkipError, match="does not run"):
            await use()
    for name in ("client", "target"):
        with pytest.raises(SkipError, match="does not run"):
            getattr(server, name)
    async with server:
        client = server.client
    with pytest.raises(SkipError, match="does not run"):
        await server.skip(days=1)
    with pytest.raises(SkipError, match="make a new one"):
        await server.__aenter__()
    with pytest.raises(ClientClosedError):
        await client.start("sleeps")


@pytest.mark.asyncio
async def test_a_handler_that_skips_waits_for_itself_and_is_told() -> None:
    told: list[HoldfastError] = []
    async with LocalServer(start=START, timeout_s=0.1) as server:

        @handler
        async def work(_ctx: TaskContext) -> None:
            try:
                await server.skip(days=1)
            except NotAtRestError as fault:
                told.append(fault)
                raise

        async with Worker(server.client, handlers=[work]):
            await server.client.register(WORKS)
            with pytest.raises(RunFailedError):
                await server.client.run("works")

    assert "attempt 1 of step a of run" in str(told[0])


@pytest.mark.asyncio
async def test_several_servers_in_one_process_have_times_of_their_own() -> None:
    async with LocalServer(start=START) as first, LocalServer(start=START) as second:
        handles = []
        for server in (first, second):
            await server.client.register(SLEEPS)
            handles.append(await server.client.start("sleeps", run_id="same"))
        await first.skip(days=10)
        await handles[1].result()

        assert (passed(first), passed(second)) == (timedelta(days=10), timedelta(hours=1))


@pytest.mark.asyncio
async def test_skips_at_the_same_time_come_one_after_the_other() -> None:
    async with LocalServer(start=START) as server:
        await server.client.register(SLEEPS)
        await server.client.start("sleeps")
        await asyncio.gather(*(server.skip(hours=1) for _ in range(5)), server.skip_to_next())

        assert passed(server) == timedelta(hours=5)


@pytest.mark.asyncio
async def test_the_environment_is_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOLDFAST_LISTEN", "127.0.0.1:1")
    monkeypatch.setenv("HOLDFAST_DATABASE", "/nowhere/a.db")
    monkeypatch.setenv("HOLDFAST_PAYLOAD_BYTES", "1")
    async with LocalServer(start=START) as server:
        limits = (await server.client.operations.server_info()).limits
        assert {limit.name: limit.value for limit in limits}["payload_bytes"] == 4 * 1024 * 1024


@pytest.mark.asyncio
async def test_other_people_have_clients_of_their_own() -> None:
    asks = "name: asks\nsteps:\n  - {name: a, gate: {title: ok, approvers: {exclude_starter: true}, deadline: 1h}}\n"
    async with LocalServer(start=START, actor="ann") as server:
        bob = server.new_client(actor="bob")
        await server.client.register(asks)
        handle = await server.client.start("asks")
        await server.settled()
        await bob.gates.approve(await bob.gates.get(handle.run_id))
        await bob.handle(handle.run_id).result()

        assert passed(server) == timedelta()


class Heard(logging.Handler):
    """What is logged, for a test to wait for."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: asyncio.Queue[str] = asyncio.Queue()

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.put_nowait(record.getMessage())

    async def hears(self, text: str) -> None:
        while text not in await self.texts.get():
            pass


@pytest.mark.asyncio
async def test_whoever_waits_while_time_stands_still_is_told_why() -> None:
    asks = "name: asks\nsteps:\n  - {name: a, gate: {title: Publish?}}\n"
    heard = Heard()
    logging.getLogger("holdfast.testing").addHandler(heard)
    try:
        async with LocalServer(start=START, timeout_s=0.05) as server:
            await server.client.register(asks)
            await server.client.register(WORKS)
            asking, working = await server.client.start("asks"), await server.client.start("works")
            awaited = asyncio.ensure_future(asking.outcome())
            await heard.hears(f"attempt 1 of step a of run {working.run_id} waits, and no worker serves handler 'work'")
            await working.terminate()
            await heard.hears(f"nothing happens before somebody acts; run {asking.run_id} a: people decide: Publish?")
            await asking.terminate()
            await awaited
    finally:
        logging.getLogger("holdfast.testing").removeHandler(heard)
