"""Starting runs, waiting for them and acting on them, against a server in the same process."""

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest

from holdfast.client import Client, run_filter
from holdfast.errors import (
    ClientClosedError,
    ResultTimeoutError,
    RunCanceledError,
    RunClosedError,
    RunFailedError,
    RunNotFoundError,
    RunTerminatedError,
    RunTimedOutError,
    ServerError,
    UnavailableError,
    WorkflowNotFoundError,
)
from holdfast.v1 import run_service_pb2 as runs
from holdfast.v1.failure_pb2 import Failure
from holdfast.v1.payload_pb2 import Payload
from holdfast.v1.run_pb2 import Activation, RunState, RunSummary, WaitingReason
from holdfast.v1.step_action_pb2 import StepActionResponse
from tests.unit.sdk.fake import QUICK, Context, connected, refuse

SUCCEEDED = RunState.RUN_STATE_SUCCEEDED


@dataclass
class Report:
    title: str
    pages: int


@pytest.mark.asyncio
async def test_start_says_everything_it_was_told() -> None:
    async with connected(namespace="team", actor="ada") as (fake, client):
        handle = await client.start(
            "report",
            Report("Tides", 3),
            run_id="r1",
            key="order-1",
            on_conflict="USE_EXISTING",
            version=2,
            attributes={"team": "north", "size": 2**60},
            start_after=datetime(2030, 1, 2, tzinfo=UTC),
            timeout=timedelta(seconds=90),
            signals=[("approve", {"by": "bob"})],
            request_id="once",
        )
    start = fake.got("StartRuns")[0].starts[0]

    assert (handle.run_id, handle.started, handle.version) == ("r1", True, 1)
    assert fake.metadata["holdfast-actor"] == "ada"
    assert (start.namespace, start.workflow, start.version, start.key) == ("team", "report", 2, "order-1")
    assert start.on_conflict == runs.ON_CONFLICT_USE_EXISTING
    assert start.input.data == b'{"title":"Tides","pages":3}'
    assert {name: value.json for name, value in start.attributes.items()} == {
        "team": '"north"',
        "size": "1152921504606846976",
    }
    assert start.start_after_time.ToDatetime(UTC) == datetime(2030, 1, 2, tzinfo=UTC)
    assert start.timeout.seconds == 90
    assert [(signal.name, signal.payload.data) for signal in start.signals] == [("approve", b'{"by":"bob"}')]
    assert start.request_id == "once"


@pytest.mark.asyncio
async def test_a_delay_counts_from_the_clock_of_the_client() -> None:
    now = datetime(2030, 1, 2, tzinfo=UTC)
    async with connected(clock=lambda: now) as (fake, client):
        await client.start("report", start_after=timedelta(days=3))

    assert fake.got("StartRuns")[0].starts[0].start_after_time.ToDatetime(UTC) == datetime(2030, 1, 5, tzinfo=UTC)


@pytest.mark.asyncio
async def test_start_makes_a_request_id_and_leaves_null_input_out() -> None:
    async with connected() as (fake, client):
        await client.start("report")
        await client.start("report")
    first, second = (request.starts[0] for request in fake.got("StartRuns"))

    assert len(first.request_id) == 32
    assert first.request_id != second.request_id
    assert not first.HasField("input")


@pytest.mark.asyncio
async def test_a_time_without_zone_is_refused() -> None:
    async with connected() as (_, client):
        with pytest.raises(ValueError, match="no time zone"):
            await client.start("report", start_after=datetime(2030, 1, 1))  # noqa: DTZ001 - that is the fault


@pytest.mark.asyncio
async def test_starts_at_the_same_time_travel_together_and_fail_one_by_one() -> None:
    async with connected() as (fake, client):
        names = ["report"] * 50 + ["unknown"] + ["report"] * 50
        results = await asyncio.gather(*(client.start(name) for name in names), return_exceptions=True)

    assert [len(request.starts) for request in fake.got("StartRuns")] == [101]
    assert [number for number, result in enumerate(results) if isinstance(result, WorkflowNotFoundError)] == [50]
    assert sum(isinstance(result, Exception) for result in results) == 1


@pytest.mark.asyncio
async def test_what_comes_while_a_batch_is_under_way_forms_the_next() -> None:
    async with connected() as (fake, client):
        gate = asyncio.Event()

        async def slow(request: Any, context: Context) -> Any:
            await gate.wait()
            return runs.StartRunsResponse(
                results=[runs.StartRunResult(accepted=runs.StartRunResponse(run_id=s.workflow)) for s in request.starts]
            )

        fake.answers["StartRuns"] = slow
        first = asyncio.create_task(client.start("a"))
        await fake.until(lambda: len(fake.got("StartRuns")) == 1)
        others = [asyncio.create_task(client.start(name)) for name in "bcd"]
        await asyncio.sleep(0)
        gate.set()
        handles = await asyncio.gather(first, *others)

    assert [handle.run_id for handle in handles] == ["a", "b", "c", "d"]
    assert [len(request.starts) for request in fake.got("StartRuns")] == [1, 3]


@pytest.mark.asyncio
async def test_a_change_is_repeated_with_the_same_request_id_while_the_server_is_away() -> None:
    async with connected() as (fake, client):
        tries = 0

        async def flaky(request: Any, context: Context) -> Any:
            nonlocal tries
            tries += 1
            if tries < 3:
                await refuse(context, grpc.StatusCode.UNAVAILABLE, "away")
            return runs.PauseRunResponse(run=RunSummary(run_id=request.run_id))

        fake.answers["PauseRun"] = flaky
        summary = await client.handle("r1").pause("lunch")
    requests = fake.got("PauseRun")

    assert summary.run_id == "r1"
    assert len(requests) == 3
    assert len({request.request_id for request in requests}) == 1
    assert requests[0].note == "lunch"


@pytest.mark.asyncio
async def test_a_refusal_is_not_repeated_and_is_typed() -> None:
    async with connected() as (fake, client):

        async def closed(request: Any, context: Context) -> None:
            code = grpc.StatusCode.FAILED_PRECONDITION
            await refuse(context, code, "run r1 is SUCCEEDED", "RUN_CLOSED", {"state": "SUCCEEDED"}, {"run_id": "no"})

        fake.answers["CancelRun"] = closed
        with pytest.raises(RunClosedError) as caught:
            await client.handle("r1").cancel("stop")

    assert len(fake.got("CancelRun")) == 1
    assert caught.value.metadata == {"state": "SUCCEEDED"}
    assert str(caught.value) == "RUN_CLOSED: run r1 is SUCCEEDED\n  run_id: no"


@pytest.mark.asyncio
async def test_no_server_is_a_typed_error_that_says_what_to_do() -> None:
    seen: list[tuple[bool, str]] = []
    # Port 9 of the loopback: nothing listens there.
    async with Client("127.0.0.1:9", timeout_s=0.2, backoff=QUICK, on_connection=lambda *s: seen.append(s)) as client:
        with pytest.raises(UnavailableError, match=r"127\.0\.0\.1:9 .*holdfast server"):
            await client.start("report")

    assert [connected_ for connected_, _ in seen] == [False]


@pytest.mark.asyncio
async def test_results_come_over_one_stream_and_each_to_who_waits_for_it() -> None:
    async with connected() as (fake, client):
        waits = [asyncio.create_task(client.handle(f"r{n}").result(int)) for n in range(200)]
        await fake.until(lambda: sum(len(request.run_ids) for request in fake.got("WaitRuns")) == 200)
        for n in reversed(range(200)):
            await fake.close_run(f"r{n}", SUCCEEDED, output=Payload(data=str(n).encode()))
        assert await asyncio.gather(*waits) == list(range(200))

    assert fake.streams == 1


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("code", "said"),
    [
        (grpc.StatusCode.UNAVAILABLE, "restart"),
        (grpc.StatusCode.INTERNAL, "Internal error from Core"),  # a write met a connection that had just broken
    ],
)
async def test_result_outlives_the_loss_of_the_stream(code: grpc.StatusCode, said: str) -> None:
    async with connected() as (fake, client):
        lost = asyncio.Event()

        async def break_once(requests: Any, context: Context) -> None:
            if fake.streams == 1:
                await fake.record("WaitRuns", await anext(aiter(requests)), context)
                lost.set()
                await context.abort(code, said)

        fake.answers["WaitRuns"] = break_once
        wait = asyncio.create_task(client.handle("r1").result())
        await lost.wait()
        await fake.close_run("r1", SUCCEEDED, output=Payload(data=b"{}"))
        assert await wait == {}

    assert [list(request.run_ids) for request in fake.got("WaitRuns")] == [["r1"], ["r1"]]


@pytest.mark.asyncio
async def test_result_asks_run_by_run_where_the_server_has_no_stream() -> None:
    async with connected() as (fake, client):

        async def unknown(requests: Any, context: Context) -> None:
            await context.abort(grpc.StatusCode.UNIMPLEMENTED, "no such method")

        fake.answers["WaitRuns"] = unknown
        waits = [asyncio.create_task(client.handle(run_id).result()) for run_id in ("a", "b")]
        await fake.until(lambda: len(fake.got("WaitRun")) == 2)
        await fake.close_run("a", SUCCEEDED, output=Payload(data=b"1"))
        await fake.close_run("b", SUCCEEDED, output=Payload(data=b"2"))
        assert await asyncio.gather(*waits) == [1, 2]


@pytest.mark.asyncio
async def test_result_of_a_missing_run_fails_for_it_alone() -> None:
    async with connected() as (fake, client):
        other = asyncio.create_task(client.handle("r1").result())
        with pytest.raises(RunNotFoundError):
            await client.handle("missing").result()
        await fake.close_run("r1", SUCCEEDED, output=Payload(data=b"7"))
        assert await other == 7


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("state", "error", "text"),
    [
        (RunState.RUN_STATE_FAILED, RunFailedError, "run r1 failed at step plan: Boom: no luck"),
        (RunState.RUN_STATE_CANCELED, RunCanceledError, "run r1 was cancelled"),
        (RunState.RUN_STATE_TERMINATED, RunTerminatedError, "run r1 was terminated"),
        (RunState.RUN_STATE_TIMED_OUT, RunTimedOutError, "run r1 timed out"),
    ],
)
async def test_every_other_ending_is_its_own_error(state: Any, error: Any, text: str) -> None:
    async with connected() as (fake, client):
        failure = {"failure": Failure(type="Boom", message="no luck", step_path="plan")}
        await fake.close_run("r1", state, **(failure if error is RunFailedError else {}))
        with pytest.raises(error, match=f"^{text}$"):
            await client.handle("r1").result()


@pytest.mark.asyncio
async def test_result_within_a_time_leaves_the_run_alone_and_can_be_asked_again() -> None:
    async with connected() as (fake, client):
        with pytest.raises(ResultTimeoutError, match="still open"):
            await client.handle("r1").result(timeout_s=0.01)
        wait = asyncio.create_task(client.handle("r1").result())
        await asyncio.sleep(0)
        await fake.close_run("r1", SUCCEEDED, output=Payload(data=b"1"))
        assert await wait == 1


@pytest.mark.asyncio
async def test_output_is_read_as_the_asked_for_type() -> None:
    async with connected() as (fake, client):
        await fake.close_run("run-0", SUCCEEDED, output=Payload(data=b'{"title": "Tides", "pages": 3}'))
        assert await client.run("report", result_type=Report) == Report("Tides", 3)


@pytest.mark.asyncio
async def test_closing_the_client_ends_who_waits() -> None:
    async with connected() as (fake, client):
        wait = asyncio.create_task(client.handle("r1").result())
        parked = asyncio.Event()

        async def park(request: Any, context: Context) -> None:
            parked.set()
            await asyncio.Event().wait()

        fake.answers["StartRuns"] = fake.answers["GetRun"] = park
        start = asyncio.create_task(client.start("report"))
        get = asyncio.create_task(client.handle("r1").get())
        await fake.until(lambda: len(fake.got("GetRun")) + len(fake.got("StartRuns")) + len(fake.got("WaitRuns")) == 3)
        await client.close()
        results = await asyncio.gather(wait, start, get, return_exceptions=True)
        with pytest.raises(ClientClosedError):
            await client.start("report")

    assert [type(result) for result in results] == [ClientClosedError] * 3


@pytest.mark.asyncio
async def test_watch_resumes_by_sequence_number() -> None:
    async with connected() as (fake, client):
        seqs = [event.seq async for event in client.handle("r1").watch()]

    assert seqs == [1, 2, 3, 4, 5, 6]
    assert [request.after_seq for request in fake.got("WatchRun")] == [0, 3]


@pytest.mark.asyncio
async def test_watching_runs_resumes_by_cursor() -> None:
    async with connected() as (fake, client):
        cursors = []
        async for message in client.runs.watch(run_filter(workflow="report")):
            cursors.append((message.cursor, message.reset))
            if len(cursors) == 3:
                break

    assert cursors == [("1", True), ("2", False), ("3", False)]
    assert [request.cursor for request in fake.got("WatchRuns")] == ["", "1", "2"]


@pytest.mark.asyncio
async def test_history_and_lists_ask_for_pages_as_needed() -> None:
    async with connected() as (fake, client):
        seqs = [event.seq async for event in client.handle("r1").history(page_size=2)]
        filter_ = run_filter(states=["running", RunState.RUN_STATE_PAUSED], waiting=["GATE"])
        listed = [run.run_id async for run in client.runs.list(filter_, limit=5, page_size=3)]

    assert seqs == [1, 2, 3]
    assert len(listed) == 5
    assert [request.page_size for request in fake.got("ListRuns")] == [3, 2]
    assert fake.got("ListRuns")[1].page_token == "more"
    assert fake.got("ListRuns")[0].filter.states == [RunState.RUN_STATE_RUNNING, RunState.RUN_STATE_PAUSED]
    assert fake.got("ListRuns")[0].filter.waiting_reasons == [WaitingReason.WAITING_REASON_GATE]


def test_an_unknown_state_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"'DONE' is none of RUNNING, PAUSED, SUCCEEDED"):
        run_filter(states=["DONE"])


@pytest.mark.asyncio
async def test_signals_coalesce_and_queries_decode() -> None:
    async with connected() as (fake, client):

        async def answer(request: Any, context: Context) -> Any:
            return runs.QueryRunResponse(result=Payload(data=b"3" if request.name else b'{"n":9007199254740993}'))

        fake.answers["QueryRun"] = answer
        handle = client.handle("r1")
        assert list(await asyncio.gather(handle.signal("go", 1), handle.signal("go"))) == [1, 2]
        assert await handle.query("progress", int) == 3
        assert await handle.query_expression("steps.a.output") == {"n": 2**53 + 1}

    assert [len(request.signals) for request in fake.got("SignalRuns")] == [2]


@pytest.mark.asyncio
async def test_every_operation_sends_its_text_and_a_request_id() -> None:
    async with connected() as (fake, client):
        handle = client.handle("r1")
        await handle.resume("back")
        await handle.terminate("enough")
        await handle.retry("again")
        assert await handle.delete() == datetime(1970, 1, 1, tzinfo=UTC)
        fake.answers["GetRun"] = lambda _, context: refuse(context, grpc.StatusCode.INTERNAL, "oh", "INTERNAL")
        with pytest.raises(ServerError):
            await handle.get()
    rpcs = ("ResumeRun", "TerminateRun", "RetryRun", "DeleteRun")
    resume, terminate, retry, delete = (fake.got(rpc)[0] for rpc in rpcs)

    assert (resume.note, terminate.reason, retry.note) == ("back", "enough", "again")
    assert all(len(request.request_id) == 32 for request in (resume, terminate, retry, delete))
    assert (delete.namespace, delete.run_id) == ("default", "r1")


@pytest.mark.asyncio
async def test_actions_on_steps_send_what_and_why_and_give_the_step_back() -> None:
    async def acted(request: Any, _: Context) -> StepActionResponse:
        return StepActionResponse(activation=Activation(path=request.step_path))

    async with connected() as (fake, client):
        fake.answers["StepAction"] = acted
        handle = client.handle("r1")
        done = [
            await handle.retry_step("a", "now"),
            await handle.skip_step("b", {"n": 1}, request_id="once"),
            await handle.skip_step("b"),
            await handle.fail_step("c", "it is down", "Provider.Down", "ticket 7"),
        ]
    retry, skip, nothing, fail = fake.got("StepAction")

    assert [one.path for one in done] == ["a", "b", "b", "c"]
    assert (retry.run_id, retry.step_path, retry.note, retry.WhichOneof("action")) == ("r1", "a", "now", "retry")
    assert (skip.skip.output.data, skip.request_id) == (b'{"n":1}', "once")
    assert (nothing.WhichOneof("action"), nothing.skip.HasField("output")) == ("skip", False)
    assert (fail.fail.type, fail.fail.message, fail.note) == ("Provider.Down", "it is down", "ticket 7")
    assert len({retry.request_id, nothing.request_id, fail.request_id}) == 3
