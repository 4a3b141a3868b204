"""Reads a folder of Markdown, reStructuredText and plain text and splits it into passages that know their lines."""

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from examples.research_report.markup import Line, blocks_of_markdown, blocks_of_rst, blocks_of_text
from examples.research_report.models import Corpus, Source

READERS = {".md": blocks_of_markdown, ".rst": blocks_of_rst, ".txt": blocks_of_text}
SIZE_BYTES_MAX = 2 * 1024 * 1024
DOCUMENTS_MAX = 2_000
WORDS_MIN = 4
# A full stop that ends one of these does not end a sentence.
ABBREVIATION = re.compile(r"(?:\b(?:e\.g|i\.e|etc|vs|cf|approx|dr|mr|mrs|st|incl|resp)|\b[A-Z])\.$", re.IGNORECASE)
# Nor does a full stop that ends one of these before a number.
COUNTED = re.compile(r"\b(?:no|fig|vol|sec|p)\.$", re.IGNORECASE)
SENTENCE_END = re.compile(r"""(?<=[.!?])["')\]]*\s+(?=["'(\[`“]*[A-Z0-9`“])""")


class CorpusError(ValueError):
    """The documents cannot be read as asked; the message says what to change."""


@dataclass(frozen=True, slots=True)
class Sentence:
    """One sentence with the lines it stands on."""

    text: str
    line: int
    line_end: int


@dataclass(frozen=True, slots=True)
class Block:
    """One paragraph, list item or table row."""

    path: str
    heading: str
    sentences: tuple[Sentence, ...]

    @property
    def text(self) -> str:
        """Return the sentences as one text."""
        return " ".join(sentence.text for sentence in self.sentences)

    def source(self, first: int = 0, last: int | None = None) -> Source:
        """Return the place of the sentences from `first` to `last` (inclusive; None means the last one)."""
        end = self.sentences[-1 if last is None else last]
        return Source(path=self.path, line=self.sentences[first].line, line_end=end.line_end, heading=self.heading)


@dataclass(slots=True)
class Documents:
    """Everything that was read.

    Attributes:
        paths: The files, relative to the folder.
        blocks: Their passages, file by file, in order.
    """

    paths: list[str] = field(default_factory=list)
    blocks: list[Block] = field(default_factory=list)


def read_documents(corpus: Corpus) -> Documents:
    """Read the documents of a corpus.

    Raises:
        CorpusError: The folder is not there, holds nothing that can be read, or too much.
    """
    folder = Path(corpus.folder)
    if not folder.is_dir():
        raise CorpusError(f"folder: {corpus.folder!r} is not a folder; name one that holds .md, .rst or .txt files")
    documents = Documents()
    for path in _files(folder, corpus.include):
        name = path.relative_to(folder).as_posix()
        documents.paths.append(name)
        documents.blocks.extend(_blocks(name, path.read_text(encoding="utf-8", errors="replace"), path.suffix.lower()))
    if not documents.blocks:
        raise CorpusError(
            f"include: no text in .md, .rst or .txt files below {corpus.folder!r} that match {corpus.include}"
        )
    return documents


def _files(folder: Path, patterns: Iterable[str]) -> list[Path]:
    found = {
        path
        for pattern in patterns
        for path in folder.glob(pattern)
        if path.suffix.lower() in READERS and path.is_file() and not _hidden(path.relative_to(folder))
    }
    if len(found) > DOCUMENTS_MAX:
        raise CorpusError(f"include: {len(found)} documents are more than {DOCUMENTS_MAX}; choose a smaller folder")
    for path in sorted(found):
        if (size_bytes := path.stat().st_size) > SIZE_BYTES_MAX:
            raise CorpusError(f"include: {path.name} has {size_bytes} bytes, more than {SIZE_BYTES_MAX}; leave it out")
    return sorted(found)


def _hidden(relative: Path) -> bool:
    return any(part.startswith(".") or part == "node_modules" for part in relative.parts)


def _blocks(name: str, text: str, suffix: str) -> Iterator[Block]:
    for heading, lines in READERS[suffix](text):
        sentences = tuple(split_sentences(lines))
        if sum(len(sentence.text.split()) for sentence in sentences) >= WORDS_MIN:
            yield Block(path=name, heading=heading, sentences=sentences)


def split_sentences(lines: Iterable[Line]) -> Iterator[Sentence]:
    """Split lines that belong together into sentences, each with the lines it covers."""
    text = ""
    starts: list[tuple[int, int]] = []
    for number, content in lines:
        text += " " if text else ""
        starts.append((len(text), number))
        text += content
    begin = 0
    for end, after in [*_boundaries(text), (len(text), len(text))]:
        if sentence := text[begin:end].strip():
            yield Sentence(sentence, _line_at(starts, begin), _line_at(starts, max(begin, end - 1)))
        begin = after


def _boundaries(text: str) -> Iterator[tuple[int, int]]:
    for match in SENTENCE_END.finditer(text):
        mark = match.start()  # just behind the full stop
        closing = len(match.group().rstrip())
        if ABBREVIATION.search(text[:mark]) or (text[match.end()].isdigit() and COUNTED.search(text[:mark])):
            continue
        if text[:mark].count("`") % 2:  # inside code
            continue
        yield mark + closing, match.end()


def _line_at(starts: list[tuple[int, int]], offset: int) -> int:
    return starts[max(0, bisect_right(starts, offset, key=lambda start: start[0]) - 1)][1]
