"""Finds paragraphs, list items and table rows in marked-up text and takes the marks off; line numbers stay true."""

import re
from collections.abc import Iterator

Line = tuple[int, str]
"""Number of a line, from 1, and its text without marks."""

Blocks = Iterator[tuple[str, list[Line]]]
"""The headings above a block, joined by ` > `, and its lines."""

HEADING = re.compile(r"(#{1,6})\s+(.*?)\s*#*$")
FENCE = re.compile(r"(`{3,}|~{3,})")
ITEM = re.compile(r"(?:[-*+]|\d{1,3}[.)])\s+(?:\[[ xX]\]\s+)?")
TABLE_RULE = re.compile(r"\|?\s*:?-{2,}:?\s*(?:\|\s*:?-*:?\s*)*\|?$")
CELL = re.compile(r"(?<!\\)\|(?=(?:[^`]*`[^`]*`)*[^`]*$)")
RST_RULE = re.compile(r"([=\-~^\"'`#*+.:_])\1{2,}$")
RST_ROLE = re.compile(r":[a-z]+(?::[a-z]+)*:`~?([^`<]+?)(?:\s*<[^>]*>)?`")
CODE = re.compile(r"(`+[^`]*`+)")
MARKS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"!\[[^\]]*\]\([^)]*\)"), ""),
    (re.compile(r"\[([^\]]+)\]\([^)]*\)"), r"\1"),
    (re.compile(r"\[([^\]]+)\]\[[^\]]*\]"), r"\1"),
    (re.compile(r"<(https?://[^>\s]+)>"), r"\1"),
    (re.compile(r"</?[a-zA-Z][^>]*>"), ""),
    (re.compile(r"\*\*|__"), ""),
    (re.compile(r"(?<![\w*])\*([^\s*][^*]*?)\*(?![\w*])"), r"\1"),
    (re.compile(r"(?<![\w_])_([^\s_][^_]*?)_(?![\w_])"), r"\1"),
    (re.compile(r"\\([\\`*_{}\[\]()#+\-.!|<>])"), r"\1"),
)


def without_marks(text: str) -> str:
    """Return one line without emphasis, links and tags; code keeps its backticks and everything in them."""
    parts = CODE.split(text)
    for index in range(0, len(parts), 2):
        for pattern, replacement in MARKS:
            parts[index] = pattern.sub(replacement, parts[index])
    return " ".join("".join(parts).split())


class Gatherer:
    """Collects lines into blocks and remembers the headings above them."""

    def __init__(self) -> None:
        self._headings: list[tuple[int, str]] = []
        self._lines: list[Line] = []

    @property
    def empty(self) -> bool:
        """Tell whether no block is open."""
        return not self._lines

    def heading(self, level: int, text: str) -> None:
        """Enter the section of a heading; deeper and equal ones end."""
        self._headings = [*((lv, t) for lv, t in self._headings if lv < level), (level, without_marks(text))]

    def add(self, number: int, text: str) -> None:
        """Add a line to the open block."""
        if clean := without_marks(text):
            self._lines.append((number, clean))

    def close(self) -> Blocks:
        """Yield the open block, if there is one."""
        if self._lines:
            yield " > ".join(text for _, text in self._headings), self._lines
            self._lines = []


def _cells(row: str) -> list[str]:
    return [without_marks(cell) for cell in CELL.split(row.strip().strip("|"))]


def row_text(header: list[str], cells: list[str]) -> str:
    """Return a table row as a sentence: the first cell, then each other one under its heading."""
    first, *others = [*cells, ""]
    named = [
        f"{name}: {cell}" if name else cell
        for name, cell in zip([*header[1:], *([""] * len(others))], others, strict=False)
        if cell
    ]
    return "; ".join(part for part in (first, *named) if part)


def _skipped_markdown(lines: list[str]) -> Iterator[Line]:
    """Yield the lines of a Markdown text that are neither code, comment nor front matter (those become blank)."""
    fence = ""
    comment = False
    front_matter = bool(lines) and lines[0].strip() == "---"
    for number, raw in enumerate(lines, 1):
        text = raw.strip()
        if front_matter:
            front_matter = not (number > 1 and text in {"---", "..."})
            yield number, ""
        elif fence:
            fence = "" if text.startswith(fence) and not text.strip(fence[0]) else fence
            yield number, ""
        elif match := FENCE.match(text):
            fence = match.group(1)
            yield number, ""
        elif comment or text.startswith("<!--"):
            comment = "-->" not in text
            yield number, ""
        else:
            yield number, raw.rstrip()


def blocks_of_markdown(text: str) -> Blocks:
    """Split Markdown; fenced code, comments and front matter are left out."""
    gatherer = Gatherer()
    header: list[str] | None = None
    before = ""
    for number, raw in _skipped_markdown(text.splitlines()):
        line = raw.strip().lstrip(">").strip()
        is_row = line.startswith("|")
        if not is_row:
            header = None
        if match := HEADING.match(line):
            yield from gatherer.close()
            gatherer.heading(len(match.group(1)), match.group(2))
        elif not line or re.fullmatch(r"([-*_]\s*){3,}|=+", line):
            yield from gatherer.close()
        elif is_row:
            yield from gatherer.close()
            if TABLE_RULE.match(line):
                header = _cells(before) if before.startswith("|") else []
            elif header is not None:
                gatherer.add(number, row_text(header, _cells(line)))
                yield from gatherer.close()
        elif match := ITEM.match(line):
            yield from gatherer.close()
            gatherer.add(number, line[match.end() :])
        elif raw.startswith(("    ", "\t")) and gatherer.empty:
            pass  # indented code
        else:
            gatherer.add(number, line)
        before = line
    yield from gatherer.close()


def blocks_of_rst(text: str) -> Blocks:
    """Split reStructuredText; directives, literal blocks and comments are left out."""
    gatherer = Gatherer()
    levels: list[str] = []
    lines = text.splitlines()
    literal_indent = -1
    for number, raw in enumerate(lines, 1):
        line = raw.strip()
        indent = len(raw) - len(raw.lstrip())
        following = lines[number].strip() if number < len(lines) else ""
        if literal_indent >= 0 and (not line or indent > literal_indent):
            continue
        literal_indent = -1
        if line.startswith(".. "):
            yield from gatherer.close()
            literal_indent = indent
        elif not line or RST_RULE.match(line):
            yield from gatherer.close()
        elif RST_RULE.match(following) and len(following) >= len(line) and gatherer.empty and not indent:
            if following[0] not in levels:
                levels.append(following[0])
            gatherer.heading(levels.index(following[0]) + 1, line)
        else:
            if match := ITEM.match(line):
                yield from gatherer.close()
                line = line[match.end() :]
            if line.endswith("::"):
                literal_indent = indent
                line = line[:-1]
            gatherer.add(number, RST_ROLE.sub(r"`\1`", line).replace("``", "`"))
            if literal_indent >= 0:
                yield from gatherer.close()
    yield from gatherer.close()


def blocks_of_text(text: str) -> Blocks:
    """Split plain text at blank lines and at list items."""
    gatherer = Gatherer()
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.strip()
        match = ITEM.match(line)
        if not line or match:
            yield from gatherer.close()
        if line:
            gatherer.add(number, line[match.end() :] if match else line)
    yield from gatherer.close()
