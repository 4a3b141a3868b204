"""What makes text from a server safe to show: whatever could move a cursor or reorder a line becomes visible.

Terminals obey escape sequences, and bidirectional controls let text read other than it is. Payloads, names and messages
are written by others, so every string that is shown passes `scrub`; JSON that is printed passes `scrub_json`, which
keeps it the same JSON.
"""

import re

__all__ = ["scrub", "scrub_json"]

# C0, DEL and C1; the Arabic letter mark; zero-width space and the marks, line and paragraph separators, embeddings and
# overrides; word joiner, invisible operators, isolates and deprecated controls; the byte order mark; interlinear
# annotations; tags, which spell invisible ASCII; and halves of surrogate pairs, which no terminal can be sent.
# The joiners U+200C and U+200D stay: scripts and emoji are spelled with them.
_HOSTILE = (
    "\\x00-\\x1f\\x7f-\\x9f\\u061c\\u200b\\u200e\\u200f\\u2028-\\u202e\\u2060-\\u206f\\ufeff\\ufff9-\\ufffb"
    "\\ud800-\\udfff\\U000e0000-\\U000e007f"
)
_LINE = re.compile(f"[{_HOSTILE}]")
_TEXT = re.compile(f"(?![\\n\\t])[{_HOSTILE}]")
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def scrub(text: str, *, multiline: bool = False) -> str:
    r"""Return text in which every control character is written out, for example ESC as the four characters `\\x1b`.

    Args:
        text: Text from a server, a file or a person.
        multiline: True keeps line breaks and tabs; a carriage return before a line break is dropped.
    """
    if multiline:
        return _TEXT.sub(_visible, text.replace("\r\n", "\n"))
    return _LINE.sub(_visible, text)


def scrub_json(text: str) -> str:
    """Return the same JSON with every control character inside its strings written as an escape.

    Args:
        text: JSON text; line breaks and tabs between its tokens are kept.
    """
    return _TEXT.sub(_json_escape, text)


def _visible(match: re.Match[str]) -> str:
    character = match.group()
    if character in _SHORT:
        return _SHORT[character]
    code = ord(character)
    if code <= 0xFF:  # noqa: PLR2004 - the range each form can write
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"  # noqa: PLR2004 - see above


def _json_escape(match: re.Match[str]) -> str:
    units = match.group().encode("utf-16-be", errors="surrogatepass")
    return "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2))
