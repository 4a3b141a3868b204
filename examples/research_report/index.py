"""Full-text search over passages and sentences: SQLite FTS5 in memory, ranked by `bm25()`."""

from collections.abc import Iterable, Sequence
from importlib import import_module
from importlib.util import find_spec
from sqlite3 import Connection
from types import TracebackType
from typing import Any, Self

from examples.research_report.documents import Block, Documents, Sentence

SCHEMA = """
CREATE VIRTUAL TABLE passage USING fts5(heading, body, tokenize = "porter unicode61 tokenchars '_'");
CREATE VIRTUAL TABLE sentence USING fts5(body, passage UNINDEXED, tokenize = "porter unicode61 tokenchars '_'");
CREATE VIRTUAL TABLE stem USING fts5vocab(passage, row);
"""
# A hit in a heading is worth half a hit in the text: headings repeat what every passage below them says already.
PASSAGE_RANK = "bm25(passage, 0.5, 1.0)"


def match_any(terms: Iterable[str]) -> str:
    """Return an FTS5 query for passages that contain any of the terms; a term of several words is a phrase."""
    return " OR ".join('"' + term.replace('"', '""') + '"' for term in terms)


class Index:
    """The passages and sentences of some documents, searchable while the object is open."""

    def __init__(self, documents: Documents) -> None:
        self.blocks: list[Block] = documents.blocks
        self.sentences: list[tuple[int, Sentence]] = [
            (number, sentence) for number, block in enumerate(self.blocks) for sentence in block.sentences
        ]
        self._database = _open()
        self._database.executescript(SCHEMA)
        self._database.executemany(
            "INSERT INTO passage (rowid, heading, body) VALUES (?, ?, ?)",
            ((number, block.heading, block.text) for number, block in enumerate(self.blocks)),
        )
        self._database.executemany(
            "INSERT INTO sentence (rowid, body, passage) VALUES (?, ?, ?)",
            ((row, sentence.text, number) for row, (number, sentence) in enumerate(self.sentences)),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._database.close()

    def passages(self, terms: Sequence[str], *, limit: int = -1) -> dict[int, float]:
        """Return numbers of passages that contain any of the terms, with their score (larger is better), best first."""
        if not terms:
            return {}
        query = f"SELECT rowid, -{PASSAGE_RANK} AS score FROM passage WHERE passage MATCH ? ORDER BY score DESC LIMIT ?"  # noqa: S608 - a constant
        return dict(self._database.execute(query, (match_any(terms), limit)))

    def ranked_sentences(self, terms: Sequence[str], *, limit: int = -1) -> dict[int, float]:
        """Return numbers of sentences that contain any of the terms, with their score, best first."""
        if not terms:
            return {}
        query = (
            "SELECT rowid, -bm25(sentence) AS score FROM sentence WHERE sentence MATCH ? ORDER BY score DESC LIMIT ?"
        )
        return dict(self._database.execute(query, (match_any(terms), limit)))

    def holding(self, term: str, *, in_heading: bool = False) -> set[int]:
        """Return numbers of the passages whose text (or heading) contains a word or phrase, in any inflection."""
        query = "SELECT rowid FROM passage WHERE passage MATCH ?"
        column = "" if in_heading else "body : "
        return {row for (row,) in self._database.execute(query, (column + match_any([term]),))}

    def sentences_holding(self, term: str) -> set[int]:
        """Return numbers of the sentences that contain a word or phrase, in any inflection."""
        query = "SELECT rowid FROM sentence WHERE sentence MATCH ?"
        return {row for (row,) in self._database.execute(query, (match_any([term]),))}


def _open() -> Connection:
    # The wheel of pysqlite3 brings a current SQLite with FTS5; the standard library's serves where there is no wheel.
    library: Any = import_module("pysqlite3" if find_spec("pysqlite3") else "sqlite3")
    connection: Connection = library.connect(":memory:")
    return connection
