"""The two lists, what is selected, and the keys of the overview."""

import pytest

from holdfast.v1.definition_pb2 import Risk
from holdfast.v1.failure_pb2 import Failure
from holdfast.v1.run_pb2 import RunState, StepState, WaitingReason
from tests.tui.fake import FakeClient, seated, watching
from tests.tui.making import gate, json_payload, markdown, resolved, run, step, summary, waiting_on

MINUTE_S = 60
HOUR_S = 3600


@pytest.mark.asyncio
async def test_the_inbox_has_the_oldest_deadline_first_and_says_what_a_gate_is() -> None:
    gates = (
        gate("r1", title="No hurry"),
        gate("r2", title="Tomorrow", deadline_s=20 * HOUR_S),
        gate("r3", "deploy", title="Now", deadline_s=5 * MINUTE_S + 1, action="deploy", risk=Risk.RISK_HIGH),
    )
    async with watching(*gates) as seat:
        await seat.sees("Inbox  3", "No hurry")
        rows = [row for row in seat.text().splitlines() if any(t in row for t in ("No hurry", "Tomorrow", "Now "))]
        assert [row.split()[1 if "▌" in row else 0] for row in rows[:3]] == ["Now", "Tomorrow", "No"]
        assert rows[0].split()[1:] == ["Now", "deploy", "r3", "5m", "in", "5m", "HIGH"]


@pytest.mark.asyncio
async def test_runs_show_open_ones_first_each_with_its_state_in_words_and_what_it_waits_for() -> None:
    runs = (
        summary("done", state=RunState.RUN_STATE_SUCCEEDED, closed_s=-10),
        summary("broken", state=RunState.RUN_STATE_FAILED, closed_s=-20, message="the disk is full"),
        summary("stuck", waiting=WaitingReason.WAITING_REASON_NO_WORKER, message="a: no worker serves handler 'x'"),
    )
    async with watching(runs=runs) as seat:
        await seat.sees("Runs  3")
        listed = [row for row in seat.text().splitlines() if "report v1" in row][:3]
        assert [row.split("report v1")[0].strip(" ▌") for row in listed] == ["▶ RUNNING", "✔ SUCCEEDED", "✘ FAILED"]
        assert "NO_WORKER  a: no worker serves handler 'x'" in listed[0]
        assert "the disk is full" in listed[2]


@pytest.mark.asyncio
async def test_empty_lists_say_why_and_what_to_do_next() -> None:
    async with watching() as seat:
        await seat.sees("Nothing waits for a decision.", "tab")
        await seat.sees("No runs in namespace default yet.", "holdfast run start WORKFLOW")
        await seat.sees("Nothing is selected.")


@pytest.mark.asyncio
async def test_the_first_gate_is_selected_and_its_details_are_shown() -> None:
    shown = gate(
        title="Send it?", body=markdown("# Heading\n\nSome *words*."), action="send_mail", risk=Risk.RISK_MEDIUM,
        subject=json_payload({"to": "everybody"}), deadline_s=HOUR_S + 1,
    )  # fmt: skip
    async with watching(shown) as seat:
        await seat.reads("Send it?", "OPEN", "takes APPROVE, REJECT", "send_mail", "risk MEDIUM", "(in 1h), then FAIL")
        await seat.reads("anyone", "0 of 1 so far", "revision 1, hash", "Heading", "Some words.", '"to": "everybody"')


@pytest.mark.asyncio
async def test_arrows_move_the_selection_and_tab_goes_to_the_next_pane() -> None:
    runs = (summary("r1"), summary("r2", started_s=-HOUR_S))
    async with watching(gate("r1"), gate("r2", title="Second?"), runs=runs) as seat:
        await seat.reads("Publish this?")
        await seat.press("down")
        await seat.reads("Second?")
        await seat.press("tab")
        await seat.until(lambda: seat.overview.shown.key == "r1")
        await seat.press("j")
        await seat.until(lambda: seat.overview.shown.key == "r2")
        await seat.press("k", "tab")
        assert seat.overview.focused is seat.overview.query_one("#details")
        await seat.press("1")
        await seat.until(lambda: seat.overview.shown.key == ("r2", "review"))


@pytest.mark.asyncio
async def test_pages_and_ends_of_a_long_list_are_one_key_away() -> None:
    runs = tuple(summary(f"r{i:03}", started_s=-i) for i in range(200))
    async with watching(runs=runs) as seat:
        await seat.press("2", "end")
        await seat.until(lambda: seat.overview.shown.key == "r199")
        assert "r199" in seat.text()
        await seat.press("home", "pagedown")
        await seat.until(lambda: seat.overview.runs.cursor_key not in {"r000", "r199"})
        await seat.press("pageup")
        await seat.until(lambda: seat.overview.shown.key == "r000")


@pytest.mark.asyncio
async def test_a_click_selects_a_row_and_a_second_one_opens_it() -> None:
    async with watching(gate("r1"), gate("r2", title="Second?")) as seat:
        await seat.sees("Second?")
        await seat.pilot.click("#inbox", offset=(5, 3))
        await seat.until(lambda: seat.overview.shown.key == ("r2", "review"))
        await seat.pilot.click("#inbox", offset=(5, 3), times=2)
        await seat.until(lambda: seat.overview.has_class("-zoomed"))


@pytest.mark.asyncio
async def test_a_gate_somebody_else_resolves_stays_selected_until_the_cursor_moves() -> None:
    first, second = gate("r1", title="First?"), gate("r2", title="Second?")
    async with watching(first, second) as seat:
        await seat.reads("First?")
        seat.client.tell_gates(resolved(first, by="bob", comment="fine"))
        await seat.reads("APPROVED by bob", "fine")
        await seat.sees("Inbox  1")
        assert seat.overview.shown.key == ("r1", "review")
        await seat.press("a")  # nothing slid under the key
        await seat.until(lambda: seat.notes() == ["The gate is APPROVED by bob."])
        await seat.press("down")
        await seat.reads("Second?")


@pytest.mark.asyncio
async def test_a_gate_that_is_missing_after_a_new_snapshot_is_asked_for() -> None:
    first = gate("r1", title="First?")
    async with watching(first) as seat:
        await seat.reads("First?")
        seat.client.gates["r1", "review"] = resolved(first, by="carol")
        seat.client.tell_gates(reset=True)
        await seat.reads("APPROVED by carol")
        await seat.sees("Nothing waits for a decision.")


@pytest.mark.asyncio
async def test_the_cursor_stays_on_its_row_when_others_come_above_it() -> None:
    async with watching(gate("r1", title="Mine?")) as seat:
        await seat.reads("Mine?")
        seat.client.tell_gates(gate("r0", title="Earlier?", deadline_s=60))
        await seat.sees("Inbox  2")
        assert seat.line("Mine?").startswith("▌")
        assert seat.overview.shown.key == ("r1", "review")


@pytest.mark.asyncio
async def test_a_run_shows_its_steps_with_states_attempts_waits_and_failures() -> None:
    broken = Failure(type="RateLimited", message="429", cause=Failure(type="Http", message="too many"))
    of = summary("r1")
    client = FakeClient()
    client.runs["r1"] = run(
        of,
        step("plan"),
        step("fetch", StepState.STEP_STATE_BACKING_OFF, attempt=3, failure=broken),
        step("write", StepState.STEP_STATE_RUNNING, worker="w-7"),
        step("loop/draft", StepState.STEP_STATE_WAITING),
        step("send", StepState.STEP_STATE_PENDING, after=["write", "fetch"]),
        step("skip", StepState.STEP_STATE_SKIPPED, note="WHEN_FALSE"),
        waits=[
            waiting_on("fetch", WaitingReason.WAITING_REASON_BACKOFF, "attempt 3 failed; the next one is due", 30),
            waiting_on("loop/draft", WaitingReason.WAITING_REASON_SIGNAL, "waits for signal 'go'"),
            waiting_on("", WaitingReason.WAITING_REASON_PAUSED, "the run is paused"),
        ],
        input=json_payload({"n": 1}),
    )
    client.tell_all(runs=(of,))
    async with seated(client) as seat:
        await seat.press("2")
        await seat.reads("✔ plan", "12s", "↻ fetch", "BACKING_OFF", "attempt 3", "RateLimited: 429", "caused by Http")
        await seat.reads("↳ BACKOFF  attempt 3 failed", "(in 30s)", "▶ write", "worker w-7", "SIGNAL  waits for signal")
        await seat.reads("· send", "after write, fetch", "– skip", "WHEN_FALSE", "PAUSED  the run is paused", '"n": 1')


@pytest.mark.asyncio
async def test_a_run_is_asked_for_again_when_the_stream_says_that_it_changed() -> None:
    client = FakeClient()
    client.runs["r1"] = run(summary("r1"), step("plan", StepState.STEP_STATE_RUNNING))
    client.tell_all(runs=(summary("r1"),))
    async with seated(client) as seat:
        await seat.press("2")
        await seat.reads("▶ plan")
        done = summary("r1", state=RunState.RUN_STATE_SUCCEEDED, closed_s=0, seq=2)
        client.runs["r1"] = run(done, step("plan"), output=json_payload({"answer": 42}))
        client.tell_runs(done)
        await seat.reads("✔ plan", '"answer": 42', "closed")


@pytest.mark.asyncio
async def test_a_run_that_cannot_be_read_says_so_and_nothing_crashes() -> None:
    client = FakeClient()
    client.tell_all(runs=(summary("r1"),))
    async with seated(client) as seat:
        await seat.press("2")
        await seat.reads("RUN_NOT_FOUND: there is no run 'r1'")


@pytest.mark.asyncio
async def test_enter_gives_the_details_the_whole_screen_and_escape_takes_it_back() -> None:
    async with watching(gate(body=markdown("One line."))) as seat:
        await seat.press("enter")
        await seat.sees_no("Inbox", "Runs")
        await seat.sees("Publish this?", "One line.")
        await seat.press("escape")
        await seat.sees("Inbox", "Runs")
        await seat.press("z")
        await seat.sees_no("Inbox")
        await seat.press("z")
        await seat.sees("Inbox")


@pytest.mark.asyncio
async def test_m_shows_the_body_as_it_is_written() -> None:
    async with watching(gate(body=markdown("Some *words*."))) as seat:
        await seat.reads("Some words.")
        await seat.press("m")
        await seat.reads("Some *words*.")
        await seat.press("m")
        await seat.reads("Some words.")


@pytest.mark.asyncio
async def test_a_filter_narrows_both_lists_with_every_key_and_escape_clears_it() -> None:
    runs = (summary("alpha"), summary("beta", workflow="billing"))
    async with watching(gate("alpha", title="Alpha?"), gate("beta", title="Beta?"), runs=runs) as seat:
        await seat.sees("Inbox  2", "Runs  2")
        await seat.press("slash")
        await seat.type("BILL")
        await seat.sees("Inbox  0 of 2 with 'BILL'", "Runs  1 of 2 with 'BILL'", "Nothing of 2 matches 'BILL'.", "esc")
        await seat.press("enter")
        assert seat.overview.focused is not seat.overview.query_one("#filter")
        await seat.sees("Runs  1 of 2")
        await seat.press("escape")
        await seat.sees("Inbox  2", "Runs  2")
        await seat.press("slash", "up")
        await seat.sees("Runs  1 of 2 with 'BILL'")
        await seat.press("escape")
        await seat.sees("Runs  2")


@pytest.mark.asyncio
async def test_every_word_of_a_filter_has_to_occur() -> None:
    async with watching(gate("a1", title="Send the mail"), gate("b2", title="Send the parcel")) as seat:
        await seat.press("slash")
        await seat.type("send b2")
        await seat.sees("Inbox  1 of 2", "Send the parcel")


@pytest.mark.asyncio
async def test_a_frozen_view_stands_still_until_it_is_let_go() -> None:
    async with watching(gate("r1", title="First?")) as seat:
        await seat.reads("First?")
        await seat.press("full_stop")
        await seat.sees("FROZEN")
        seat.client.tell_gates(gate("r2", title="Second?"))
        await seat.until(lambda: seat.app.store.gates.get(("r2", "review")) is not None)
        seat.pass_time(HOUR_S)
        await seat.sees("STALE")
        assert "Second?" not in seat.text()
        assert "Inbox  1" in seat.text()
        await seat.press("full_stop")
        await seat.sees("Second?", "Inbox  2")
        await seat.sees_no("FROZEN")


@pytest.mark.asyncio
async def test_a_frozen_view_still_shows_what_is_selected() -> None:
    async with watching(gate("r1", title="First?"), gate("r2", title="Second?")) as seat:
        await seat.reads("First?")
        await seat.press("full_stop", "down")
        await seat.reads("Second?")


@pytest.mark.asyncio
async def test_ages_and_deadlines_follow_the_clock() -> None:
    async with watching(gate(opened_s=-5, deadline_s=30 * MINUTE_S)) as seat:
        await seat.until(lambda: seat.line("Publish this?").split()[-5:] == ["r1", "5s", "in", "30m", "–"])
        seat.pass_time(HOUR_S)
        await seat.until(lambda: seat.line("Publish this?").split()[-4:] == ["r1", "1h", "now", "–"])


@pytest.mark.asyncio
async def test_a_list_has_a_thousand_rows_at_most_and_says_so() -> None:
    runs = tuple(summary(f"r{i:04}", started_s=-i) for i in range(1_200))
    async with watching(runs=runs) as seat:
        await seat.sees("Runs  1,200, the first 1,000 shown")
        await seat.press("2", "end")
        await seat.sees("r0999")
        await seat.press("slash")
        await seat.type("r1199")
        await seat.sees("Runs  1 of 1,200")


@pytest.mark.asyncio
async def test_the_scrollbar_hides_nothing() -> None:
    runs = tuple(summary(f"r{i}", message="a sentence that is too long for the width of this list") for i in range(80))
    async with watching(runs=runs, size=(80, 24)) as seat:
        await seat.sees("Runs  80")
        await seat.until(lambda: len([row for row in seat.text().splitlines() if "…" in row.rstrip()[-3:]]) >= 3)
