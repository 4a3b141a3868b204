"""Watches a run: its steps as they happen, as a tree on a terminal, as lines or JSON elsewhere."""

import asyncio
import shlex
import time
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Any, cast

from holdfast.cli.context import Cli
from holdfast.cli.run.start import tell_outcome

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from rich.console import RenderableType
    from rich.live import Live

    from holdfast.client import Client, RunHandle
    from holdfast.v1 import run_pb2

__all__ = ["watch_run"]

FRAME_S = 0.1
# What a run waits for changes without an event when a worker comes or goes.
REFRESH_S = 1.0
# The lines around the steps: head, connection, and room for what each step says below it.
LINES_AROUND = 4


async def watch_run(cli: Cli, client: "Client", run_id: str) -> int:
    """Show a run until its end, print how it ended, and return the exit code."""
    handle = client.handle(run_id)
    try:
        if cli.json:
            await _json_lines(cli, handle)
        elif cli.out.is_terminal:
            await _tree(cli, handle)
        else:
            await _lines(cli, handle)
    except asyncio.CancelledError:
        cli.tell(f"no longer watching; the run goes on: holdfast run watch {shlex.quote(run_id)}", style="dim")
        raise
    outcome = await handle.outcome()
    if cli.json:
        from holdfast.v1.run_pb2 import RunState

        return int(outcome.state != RunState.RUN_STATE_SUCCEEDED)
    return tell_outcome(cli, outcome)


async def _json_lines(cli: Cli, handle: "RunHandle") -> None:
    async with aclosing(_events(handle)) as events:
        async for event in events:
            cli.document(event, line=True)


async def _lines(cli: Cli, handle: "RunHandle") -> None:
    """Print a line for each event, and, when nothing happens for a while, what the run waits for."""
    from holdfast.cli.render.history import HistoryLines
    from holdfast.v1.run_service_pb2 import PayloadView

    lines, told = HistoryLines(cli.moments), ""
    async with aclosing(_events(handle, PayloadView.PAYLOAD_VIEW_REFS)) as events:
        following = asyncio.ensure_future(anext(events, None))
        try:
            while True:
                done, _ = await asyncio.wait([following], timeout=REFRESH_S)
                if not done:
                    told = await _tell_waits(cli, handle, told)
                    continue
                event = following.result()
                if event is None:
                    return
                cli.out.print(lines.line(event), soft_wrap=True)
                following = asyncio.ensure_future(anext(events, None))
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)


async def _tell_waits(cli: Cli, handle: "RunHandle", told: str) -> str:
    """Print what a run waits for, unless it was told before; return what was told."""
    from rich.text import Text

    from holdfast.cli.render.words import safe, waiting_word
    from holdfast.v1.run_service_pb2 import PayloadView

    run = await handle.get(payload_view=PayloadView.PAYLOAD_VIEW_REFS)
    waits = "\n".join(f"{waiting.step_path}: {waiting.message}" for waiting in run.waiting_on)
    if waits != told:
        for waiting in run.waiting_on:
            where = f"{waiting.step_path}: " if waiting.step_path else ""
            what = safe(f"  {where}{waiting.message}")
            cli.out.print(Text.assemble(("waiting  ", "dim"), waiting_word(waiting.reason), what), soft_wrap=True)
    return waits


def _events(handle: "RunHandle", view: Any = 0) -> "AsyncGenerator[Any, None]":
    return cast("AsyncGenerator[Any, None]", handle.watch(payload_view=view))


class _Picture:
    """What the live tree shows; the steps are asked for again whenever something happened."""

    def __init__(self, cli: Cli, handle: "RunHandle") -> None:
        self._cli = cli
        self._handle = handle
        self._begun_s = time.monotonic()
        self.changed = asyncio.Event()
        self.run: run_pb2.Run | None = None

    async def refresh(self) -> None:
        """Ask for the run as it is now."""
        from holdfast.v1.run_service_pb2 import PayloadView

        self.changed.clear()
        self.run = await self._handle.get(payload_view=PayloadView.PAYLOAD_VIEW_REFS)

    async def follow(self) -> None:
        """Notice every event, until the run is closed."""
        from holdfast.v1.run_service_pb2 import PayloadView

        async with aclosing(_events(self._handle, PayloadView.PAYLOAD_VIEW_REFS)) as events:
            async for _ in events:
                self.changed.set()

    async def keep_fresh(self) -> None:
        """Ask again when something happened, and now and then, for ever."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(REFRESH_S):
                    await self.changed.wait()
            await self.refresh()
            await asyncio.sleep(FRAME_S)  # a burst of events is one look

    def draw(self, *, live: bool) -> "RenderableType":
        """Return the tree as it looks now."""
        from rich.console import Group
        from rich.text import Text

        from holdfast.cli.render.steps import run_line, step_tree, waiting_line
        from holdfast.cli.render.times import Moments

        if self.run is None:
            return Text("…")
        cli = self._cli
        moments = Moments(cli.now(), cli.environment.zone)
        spin_s = time.monotonic() - self._begun_s if live else None
        rows_max = max(cli.out.height - LINES_AROUND, 1) if live else None
        parts: list[RenderableType] = [run_line(self.run, moments)]
        parts += [waiting_line(waiting, moments) for waiting in self.run.waiting_on if not waiting.step_path]
        parts.append(step_tree(self.run, moments, spin_s=spin_s, rows_max=rows_max))
        if live and cli.lost:
            parts.append(Text(cli.lost, style="bold yellow"))
        return Group(*parts)


async def _tree(cli: Cli, handle: "RunHandle") -> None:
    from rich.live import Live

    picture = _Picture(cli, handle)
    await picture.refresh()
    cli.tells_loss = False  # the tree does
    with Live(console=cli.out, auto_refresh=False, transient=True) as live:
        work = (picture.follow(), picture.keep_fresh(), _animate(picture, live))
        tasks = [asyncio.ensure_future(each) for each in work]
        try:
            # Only the end of the run, or a fault, ends any of them.
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
            await picture.refresh()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            live.stop()
            cli.out.print(picture.draw(live=False))  # also for somebody who leaves early


async def _animate(picture: _Picture, live: "Live") -> None:
    while True:
        live.update(picture.draw(live=True), refresh=True)
        await asyncio.sleep(FRAME_S)
