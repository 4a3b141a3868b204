"""The body of a gate, rendered from Markdown in which nothing is hidden.

People decide on what they see, so a link shows where it leads, a picture shows its address, HTML is shown as it is
written, and nothing can be clicked. Markdown can spell characters as entities, so text is scrubbed once more after it
was read. The source is one key away.
"""

from collections.abc import Iterator

from markdown_it import MarkdownIt
from markdown_it.rules_core import StateCore
from markdown_it.token import Token
from textual.widgets import Markdown

from holdfast.scrub import scrub

__all__ = ["RENDERED_MAX_CHARS", "Body", "parser"]

RENDERED_MAX_CHARS = 32 * 1024
"""Longer bodies are shown as they are written: each paragraph is a widget, and thousands would stall the keys."""
_FENCE_COLORED_MAX_CHARS = 4 * 1024
_COLORED_LANGUAGES = frozenset({"bash", "diff", "go", "java", "json", "python", "rust", "sql", "toml", "yaml"})


def parser() -> MarkdownIt:
    """Return the parser of bodies."""
    markdown = MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"])
    markdown.core.ruler.push("show_all", _show_all)
    return markdown


def _show_all(state: StateCore) -> None:
    for token in state.tokens:
        _scrub(token)
        if token.type == "fence":
            language = token.info.split(maxsplit=1)[0] if token.info.strip() else ""
            is_colored = language in _COLORED_LANGUAGES and len(token.content) <= _FENCE_COLORED_MAX_CHARS
            token.info = language if is_colored else "text"
        elif token.type == "code_block":
            token.info = "text"
        if token.children:
            token.children = list(_spelled_out(token.children))


def _scrub(token: Token) -> None:
    token.content = scrub(token.content, multiline=True)
    for child in token.children or ():
        _scrub(child)


def _spelled_out(tokens: list[Token]) -> Iterator[Token]:
    """Yield inline tokens with links and pictures as text that tells the address."""
    open_links: list[tuple[str, list[str]]] = []
    for token in tokens:
        if token.type == "link_open":
            open_links.append((_address(token, "href"), []))
            yield Token("em_open", "em", 1)
        elif token.type == "link_close":
            address, words = open_links.pop()
            yield Token("em_close", "em", -1)
            if "".join(words) != address:
                yield _text(f" ({address})")
        else:
            made = _text(f"[picture: {token.content}] ({_address(token, 'src')})") if token.type == "image" else token
            for _, words in open_links:
                words.append(made.content)
            yield made


def _address(token: Token, name: str) -> str:
    return scrub(str(token.attrs.get(name, ""))).removeprefix("mailto:")


def _text(content: str) -> Token:
    return Token("text", "", 0, content=content)


class Body(Markdown):
    """A rendered body."""

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id, parser_factory=parser, open_links=False)
