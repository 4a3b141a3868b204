"""The pane of details: everything about the selected gate or run."""

from collections.abc import Iterable, Sequence

from textual.app import ComposeResult
from textual.containers import VerticalGroup, VerticalScroll
from textual.content import Content
from textual.highlight import highlight
from textual.widgets import Static

from holdfast_tui.store.pages import Page, Section
from holdfast_tui.store.texts import Shown
from holdfast_tui.store.times import Moments
from holdfast_tui.widgets.body import RENDERED_MAX_CHARS, Body
from holdfast_tui.widgets.lines import Lines
from holdfast_tui.widgets.tones import put_title

__all__ = ["Details"]

COLORED_MAX_CHARS = 16 * 1024


class _SectionView(VerticalGroup):
    """One section; it is updated in place, so that scrolling and selecting text go on undisturbed."""

    def __init__(self, section: Section) -> None:
        super().__init__()
        self._section = section

    @property
    def heading(self) -> str:
        """The title of the section."""
        return self._section.title

    def compose(self) -> ComposeResult:
        yield Static(self._section.title, classes="section-title", markup=False)
        yield Lines(self._section.lines, classes="section-lines")
        yield Static(_text(self._section.text), classes="section-text", markup=False)

    def on_mount(self) -> None:
        self.query_one(".section-text").display = self._section.text is not None

    def put(self, section: Section) -> None:
        """Show what is new in it."""
        self.query_one(Lines).put(section.lines)
        if section.text != self._section.text:
            text = self.query_one(".section-text", Static)
            text.update(_text(section.text))
            text.display = section.text is not None
        self._section = section


def _text(shown: Shown | None) -> Content:
    if shown is None:
        return Content()
    if shown.is_json and len(shown.text) <= COLORED_MAX_CHARS:
        return highlight(shown.text, language="json")
    return Content(shown.text)


class Details(VerticalScroll, can_focus=True):
    """The pane. Give it a page with `put` as often as you like; only what changed is drawn."""

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id)
        self._page: Page | None = None
        self._body = ""
        self.is_source = False

    def compose(self) -> ComposeResult:
        """Build the pane."""
        yield Lines(id="head")
        yield VerticalGroup(id="above")
        yield Body(id="body")
        yield Static(id="source", markup=False)
        yield VerticalGroup(id="below")

    def on_mount(self) -> None:
        """Begin without a body."""
        self.query_one("#body").display = self.query_one("#source").display = False

    @property
    def is_rendered(self) -> bool:
        """Whether the body is rendered and not shown as it is written."""
        return not self.is_source and len(self._body) <= RENDERED_MAX_CHARS

    async def put(self, page: Page, moments: Moments) -> None:
        """Show a page as it is now."""
        is_other = self._page is None or page.key != self._page.key
        self._page = page
        put_title(self, page.title)
        self.query_one("#head", Lines).put(page.head(moments))
        if page.body != self._body:
            self._body = page.body
            await self._show_body()
        sections = page.sections(moments)
        await self._show_sections("#above", [section for section in sections if section.is_above])
        await self._show_sections("#below", [section for section in sections if not section.is_above])
        if is_other:
            self.scroll_home(animate=False)

    async def turn_source(self) -> None:
        """Show the body as it is written, or rendered again."""
        self.is_source = not self.is_source
        await self._show_body()

    async def _show_body(self) -> None:
        body, source = self.query_one(Body), self.query_one("#source", Static)
        has_body = bool(self._body)
        body.display = has_body and self.is_rendered
        source.display = has_body and not self.is_rendered
        await body.update(self._body if body.display else "")
        source.update(Content(self._body if source.display else ""))

    async def _show_sections(self, place: str, sections: Sequence[Section]) -> None:
        group = self.query_one(place, VerticalGroup)
        views = list(group.query_children(_SectionView))
        if [view.heading for view in views] == [section.title for section in sections]:
            for view, section in zip(views, sections, strict=True):
                view.put(section)
            return
        await self._replace(group, sections)

    async def _replace(self, group: VerticalGroup, sections: Iterable[Section]) -> None:
        async with self.batch():
            await group.remove_children()
            await group.mount_all([_SectionView(section) for section in sections])
