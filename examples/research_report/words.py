"""What counts as a word worth searching for, and how quoted phrases are kept together."""

import re
from pathlib import Path

WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*[A-Za-z0-9]|[A-Za-z0-9]")
PHRASE = re.compile(r'["“]([^"”]{2,80})["”]|`([^`]{2,80})`')
STOPWORDS = frozenset((Path(__file__).parent / "stopwords.txt").read_text(encoding="utf-8").split())


def words(text: str) -> list[str]:
    """Return the words of a text in lower case, in order, with repetitions."""
    return [match.group().lower() for match in WORD.finditer(text)]


def phrases(text: str) -> list[str]:
    """Return what stands in quotation marks or backticks, in order, each once."""
    found = [(quoted or code).strip() for quoted, code in PHRASE.findall(text)]
    return list(dict.fromkeys(phrase for phrase in found if words(phrase)))


def content_words(text: str) -> list[str]:
    """Return the words that carry meaning, in order, each once; numbers alone do not."""
    return list(dict.fromkeys(w for w in words(text) if len(w) > 1 and w not in STOPWORDS and not w.isdigit()))
