"""The screen as a whole: its sizes, help, palette, and that colour is never the only sign."""

import pytest

from holdfast.v1.definition_pb2 import Risk
from holdfast.v1.run_pb2 import RunState
from holdfast_tui.keymap import KEYS
from tests.tui.fake import watching
from tests.tui.making import gate, json_payload, markdown, summary

RUNS = (
    summary("01a20766-f691-7533-b9a5-eff420977975"),
    summary("news-2026-11", state=RunState.RUN_STATE_SUCCEEDED, closed_s=-1),
)
GATE = gate(
    "01a20766-f691-7533-b9a5-eff420977975", title="Send the newsletter to 1,204 people?", action="send_mail",
    risk=Risk.RISK_HIGH, deadline_s=7_300, subject=json_payload({"count": 1204}), body=markdown("# News"),
)  # fmt: skip


@pytest.mark.asyncio
async def test_eighty_by_twentyfour_is_enough() -> None:
    async with watching(GATE, runs=RUNS, size=(80, 24)) as seat:
        await seat.sees("send_mail  risk HIGH", "palette")
        lines = seat.text().split("\n")
        assert len(lines) == 24
        assert max(map(len, lines)) <= 80
        assert lines[0].split() == ["Holdfast", "fake:7411", "namespace", "default", "as", "ada", "●", "LIVE"]
        assert lines[2].split() == ["GATE", "STEP", "RUN", "AGE", "DEADLINE", "RISK"]
        assert lines[3].startswith("▌ Send the newsletter to 1,2")
        assert lines[3].endswith("review  01a207…977975   5m  in 2h     HIGH")
        assert seat.line("WORKFLOW").split() == ["STATE", "WORKFLOW", "RUN", "AGE", "WAITS", "FOR", "/", "ENDED", "BY"]
        assert [word for word in lines[-1].split() if word.istitle()] == [
            "Approve", "Reject", "Filter", "Freeze", "Zoom", "Help", "Quit",
        ]  # fmt: skip


@pytest.mark.asyncio
async def test_with_room_the_details_stand_beside_the_lists() -> None:
    async with watching(GATE, runs=RUNS, size=(140, 40)) as seat:
        await seat.sees("send_mail  risk HIGH", "News")
        assert "Inbox" in seat.text().splitlines()[1]
        assert "Gate review" in seat.text().splitlines()[1]


@pytest.mark.parametrize("size", [(20, 5), (40, 12), (60, 15), (300, 90)])
@pytest.mark.asyncio
async def test_odd_sizes_are_drawn_too(size: tuple[int, int]) -> None:
    async with watching(GATE, runs=RUNS, size=(100, 40)) as seat:
        await seat.reads("send_mail")
        await seat.pilot.resize_terminal(*size)
        await seat.until(lambda: len(seat.text().split("\n")) == size[1])
        await seat.press("enter", "escape", "2", "3", "question_mark", "escape", "a", "escape")
        await seat.until(lambda: len(seat.app.screen_stack) == 1)


@pytest.mark.asyncio
async def test_the_view_is_laid_out_anew_when_the_terminal_changes() -> None:
    async with watching(GATE, runs=RUNS, size=(80, 24)) as seat:
        await seat.sees("─ Inbox  1 ─")
        await seat.pilot.resize_terminal(140, 40)
        seat.pass_time(1)
        await seat.sees("╭─ Inbox  1 ─")


@pytest.mark.asyncio
async def test_help_has_every_key_and_every_state() -> None:
    async with watching(size=(100, 70)) as seat:
        await seat.press("question_mark")
        await seat.sees("Help", "ctrl+p", "SUCCEEDED", "BACKING_OFF", "RECONNECTING")
        text = " ".join(seat.text().split())
        assert [key.id for key in KEYS if key.help not in text] == []
        await seat.press("escape")
        await seat.sees("Inbox")
        await seat.until(lambda: len(seat.app.screen_stack) == 1)


@pytest.mark.asyncio
async def test_the_palette_finds_every_action() -> None:
    async with watching(gate(body=markdown("*x*"))) as seat:
        await seat.reads("OPEN")
        await seat.press("ctrl+p")
        await seat.sees("Approve", "Reject", "Filter", "Freeze", "Zoom", "Source", "Theme", "Help", "Quit")
        await seat.type("reject")
        await seat.sees_no("Hold the view still")
        await seat.until(lambda: len(seat.app.screen_stack) == 2)
        await seat.press("enter")
        await seat.sees("Reject this gate?")


@pytest.mark.asyncio
async def test_the_palette_of_read_only_screens_offers_no_decisions() -> None:
    async with watching(gate(), is_read_only=True) as seat:
        await seat.press("ctrl+p")
        await seat.sees("Freeze", "Quit")
        assert "Approve" not in seat.text()


@pytest.mark.asyncio
async def test_without_colours_the_words_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    async with watching(GATE, runs=RUNS, size=(120, 40)) as seat:
        await seat.reads("send_mail")
        await seat.sees("palette")  # the footer is drawn last
        coloured = seat.text()
    monkeypatch.setenv("NO_COLOR", "1")
    async with watching(GATE, runs=RUNS, size=(120, 40)) as seat:
        await seat.reads("send_mail")
        await seat.sees("palette")
        assert seat.app.no_color
        assert seat.text() == coloured
        assert "▌" in coloured  # what is selected has a sign of its own


@pytest.mark.asyncio
async def test_a_burst_is_drawn_at_the_next_beat_and_not_for_each_message() -> None:
    async with watching() as seat:
        draws = 0
        draw = seat.overview.draw

        async def counted() -> None:
            nonlocal draws
            draws += 1
            await draw()

        seat.overview.draw = counted  # type: ignore[method-assign]
        for i in range(2_000):
            seat.client.tell_runs(summary(f"r{i % 50}", seq=i))
        seat.client.tell_runs(summary("last"))
        await seat.sees("Runs  51")
        assert draws < 200
