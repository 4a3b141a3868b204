"""A year of sleeps, deadlines, backoffs and gates: everything at its very time, and nothing waited for."""

import asyncio
import random
from datetime import UTC, timedelta

import pytest

from holdfast import Client, Failure, RunFailedError, TaskContext, Worker, handler
from holdfast.errors import ResultTimeoutError, RunTimedOutError
from holdfast.v1.run_pb2 import RunState
from holdfast_server.testing import LocalServer
from tests.kit.world import START, lines, passed, times_of

DAY = timedelta(days=1)
HOUR = timedelta(hours=1)

YEAR = """
name: year
signals: [{name: paid}]
steps:
  - {name: winter, sleep: {for: 90d}}
  - name: report
    after: [{step: winter}]
    task: {handler: report}
    retry: {max_attempts: 4, initial_interval: 1h, max_interval: 24h, jitter: 0}
  - name: review
    after: [{step: report}]
    gate:
      title: "Publish ${steps.report.output}?"
      deadline: 30d
      on_deadline: ESCALATE
      escalation: {approvers: {principals: [eve]}, deadline: 10d}
  - name: summer
    after: [{step: review, on: FAILED}]
    sleep: {until: "2026-09-01T00:00:00Z"}
  - name: payment
    after: [{step: summer}]
    wait: {signal: paid, timeout: 60d}
  - name: remind
    after: [{step: payment, on: FAILED}]
    task: {handler: report}
  - {name: rest, after: [{step: remind}], sleep: {for: 62d}}
output: "${steps.remind.output}"
"""


@handler
async def report(ctx: TaskContext) -> str:
    if ctx.step_path == "report" and ctx.attempt < 4:
        raise Failure("the numbers are not there yet", type="NotYet")
    return f"attempt {ctx.attempt}"


@pytest.mark.asyncio
async def test_a_year_passes_while_its_end_is_awaited() -> None:
    async with LocalServer(start=START) as server, Worker(server.client, handlers=[report]):
        await server.client.register(YEAR)
        handle = await server.client.start("year")
        assert await handle.result() == "attempt 1"

        assert await lines(handle) == [
            "0:00:00 run_started",
            "0:00:00 timer_started winter",
            "90 days, 0:00:00 timer_fired winter",
            "90 days, 0:00:00 step_succeeded winter",
            "90 days, 0:00:00 step_queued report",
            "90 days, 0:00:00 step_started report",
            "90 days, 0:00:00 step_attempt_failed report",
            "90 days, 1:00:00 step_queued report",
            "90 days, 1:00:00 step_started report",
            "90 days, 1:00:00 step_attempt_failed report",
            "90 days, 3:00:00 step_queued report",
            "90 days, 3:00:00 step_started report",
            "90 days, 3:00:00 step_attempt_failed report",
            "90 days, 7:00:00 step_queued report",
            "90 days, 7:00:00 step_started report",
            "90 days, 7:00:00 step_succeeded report",
            "90 days, 7:00:00 gate_opened review",
            "120 days, 7:00:00 gate_revised review",
            "130 days, 7:00:00 gate_resolved review",
            "130 days, 7:00:00 step_failed review",
            "130 days, 7:00:00 timer_started summer",
            "243 days, 0:00:00 timer_fired summer",
            "243 days, 0:00:00 step_succeeded summer",
            "243 days, 0:00:00 wait_opened payment",
            "303 days, 0:00:00 step_failed payment",
            "303 days, 0:00:00 step_queued remind",
            "303 days, 0:00:00 step_started remind",
            "303 days, 0:00:00 step_succeeded remind",
            "303 days, 0:00:00 timer_started rest",
            "365 days, 0:00:00 timer_fired rest",
            "365 days, 0:00:00 step_succeeded rest",
            "365 days, 0:00:00 run_succeeded",
        ]
        assert passed(server) == 365 * DAY


@pytest.mark.asyncio
async def test_people_and_programs_act_in_the_middle_of_it() -> None:
    async with LocalServer(start=START, actor="ann") as server, Worker(server.client, handlers=[report]):
        client = server.client
        await client.register(YEAR.replace("{step: review, on: FAILED}", "{step: review}"))
        handle = await client.start("year")

        await server.skip(days=100)
        await client.gates.approve(await client.gates.get(handle.run_id))
        await server.skip(days=150)
        await handle.signal("paid")
        await server.settled()

        assert (await handle.get()).summary.state == RunState.RUN_STATE_SUCCEEDED
        assert await times_of(handle, "gate_resolved") == [100 * DAY]
        assert await times_of(handle, "wait_matched") == [250 * DAY]
        assert passed(server) == 250 * DAY


LIMITED = """
name: limited
timeout: 48h
steps:
  - {name: a, sleep: {for: 10d}}
"""


@pytest.mark.asyncio
async def test_a_delayed_start_and_the_timeout_of_a_run() -> None:
    async with LocalServer(start=START) as server:
        await server.client.register(LIMITED)
        await server.skip(days=20)
        handle = await server.client.start("limited", start_after=5 * DAY)
        with pytest.raises(RunTimedOutError):
            await handle.result()

        assert await times_of(handle, "timer_started") == [25 * DAY]
        assert await times_of(handle, "run_timed_out") == [27 * DAY]
        assert passed(server) == 27 * DAY


STUBBORN = """
name: stubborn
steps:
  - name: a
    task: {handler: never}
    retry: {max_attempts: 1000, initial_interval: 1h, max_interval: 1h, jitter: 0}
    timeouts: {schedule_to_close: 7d}
"""


@pytest.mark.asyncio
async def test_schedule_to_close_ends_a_week_of_attempts() -> None:
    @handler
    async def never() -> None:
        raise Failure("no", type="No")

    async with LocalServer(start=START) as server, Worker(server.client, handlers=[never]):
        await server.client.register(STUBBORN)
        handle = await server.client.start("stubborn")
        with pytest.raises(RunFailedError) as failed:
            await handle.result()

        assert failed.value.failure_type == "No"
        # An attempt after the 167th hour would not be over within the week.
        assert await times_of(handle, "step_attempt_failed") == [HOUR * number for number in range(167)]
        assert await times_of(handle, "step_failed") == [HOUR * 167]


# -- what lets time pass, and what does not ----------------------------------------------------------------------------

SLEEPS = """
name: sleeps
steps:
  - {name: a, sleep: {until: "${input}"}}
"""


@pytest.mark.asyncio
async def test_time_passes_to_the_end_of_what_is_awaited_and_no_further() -> None:
    async with LocalServer(start=START) as server:
        client = server.client
        await client.register(SLEEPS)
        long, short, middle = [await client.start("sleeps", f"{hours}h") for hours in (1000, 10, 500)]

        await short.result()
        assert passed(server) == 10 * HOUR
        await asyncio.gather(short.result(), middle.result())
        assert passed(server) == 500 * HOUR
        assert await client.run("sleeps", "1h") is None
        assert passed(server) == 501 * HOUR
        await long.outcome()
        assert passed(server) == 1000 * HOUR


@pytest.mark.asyncio
async def test_time_stands_still_while_nobody_waits_and_after_somebody_gave_up() -> None:
    async with LocalServer(start=START) as server:
        client = server.client
        await client.register(SLEEPS)
        await client.register("name: asks\nsteps:\n  - {name: ask, gate: {title: ok}}\n")
        asks = await client.start("asks")
        with pytest.raises(ResultTimeoutError):
            await asks.result(timeout_s=0.05)

        sleeps = await client.start("sleeps", "1h")
        async with Client(server.target) as another:  # one that knows nothing of the clock
            with pytest.raises(ResultTimeoutError):
                await another.handle(sleeps.run_id).result(timeout_s=0.05)
        await server.settled()
        assert passed(server) == timedelta()
        assert server.next_due() == START + HOUR


@pytest.mark.asyncio
@pytest.mark.parametrize("how", ["off", "held"])
async def test_time_that_is_held_passes_only_by_skipping(how: str) -> None:
    async with LocalServer(start=START, auto_skip=how != "off") as server:
        await server.client.register(SLEEPS)
        handle = await server.client.start("sleeps", "2h")
        awaited = asyncio.ensure_future(handle.result())
        if how == "held":
            with server.held():
                assert await server.skip(hours=1) == START + HOUR
                assert not awaited.done()
        else:
            await server.skip(hours=1)
            assert not awaited.done()
            await server.skip(hours=1)
        await awaited
        assert passed(server) == 2 * HOUR


@pytest.mark.asyncio
async def test_runs_that_are_started_side_by_side_start_at_the_same_time() -> None:
    async with LocalServer(start=START) as server:
        client = server.client
        await client.register(SLEEPS)
        names = [f"run{number}" for number in range(1_500)]  # more than one message carries
        await asyncio.gather(*(client.run("sleeps", "1h", run_id=name) for name in names))

        assert {run.start_time.ToDatetime(UTC) async for run in client.runs.list()} == {START}
        assert passed(server) == HOUR


@pytest.mark.asyncio
async def test_somebody_may_decide_while_another_waits_for_the_end() -> None:
    gate = "name: asks\nsteps:\n  - {name: ask, gate: {title: ok, deadline: 1h, on_deadline: REJECT}}\n"
    async with LocalServer(start=START) as server:
        client = server.client
        await client.register(gate + 'output: "${steps.ask.output.resolution}"\n')
        with server.held():
            handle = await client.start("asks")
            awaited = asyncio.ensure_future(handle.result())
            await server.settled()
            await client.gates.approve(await client.gates.get(handle.run_id))
        assert await awaited == "APPROVED"
        assert await client.run("asks") == "REJECTED"
        assert passed(server) == HOUR


@pytest.mark.asyncio
async def test_one_timer_after_the_other() -> None:
    async with LocalServer(start=START) as server:
        client = server.client
        await client.register(SLEEPS)
        handles = [await client.start("sleeps", f"{hours}h") for hours in (3, 1, 2, 2)]
        seen = []
        while (time := await server.skip_to_next()) is not None:
            states = [(await handle.get()).summary.state for handle in handles]
            seen.append((time - START, states.count(RunState.RUN_STATE_SUCCEEDED)))

        assert seen == [(HOUR, 1), (2 * HOUR, 3), (3 * HOUR, 4)]
        assert server.next_due() is None
        assert passed(server) == 3 * HOUR


# -- that it is sound --------------------------------------------------------------------------------------------------


def _random_workflow(name: str, hours: list[int]) -> str:
    """Sleeps and tasks by turns; tasks of one turn run side by side."""
    text = f"name: {name}\nsteps:\n"
    after: list[str] = []
    for turn, pause in enumerate(hours):
        edges = ", ".join(f"{{step: {step}}}" for step in after)
        text += f"  - {{name: pause{turn}, after: [{edges}], sleep: {{for: {pause}h}}}}\n"
        after = [f"work{turn}_{number}" for number in range(1 + pause % 3)]
        for step in after:
            text += f"  - {{name: {step}, after: [{{step: pause{turn}}}], task: {{handler: work}}}}\n"
    return text


@pytest.mark.asyncio
async def test_no_time_passes_while_anything_is_left_to_do() -> None:
    chance = random.Random(7)  # noqa: S311 - the same again is what it is for
    plans = {f"plan{n}": [chance.randint(1, 2000) for _ in range(6)] for n in range(12)}

    @handler
    async def work(ctx: TaskContext) -> str:
        for _ in range(chance.randint(0, 4)):
            await asyncio.sleep(chance.choice([0, 0, 0.001, 0.004]))
        if ctx.attempt == 1 and chance.random() < 0.2:
            raise Failure("once more", type="Again", retry_after=0)
        return "x" * chance.choice([10, 20_000])  # the larger ones are read from the store

    async with (
        LocalServer(start=START) as server,
        Worker(server.client, handlers=[work], slots=3),
        Worker(server.client, handlers=[work], slots=5),
    ):
        for name, hours in plans.items():
            await server.client.register(_random_workflow(name, hours))
        handles = {name: await server.client.start(name) for name in plans for _ in range(3)}
        await asyncio.gather(*(handle.result() for handle in handles.values()))

        for name, handle in handles.items():
            due = timedelta()
            async for event in handle.history():
                if event.HasField("timer_fired"):
                    due += timedelta(hours=plans[name][int(event.timer_fired.path.removeprefix("pause"))])
                assert event.time.ToDatetime(UTC) - START == due


NAPS = """
name: naps
steps:
  - {name: first, sleep: {for: 1h}}
  - {name: second, after: [{step: first}], sleep: {for: 90d}}
  - {name: work, after: [{step: second}], task: {handler: work}}
"""


@pytest.mark.asyncio
async def test_runs_that_left_the_memory_come_back_at_their_times() -> None:
    @handler
    async def work() -> None: ...

    async with LocalServer(start=START, timeout_s=60, settings={"hot_runs": 100}) as server:
        client = server.client
        await client.register(NAPS)
        handles = [await client.start("naps") for _ in range(300)]
        await server.settled()
        assert (await client.operations.server_info()).hot_runs <= 100
        await server.skip(days=90, hours=1, despite_queued=True)
        skipped = asyncio.ensure_future(server.skip(days=1))
        assert [queue.queued async for queue in client.operations.queues()] == [300]
        assert not skipped.done()

        async with Worker(client, handlers=[work]):
            assert await skipped == START + 91 * DAY + HOUR
        for handle in handles:
            assert await times_of(handle, "timer_fired") == [HOUR, 90 * DAY + HOUR]
            assert await times_of(handle, "run_succeeded") == [90 * DAY + HOUR]


@pytest.mark.asyncio
async def test_a_test_sees_the_same_each_time() -> None:
    jitter = STUBBORN.replace("jitter: 0", "jitter: 0.5")

    @handler
    async def never() -> None:
        raise Failure("no", type="No")

    async def history(seed: int) -> list[str]:
        async with LocalServer(start=START, seed=seed) as server, Worker(server.client, handlers=[never]):
            await server.client.register(jitter)
            handle = await server.client.start("stubborn")
            await handle.outcome()
            return [*await lines(handle), str(server.now())]

    first, again, other = await history(1), await history(1), await history(2)
    assert first == again
    assert first != other
