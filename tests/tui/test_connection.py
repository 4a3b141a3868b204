"""How the connection stands, what is said about it, and that nothing is lost by it."""

import pytest

from holdfast.errors import NamespaceNotFoundError, UnavailableError
from holdfast.v1.operations_service_pb2 import GetServerInfoResponse, HealthState
from holdfast.v1.run_pb2 import RunState
from tests.tui.fake import FakeClient, seated, watching
from tests.tui.making import gate, summary


@pytest.mark.asyncio
async def test_before_the_first_answer_it_is_connecting() -> None:
    client = FakeClient()
    client.may_answer.clear()
    async with seated(client) as seat:
        await seat.sees("○ CONNECTING", "Connecting …")
        client.tell_all((gate(),))
        await seat.sees("● LIVE", "Publish this?")


@pytest.mark.asyncio
async def test_without_any_server_it_says_how_to_start_one() -> None:
    client = FakeClient()
    client.may_answer.clear()
    async with seated(client) as seat:
        await seat.sees("CONNECTING")
        client.lose("failed to connect to all addresses; last error: ipv4:127.0.0.1:7411: Connection refused (111)")
        await seat.sees("No server answers at fake:7411 (connection refused); trying again.")
        await seat.sees("Nothing is known yet: the server has not answered.", "terminal: holdfast server")


@pytest.mark.asyncio
async def test_a_half_told_snapshot_is_not_shown_and_not_live() -> None:
    client = FakeClient()
    client.tell_gates(gate("r1", title="First?"), reset=True, live=False)
    client.tell_runs(reset=True)
    async with seated(client) as seat:
        await seat.until(lambda: client.gate_stream.empty() and client.run_stream.empty())
        await seat.sees("CONNECTING")
        assert "First?" not in seat.text()
        client.tell_gates(gate("r2", title="Second?"))
        await seat.sees("● LIVE", "First?", "Second?", "Inbox  2")


@pytest.mark.asyncio
async def test_silence_is_shown_as_stale_with_its_age() -> None:
    async with watching(gate()) as seat:
        seat.client.may_answer.clear()
        seat.pass_time(9)
        await seat.sees("◐ STALE 9s", "No word from fake:7411 for 9s; what is shown may be old.")
        seat.pass_time(60)
        await seat.sees("STALE 1m09s")
        seat.client.tell_runs(summary())
        await seat.sees("● LIVE")


@pytest.mark.asyncio
async def test_a_lost_server_is_shown_with_how_long_and_the_lists_stay() -> None:
    async with watching(gate(title="Still here?")) as seat:
        seat.client.lose("ipv4:127.0.0.1:7411: Connection refused")
        seat.pass_time(12)
        await seat.sees("○ RECONNECTING 12s", "No server answers (connection refused).", "is 12s old; trying again.")
        await seat.sees("Still here?")


@pytest.mark.asyncio
async def test_a_server_that_is_back_is_live_once_both_streams_go_on_where_they_stood() -> None:
    async with watching(gate(), runs=(summary("r1"),)) as seat:
        client = seat.client
        client.tell_gates(cursor="e.17")
        client.tell_runs(cursor="e.18")
        await seat.until(lambda: client.run_stream.empty() and client.gate_stream.empty())
        client.lose("Socket closed")
        await seat.sees("RECONNECTING", "connection lost")
        client.find()
        await seat.until(lambda: len(client.cursors["gates"]) == len(client.cursors["runs"]) == 2)
        assert (client.cursors["gates"][-1], client.cursors["runs"][-1]) == ("e.17", "e.18")
        assert "RECONNECTING" in seat.text()  # not live by hearsay
        client.tell_gates(gate("r2", title="Opened meanwhile?"), cursor="e.19")
        assert "RECONNECTING" in seat.text()
        client.tell_runs(summary("r1", state=RunState.RUN_STATE_SUCCEEDED, closed_s=0), cursor="e.20")
        await seat.sees("● LIVE", "Opened meanwhile?", "Inbox  2", "SUCCEEDED")


@pytest.mark.asyncio
async def test_a_cursor_the_server_does_not_know_brings_a_snapshot_that_voids_what_was_there() -> None:
    async with watching(gate("r1", title="Gone?"), runs=(summary("r1"),)) as seat:
        await seat.sees("Gone?")
        seat.client.lose()
        seat.client.find()
        seat.client.tell_all((gate("r2", title="There?"),), (summary("r2"),))
        await seat.sees("● LIVE", "There?", "Inbox  1", "Runs  1")
        assert "Gone?" not in seat.line("Inbox") + seat.line("r2")


@pytest.mark.asyncio
async def test_a_refused_stream_says_why_and_is_tried_again() -> None:
    client = FakeClient(namespace="nope")
    fault = NamespaceNotFoundError("there is no namespace 'nope'", reason="NAMESPACE_NOT_FOUND", code="NOT_FOUND")
    client.gate_stream.put_nowait(fault)
    client.tell_runs(reset=True)
    async with seated(client) as seat:
        await seat.sees("○ REFUSED", "fake:7411 refuses: there is no namespace 'nope' (NAMESPACE_NOT_FOUND)")
        client.tell_gates(gate(), reset=True)
        await seat.sees("● LIVE", "Publish this?")
        assert len(client.cursors["gates"]) == 2


@pytest.mark.asyncio
async def test_a_server_that_cannot_write_is_told() -> None:
    client = FakeClient(
        info=GetServerInfoResponse(health=HealthState.HEALTH_STATE_READ_ONLY, health_message="no space left")
    )
    client.tell_all()
    async with seated(client) as seat:
        await seat.sees("● LIVE", "The server is READ_ONLY. no space left")


@pytest.mark.asyncio
async def test_a_server_that_does_not_say_how_it_is_does_not_end_the_screens() -> None:
    client = FakeClient(info=UnavailableError("gone"))
    client.tell_all((gate(),))
    async with seated(client) as seat:
        await seat.sees("● LIVE", "Publish this?")


@pytest.mark.asyncio
async def test_what_was_read_stays_while_the_server_is_away() -> None:
    async with watching(runs=(summary("r1"),)) as seat:
        await seat.press("2")
        await seat.reads("report v1")
        seat.client.runs.clear()
        seat.client.run = _unavailable
        seat.client.tell_runs(summary("r1", seq=2))
        await seat.until(seat.client.run_stream.empty)
        await seat.press("3")
        await seat.reads("report v1", "RUNNING")


async def _unavailable(_run_id: str) -> None:
    raise UnavailableError("no server answers")


@pytest.mark.asyncio
async def test_a_run_that_was_never_read_says_that_no_server_answers() -> None:
    client = FakeClient()
    client.run = _unavailable  # type: ignore[assignment]
    client.tell_all(runs=(summary("r1"),))
    async with seated(client) as seat:
        await seat.press("2")
        await seat.reads("No server answers; trying again.")


@pytest.mark.asyncio
async def test_leaving_closes_the_connection() -> None:
    async with watching() as seat:
        await seat.press("q")
        client = seat.client
    assert client.is_closed
