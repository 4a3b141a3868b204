"""The overview: the inbox of open gates, the runs, and everything about what is selected."""

from collections.abc import Sequence
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Container, Vertical
from textual.screen import Screen
from textual.widget import Widget
from textual.widgets import Footer, Input

from holdfast.scrub import scrub
from holdfast.v1.definition_pb2 import Decision
from holdfast.v1.gate_pb2 import Gate, GateState
from holdfast_tui.client.following import Follower, Selection
from holdfast_tui.client.port import TuiClient
from holdfast_tui.keymap import READ_ONLY_HIDDEN, bindings
from holdfast_tui.messages import Tick
from holdfast_tui.screens.decision import DecisionDialog
from holdfast_tui.screens.lists import GATE_COLUMNS, RUN_COLUMNS, no_gates, no_match, no_runs, not_there_yet
from holdfast_tui.store.books import Listed
from holdfast_tui.store.gate_page import GatePage, takes
from holdfast_tui.store.link import LinkState, LinkView
from holdfast_tui.store.pages import NotePage, Page
from holdfast_tui.store.rows import GateRow, RunRow, gate_key
from holdfast_tui.store.store import Store
from holdfast_tui.store.times import Clock, Moments
from holdfast_tui.store.words import Line, Span, Tone, decision_name, gate_outcome, line, resolved_by
from holdfast_tui.widgets.details import Details
from holdfast_tui.widgets.filter_line import FilterLine
from holdfast_tui.widgets.row_table import RowTable
from holdfast_tui.widgets.status_bar import StatusBar
from holdfast_tui.widgets.tones import put_title

__all__ = ["OverviewScreen"]

NOTHING = NotePage(
    "",
    "Details",
    (
        line(Span("Nothing is selected.", Tone.MUTED)),
        line(Span("Go to a gate or a run with ", Tone.MUTED), "↑ ↓", Span(" and ", Tone.MUTED), "tab"),
    ),
)


class OverviewScreen(Screen[None]):
    """Inbox, runs and details on one screen."""

    AUTO_FOCUS = "#inbox"
    BINDINGS: ClassVar[list[BindingType]] = bindings("overview")
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (110, "-wide")]  # noqa: RUF012 - declared so in the library

    def __init__(self, client: TuiClient, store: Store, clock: Clock, *, is_read_only: bool) -> None:
        """Build it.

        Args:
            client: The server.
            store: What the streams told; kept current by somebody else.
            clock: Tells the time.
            is_read_only: True leaves out everything that changes something.
        """
        super().__init__()
        self._client = client
        self._store = store
        self._clock = clock
        self._is_read_only = is_read_only
        self._follower = Follower(client, store, self._on_page)
        self._selection: Selection | None = None
        self._page: Page | None = None
        self._shown: Page = NOTHING
        self._is_frozen = False
        self._words = ""

    def compose(self) -> ComposeResult:
        """Build the screen."""
        client = self._client
        yield StatusBar(client.target, client.namespace, client.actor, is_read_only=self._is_read_only)
        with Container(id="panes"):
            with Vertical(id="lists"):
                yield RowTable[GateRow](GATE_COLUMNS, id="inbox")
                yield RowTable[RunRow](RUN_COLUMNS, id="runs")
            yield Details(id="details")
        yield FilterLine(id="filter")
        yield Footer()

    async def on_mount(self) -> None:
        """Show what is known so far."""
        self.query_one("#filter").display = False
        await self.draw()

    @property
    def inbox(self) -> RowTable[GateRow]:
        """The list of open gates."""
        table: RowTable[GateRow] = self.query_one("#inbox", RowTable)
        return table

    @property
    def runs(self) -> RowTable[RunRow]:
        """The list of runs."""
        table: RowTable[RunRow] = self.query_one("#runs", RowTable)
        return table

    @property
    def shown(self) -> Page:
        """What the pane of details shows."""
        return self._shown

    # Drawing

    async def on_tick(self, event: Tick) -> None:
        """Show what is new."""
        event.stop()
        self._follower.look()
        await self.draw()

    async def draw(self) -> None:
        """Bring the screen up to date; a frozen one shows a new selection, and how the connection stands."""
        moments = Moments(self._clock.now_s())
        view = self._store.link.view(self._clock.monotonic_s())
        page = self._page or NOTHING
        with self.app.batch_update():
            self.query_one(StatusBar).put(view, is_frozen=self._is_frozen)
            if not self._is_frozen:
                self._draw_lists(moments, view)
            if not self._is_frozen or page.key != self._shown.key:
                self._shown = page
                await self.query_one(Details).put(page, moments)

    def _draw_lists(self, moments: Moments, view: LinkView) -> None:
        words = self._words.split()
        gates, runs = self._store.gates.listed(words), self._store.runs.listed(words)
        is_known = view.state not in {LinkState.CONNECTING, LinkState.REFUSED} or bool(gates.total or runs.total)
        why = [] if is_known else not_there_yet(view.state, view.sentence)
        self._draw_list(self.inbox, "Inbox", gates, moments, why or no_gates())
        self._draw_list(self.runs, "Runs", runs, moments, why or no_runs(self._client.namespace))

    def _draw_list(
        self,
        table: RowTable[GateRow] | RowTable[RunRow],
        name: str,
        listed: Listed[GateRow] | Listed[RunRow],
        moments: Moments,
        empty: Sequence[Line],
    ) -> None:
        if listed.total and not listed.matching:
            empty = no_match(self._words.strip(), listed.total)
        table.put(listed.rows, moments, empty)  # type: ignore[arg-type]
        count = f"{listed.total:,}"
        if listed.matching != listed.total:
            count = f"{listed.matching:,} of {listed.total:,} with {scrub(self._words.strip())!r}"
        if len(listed.rows) < listed.matching:
            count += f", the first {len(listed.rows):,} shown"
        put_title(table, f"{name}  {count}" if listed.total else name)

    # Selecting

    @on(RowTable.Picked)
    def _picked(self, event: RowTable.Picked) -> None:
        event.stop()
        if event.table.has_focus or self._selection is None:
            self._select_from(event.table)

    def on_descendant_focus(self) -> None:
        """Show what is selected in the list that has the focus now."""
        if isinstance(self.focused, RowTable):
            self._select_from(self.focused)

    def _select_from(self, table: Widget) -> None:
        key = self.inbox.cursor_key if table is self.inbox else self.runs.cursor_key
        if isinstance(key, str | tuple):
            self._select(key)

    def _select(self, selection: Selection) -> None:
        if selection == self._selection:
            return
        self._selection = selection
        self.inbox.lead(is_leading=isinstance(selection, tuple))
        self.runs.lead(is_leading=isinstance(selection, str))
        self.run_worker(self._follower.follow(selection), group="page", exclusive=True)

    def _on_page(self, page: Page) -> None:
        if page.key == self._selection:
            self._page = page
            self.post_message(Tick())

    # Keys

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:  # noqa: ARG002 - the library's own
        """Return whether an action is there. One that does not fit what is shown is, and says why it does nothing."""
        return not (self._is_read_only and action in READ_ONLY_HIDDEN)

    def _gate_for(self, name: str) -> Gate | None:
        """Return the gate that is shown, or the only open one of the run that is, if it takes a decision."""
        if isinstance(self._shown, GatePage):
            gates = [self._shown.gate]
        else:
            gates = self._store.gates.of_run(str(self._shown.key))
        wanted = Decision.Value(f"DECISION_{name}")
        return gates[0] if len(gates) == 1 and takes(gates[0], wanted) else None

    async def action_decide(self, name: str) -> None:
        """Ask for a decision on exactly what is shown."""
        if self._is_read_only:
            return
        gate = self._gate_for(name)
        if gate is None:
            self._tell_why_not(name)
        elif not isinstance(self._shown, GatePage):
            self.inbox.select(gate_key(gate))
            self.inbox.focus()
            self.notify("This is the gate of the run. Read it, then decide.", markup=False)
        elif not self._shown.is_complete:
            self.notify("Not all of what is decided on is here yet.", severity="warning", markup=False)
        else:
            decision = Decision.Value(f"DECISION_{name}")
            await self.app.push_screen(
                DecisionDialog(self._shown, decision, self._client.actor, self._store, self._clock)
            )

    def _tell_why_not(self, name: str) -> None:
        if not isinstance(self._shown, GatePage):
            self.notify("Select an open gate first.", severity="warning", markup=False)
            return
        gate = self._shown.gate
        if gate.state == GateState.GATE_STATE_OPEN:
            words = ", ".join(decision_name(decision) for decision in gate.decisions)
            text = f"This gate takes {words}, not {name}."
        elif gate.state == GateState.GATE_STATE_RESOLVED:
            text = f"The gate is {gate_outcome(gate).text} by {resolved_by(gate)}."
        else:
            text = "The gate is closed: its step was cancelled."
        self.notify(text, severity="warning", markup=False)

    def action_filter(self) -> None:
        """Let a filter be typed."""
        self.query_one(FilterLine).begin()

    @on(Input.Changed, "#filter")
    async def _filter_changed(self, event: Input.Changed) -> None:
        self._words = event.value
        await self.draw()

    @on(FilterLine.Left)
    def _filter_left(self, event: FilterLine.Left) -> None:
        self.query_one(FilterLine).display = event.is_kept and bool(self._words.strip())
        (self.inbox if isinstance(self._selection, tuple) else self.runs).focus()

    async def action_freeze(self) -> None:
        """Hold the view still, or let it go on."""
        self._is_frozen = not self._is_frozen
        await self.draw()

    def action_zoom(self) -> None:
        """Give the details the whole screen, or take it back."""
        self.toggle_class("-zoomed")
        if self.has_class("-zoomed"):
            self.query_one(Details).focus()
        else:
            (self.inbox if isinstance(self._selection, tuple) else self.runs).focus()

    @on(RowTable.Opened)
    def _opened(self, event: RowTable.Opened) -> None:
        self._select_from(event.table)
        if not self.has_class("-zoomed"):
            self.action_zoom()

    async def action_source(self) -> None:
        """Show the body as it is written, or rendered."""
        await self.query_one(Details).turn_source()

    def action_back(self) -> None:
        """Leave the zoom, else clear the filter."""
        if self.has_class("-zoomed"):
            self.action_zoom()
        else:
            self.query_one(FilterLine).action_leave()

    def action_go(self, id: str) -> None:
        """Go to a pane."""
        if self.has_class("-zoomed") and id != "details":
            self.remove_class("-zoomed")
        self.query_one(f"#{id}").focus()
