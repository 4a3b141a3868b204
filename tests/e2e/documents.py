"""Reads the blocks of Markdown documents and tells which commands stand in them.

What the blocks of a document mean to the tests is written down in CONTRIBUTING.md, "Documents".
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = tuple(
    sorted(
        path.relative_to(ROOT).as_posix()
        for pattern in ("*.md", "bench/*.md", "docs/**/*.md", "examples/**/*.md")
        for path in ROOT.glob(pattern)
    )
)

FENCE = re.compile(r"^ {0,3}```")
NOT_RUN = re.compile(r"<!-- not run: (\S.*?) -->")
EXCERPT = re.compile(r"<!-- from (\S+) -->")
KEEPS_RUNNING = re.compile(r"\s+#.*\bkeeps running\b.*$")
UNTIL_IT_ENDS = re.compile(r"\s+#.*\buntil it ends\b.*$")
EXIT_CODE = re.compile(r"\s+#.*\bexit code (\d+)\b.*$")
TRAILING_COMMENT = re.compile(r"\s+# .*$")


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        line: number of its first line of text.
        language: the word behind the fence.
        text: what stands in it.
        not_run: why it is not run; empty if it is.
        excerpt_of: the file it must be an excerpt of; empty for none.
    """

    document: str
    line: int
    language: str
    text: str
    not_run: str
    excerpt_of: str

    @property
    def place(self) -> str:
        return f"{self.document}:{self.line}"


@dataclass
class Command:
    """A command of a document, with the output the document shows for it."""

    place: str
    text: str
    keeps_running: bool = False
    until_it_ends: bool = False
    exit_code: int = 0
    output: list[str] = field(default_factory=list)

    @property
    def in_background(self) -> bool:
        return self.keeps_running or self.until_it_ends


def text_of(document: str) -> str:
    return (ROOT / document).read_text(encoding="utf-8")


def blocks_of(document: str) -> list[Block]:
    """Return the blocks of a document, in order."""
    found: list[Block] = []
    inside: tuple[int, str, list[str], str] | None = None
    note = ""
    for number, line in enumerate(text_of(document).splitlines(), 1):
        if inside is not None:
            start, language, lines, marks = inside
            if FENCE.match(line):
                not_run, excerpt = NOT_RUN.search(marks), EXCERPT.search(marks)
                found.append(
                    Block(
                        document,
                        start,
                        language,
                        "\n".join(lines) + "\n",
                        not_run[1] if not_run else "",
                        excerpt[1] if excerpt else "",
                    )
                )
                inside = None
            else:
                lines.append(line)
        elif FENCE.match(line):
            inside = (number + 1, line.strip().removeprefix("```").strip(), [], note)
            note = ""
        elif line.strip():
            note = line
    assert inside is None, f"{document}: a block is not closed"
    return found


def commands_of(document: str) -> list[Command]:
    """Return the commands of a document's `sh` and `console` blocks that are run, in order."""
    return [
        command
        for block in blocks_of(document)
        if block.language in {"sh", "console"} and not block.not_run
        for command in _commands(block)
    ]


def _commands(block: Block) -> Iterator[Command]:
    prompt = "$ " if block.language == "console" else ""
    current: Command | None = None
    open_line = ""
    for number, line in enumerate(block.text.splitlines(), block.line):
        if open_line or (line.startswith(prompt) and line.strip() and not line.startswith("#")):
            joined = open_line + line.removeprefix(prompt)
            if joined.endswith("\\"):
                open_line = joined.removesuffix("\\")
                continue
            open_line = ""
            if current is not None:
                yield current
            current = _command(f"{block.document}:{number}", joined)
        elif current is not None and prompt and line.strip():
            current.output.append(line)
    assert not open_line, f"{block.place}: the last command is not complete"
    if current is not None:
        yield current


def _command(place: str, line: str) -> Command:
    if match := KEEPS_RUNNING.search(line):
        return Command(place, line[: match.start()].strip(), keeps_running=True)
    if match := UNTIL_IT_ENDS.search(line):
        return Command(place, line[: match.start()].strip(), until_it_ends=True)
    if match := EXIT_CODE.search(line):
        return Command(place, line[: match.start()].strip(), exit_code=int(match[1]))
    return Command(place, TRAILING_COMMENT.sub("", line).strip())


ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[()][A-Z0-9]|\x1b[=>]|\r")
ID = re.compile(r"\b[0-9a-f]{6,}(?:-[0-9a-f]+)*\b")
NUMBER = re.compile(r"\d+(?:[.,:T-]\d+)*")
SPACES = re.compile(r"\s+")


def masked(line: str) -> str:
    """Return a line without what differs from time to time: ids, numbers, times, widths of columns, colours."""
    plain = ANSI.sub("", line)
    return SPACES.sub(" ", NUMBER.sub("#", ID.sub("#", plain))).strip()


def missing_line(documented: list[str], printed: str) -> str | None:
    """Return the first documented line that was not printed after those before it; None if all were.

    In a document `…` stands for anything, and a line of nothing else for lines left out.
    """
    lines = iter([masked(line) for line in printed.splitlines()])
    for wanted in documented:
        if wanted.strip() == "…":
            continue
        parts = [re.escape(masked(part)) for part in wanted.split("…")]
        pattern = re.compile(r"\s*.*\s*".join(parts))
        if not any(pattern.fullmatch(line) for line in lines):
            return wanted
    return None
