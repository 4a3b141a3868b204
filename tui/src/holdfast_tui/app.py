"""The app: keeps the streams running whatever screen is shown, feeds the store, and sends decisions."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import aclosing
from pathlib import Path
from typing import ClassVar

from textual.app import App, SystemCommand
from textual.binding import BindingType
from textual.screen import Screen
from textual.theme import Theme

from holdfast.backoff import Backoff, BackoffPolicy
from holdfast.errors import HoldfastError, ServerError
from holdfast.scrub import scrub
from holdfast.v1.operations_service_pb2 import GetServerInfoResponse, HealthState
from holdfast_tui.client.deciding import Ending, decide
from holdfast_tui.client.port import TuiClient
from holdfast_tui.keymap import bindings
from holdfast_tui.messages import DecisionEnded, DecisionMade, Tick
from holdfast_tui.screens.decision import DecisionDialog
from holdfast_tui.screens.help import HelpDialog
from holdfast_tui.screens.overview import OverviewScreen
from holdfast_tui.store.store import Store
from holdfast_tui.store.times import Clock, Moments, SystemClock

__all__ = ["HoldfastApp"]

DRAWS_PER_S = 10
ASK_EVERY_S = 2.0
"""How often the server is asked how it is; streams of a quiet server are silent, so this tells whether it is there."""
REFUSED_BACKOFF = BackoffPolicy(initial_s=1.0, max_s=30.0)

THEME = Theme(
    name="holdfast",
    primary="#5aa9e6",
    secondary="#9db4c0",
    accent="#7fc8f8",
    success="#7bd88f",
    warning="#ffc857",
    error="#ff6b6b",
    foreground="#dfe6ec",
    background="#0e141b",
    surface="#141c25",
    panel="#1b2631",
)


class HoldfastApp(App[None]):
    """The terminal screens of Holdfast."""

    TITLE = "Holdfast"
    CSS_PATH: ClassVar[list[str | Path]] = [  # type: ignore[assignment]
        "styles/overview.tcss",
        "styles/details.tcss",
        "styles/dialogs.tcss",
    ]
    BINDINGS: ClassVar[list[BindingType]] = bindings("app")

    def __init__(self, client: TuiClient, *, is_read_only: bool = False, clock: Clock | None = None) -> None:
        """Build it.

        Args:
            client: The server; it is closed with the app.
            is_read_only: True leaves out everything that changes something.
            clock: Tells the time; None for that of the machine.
        """
        super().__init__()
        self._client = client
        self._is_read_only = is_read_only
        self._clock = clock or SystemClock()
        self.store = Store(client.target)
        self._drawn_for: object = None
        self.register_theme(THEME)
        self.theme = THEME.name

    def get_default_screen(self) -> Screen[None]:
        """Return the overview."""
        return OverviewScreen(self._client, self.store, self._clock, is_read_only=self._is_read_only)

    def on_mount(self) -> None:
        """Start the streams."""
        self._client.listen(self._on_connection)
        self._start_streams()
        self.run_worker(self._ask(), group="ask", exclusive=True)
        self.set_interval(1 / DRAWS_PER_S, self._draw)

    async def on_unmount(self) -> None:
        """Close the connection."""
        self.workers.cancel_all()
        await self._client.close()

    # Live data

    def _start_streams(self) -> None:
        self.run_worker(self._stream("runs", self._watch_runs), group="runs", exclusive=True)
        self.run_worker(self._stream("gates", self._watch_gates), group="gates", exclusive=True)

    async def _watch_runs(self) -> AsyncIterator[bool]:
        """Feed the book of runs; yields whether its list is complete."""
        async with aclosing(self._client.watch_runs(self.store.runs.cursor)) as responses:
            async for response in responses:
                self.store.runs.apply(response)
                yield response.live

    async def _watch_gates(self) -> AsyncIterator[bool]:
        """Feed the book of gates; yields whether its list is complete."""
        async with aclosing(self._client.watch_gates(self.store.gates.cursor)) as responses:
            async for response in responses:
                self.store.gates.apply(response)
                yield response.live

    async def _stream(self, name: str, watch: Callable[[], AsyncIterator[bool]]) -> None:
        """Keep a stream going for ever. The client sits out a lost server; a refusal is shown and tried again."""
        backoff = Backoff(REFUSED_BACKOFF, random.random)
        while True:
            try:
                async for is_live in watch():
                    backoff.reset()
                    self.store.link.stream_heard(name, self._clock.monotonic_s(), live=is_live)
            except ServerError as fault:
                self.store.link.refused(name, f"{fault.message} ({fault.reason or fault.code})")
            await asyncio.sleep(backoff.next_s())

    def _on_connection(self, is_there: bool, why: str) -> None:  # noqa: FBT001 - the shape of the hook
        now_s = self._clock.monotonic_s()
        if not is_there:
            self.store.link.lost(why, now_s)
            return
        was_lost = self.store.link.is_lost
        self.store.link.heard(now_s)
        if was_lost:
            # Some call found the server again; the streams are begun anew where they stood, and so tell that they are.
            self.call_later(self._start_streams)

    async def _ask(self) -> None:
        """Ask the server how it is, again and again."""
        while True:
            try:
                info = await self._client.server_info()
            except HoldfastError:
                pass  # the hook and the streams tell
            else:
                self.store.link.heard(self._clock.monotonic_s())
                self.store.link.health(_health(info))
            await asyncio.sleep(ASK_EVERY_S)

    def _draw(self) -> None:
        """Let the screens draw if anything looks different now; called at a fixed rate, however much comes in."""
        view = self.store.link.view(self._clock.monotonic_s())
        looks = (self.store.version, view, int(self._clock.now_s()))
        if looks != self._drawn_for:
            self._drawn_for = looks
            for screen in self.screen_stack:
                screen.post_message(Tick())

    # Decisions

    def on_decision_made(self, event: DecisionMade) -> None:
        """Send a decision; nothing is shown as decided before the server says so."""
        event.stop()
        self.run_worker(self._decide(event), group="decisions")

    async def _decide(self, made: DecisionMade) -> None:
        if self._is_read_only:
            raise RuntimeError("a decision was made on screens that only read")
        moments = Moments(self._clock.now_s())
        outcome = await decide(self._client, made.gate, made.decision, made.comment, made.request_id, moments)
        if outcome.gate is not None:
            self.store.gates.put(outcome.gate)
        dialog = self.screen
        is_open = isinstance(dialog, DecisionDialog)
        if is_open:
            dialog.post_message(DecisionEnded(outcome))
        if outcome.ending is Ending.RECORDED:
            self.notify(outcome.sentence, markup=False)
        elif not is_open:
            self.notify(f"{outcome.sentence} {outcome.next}", severity="error", markup=False)

    # Keys

    async def action_help(self) -> None:
        """Show the keys."""
        await self.push_screen(HelpDialog(is_read_only=self._is_read_only))

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        """Yield what the palette offers."""
        if isinstance(screen, OverviewScreen):
            if not self._is_read_only:
                yield SystemCommand(
                    "Approve", "Approve the gate that is shown", lambda: screen.action_decide("APPROVE")
                )
                yield SystemCommand("Reject", "Reject the gate that is shown", lambda: screen.action_decide("REJECT"))
            yield SystemCommand("Filter", "Show only rows with certain words", screen.action_filter)
            yield SystemCommand("Freeze", "Hold the view still, or let it go on", screen.action_freeze)
            yield SystemCommand("Zoom", "Give the details the whole screen, or take it back", screen.action_zoom)
            yield SystemCommand("Source", "Show the body as it is written, or rendered", screen.action_source)
        yield SystemCommand("Theme", "Change the colours", self.action_change_theme)
        yield SystemCommand("Help", "All keys and states", self.action_help)
        yield SystemCommand("Quit", "Leave; runs go on without you", self.action_quit)


def _health(info: GetServerInfoResponse) -> str:
    """Return one sentence on a server that cannot do all of its work; empty for one that can."""
    if info.health in {HealthState.HEALTH_STATE_OK, HealthState.HEALTH_STATE_UNSPECIFIED}:
        return ""
    known = HealthState.DESCRIPTOR.values_by_number.get(info.health)
    word = str(info.health) if known is None else known.name.removeprefix("HEALTH_STATE_")
    return f"The server is {word}. {scrub(info.health_message)}".rstrip()
