"""Keeps the page of what is selected current: asks again whenever the streams say that it changed."""

import asyncio
from collections.abc import Callable

from holdfast.errors import HoldfastError, UnavailableError
from holdfast.scrub import scrub
from holdfast_tui.client.port import TuiClient
from holdfast_tui.store.gate_page import GatePage, is_complete
from holdfast_tui.store.pages import NotePage, Page
from holdfast_tui.store.rows import GateKey
from holdfast_tui.store.run_page import RunPage
from holdfast_tui.store.store import Store
from holdfast_tui.store.words import Span, Tone, line, safe

__all__ = ["Follower", "Selection"]

Selection = GateKey | str
"""A gate by its key, or a run by its id."""
REFRESH_S = 2.0
"""An open run is asked for this often also without a change: what its workers report is in no stream."""


class Follower:
    """Follows one selection at a time."""

    def __init__(self, client: TuiClient, store: Store, on_page: Callable[[Page], None]) -> None:
        """Build it.

        Args:
            client: The server.
            store: What the streams told.
            on_page: Called with every page of the selection, the newest last.
        """
        self._client = client
        self._store = store
        self._on_page = on_page
        self._selection: Selection | None = None
        self._seen: object = None
        self._changed = asyncio.Event()

    def look(self) -> None:
        """Notice whether the streams told anything new about the selection."""
        if self._selection is not None and self._known(self._selection) is not self._seen:
            self._changed.set()

    async def follow(self, selection: Selection) -> None:
        """Bring pages of the selection until cancelled."""
        self._selection = selection
        page: Page | None = None
        while True:
            self._changed.clear()
            self._seen = self._known(selection)
            try:
                page = await self._load(selection)
            except UnavailableError:
                if page is None:  # else what was read last stays, and the header tells how old it is
                    self._on_page(_note(selection, "No server answers; trying again."))
            except HoldfastError as fault:
                page = _note(selection, str(fault))
                self._on_page(page)
            else:
                self._on_page(page)
            await self._wait(is_timed=page is None or (isinstance(page, RunPage) and page.is_open))

    async def _wait(self, *, is_timed: bool) -> None:
        try:
            async with asyncio.timeout(REFRESH_S if is_timed else None):
                await self._changed.wait()
        except TimeoutError:
            return

    async def _load(self, selection: Selection) -> Page:
        if isinstance(selection, str):
            return RunPage(await self._client.run(selection))
        gate = self._store.gates.get(selection)
        if gate is not None and is_complete(gate):
            return GatePage(gate)
        if gate is not None:
            self._on_page(GatePage(gate))  # what is known is shown while the rest comes
        return GatePage(await self._client.gate(*selection))

    def _known(self, selection: Selection) -> object:
        if isinstance(selection, str):
            return self._store.runs.get(selection)
        return self._store.gates.get(selection)


def _note(selection: Selection, sentence: str) -> NotePage:
    title = f"Run {scrub(selection)}" if isinstance(selection, str) else f"Gate {scrub(selection[1])}"
    return NotePage(selection, title, (line(safe(sentence, Tone.WARN)), line(Span(""))))
