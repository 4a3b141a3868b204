"""The body of a gate: rendered, but nothing in it hidden, clickable or disguised."""

import pytest
from markdown_it.token import Token

from holdfast_tui.widgets.body import RENDERED_MAX_CHARS, parser
from tests.tui.fake import watching
from tests.tui.making import gate, markdown

ALL_BLOCKS = """
# One

## Two

1. first
2. second
   - deep

> quoted

---

| a | b |
|---|---|
| c | d |

```python
print(1)
```

    code
"""


def inline(text: str) -> str:
    """All text the screen is given for a body."""
    tokens = parser().parse(text)
    return " ".join(part.content for token in tokens for part in (token.children or [token]) if part.content)


def types(text: str) -> set[str]:
    def walk(tokens: list[Token]) -> set[str]:
        return {token.type for token in tokens} | {kind for token in tokens for kind in walk(token.children or [])}

    return walk(parser().parse(text))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("[safe](http://evil.example)", "safe  (http://evil.example)"),
        ("[**b** `c`](http://x)", "b   c  (http://x)"),
        ("<http://x.example>", "http://x.example"),
        ("![alt](http://x/p.png)", "[picture: alt] (http://x/p.png)"),
        ("[![alt](http://p)](http://x)", "[picture: alt] (http://p)  (http://x)"),
        ("<b onclick=x>bold</b>", "<b onclick=x>bold</b>"),
        ("<!-- hidden -->", "<!-- hidden -->"),
        ("a&#x202e;b &#27;[31m", "a\\u202eb \ufffd[31m"),
        ("[x](javascript:alert)", "[x](javascript:alert)"),
    ],
)
def test_nothing_is_hidden(text: str, shown: str) -> None:
    assert inline(text) == shown


def test_nothing_can_be_clicked() -> None:
    assert not {"link_open", "link_close", "image", "html_inline", "html_block"} & types(
        "[a](http://x) ![b](y) <i>c</i>\n\n<div>\n\nd https://x.example"
    )


def test_only_known_languages_of_bounded_length_are_coloured() -> None:
    def language(text: str) -> str:
        return next(token.info for token in parser().parse(text) if token.type in {"fence", "code_block"})

    assert language("```python\nx\n```") == "python"
    assert language("```evil-lexer\nx\n```") == "text"
    assert language(f"```python\n{'x' * 9_000}\n```") == "text"
    assert language("    indented") == "text"


@pytest.mark.asyncio
async def test_all_blocks_of_markdown_are_drawn() -> None:
    async with watching(gate(body=markdown(ALL_BLOCKS)), size=(140, 60)) as seat:
        await seat.reads("One", "Two", "1. first", "2. second", "deep", "quoted", "a", "d", "print(1)", "code")


@pytest.mark.asyncio
async def test_a_body_that_is_too_long_to_render_is_shown_as_it_is_written() -> None:
    text = "# Title\n\n" + "word " * (RENDERED_MAX_CHARS // 5)
    async with watching(gate(body=markdown(text))) as seat:
        await seat.reads("# Title", "word word")
