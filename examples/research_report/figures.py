"""The analyst who collects figures and dates from the sentences that bear on the question."""

import re
from typing import Literal

from examples.research_report.documents import Documents
from examples.research_report.index import Index
from examples.research_report.models import Figure, Figures, Plan
from examples.research_report.planning import feedback_terms

FIGURES_MAX = 8
RELATED_WEIGHT = 0.25
# What scores less than this share of the best is not about the question.
SHARE_OF_BEST_MIN = 0.2
QUOTE_CHARACTERS_MAX = 320

Kind = Literal["date", "duration", "size", "rate", "percent", "money", "count"]

NUMBER = r"(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?"
RANGE = rf"(?:[~≈≤≥<>±−-]\s?)?{NUMBER}(?:\s?(?:-|–|to|and)\s?{NUMBER})?"  # noqa: RUF001 - signs of typeset text
MONTH = (
    r"(?:Jan(?:uary)?|Feb(?:ruary)?|Mar(?:ch)?|Apr(?:il)?|May|June?|July?|Aug(?:ust)?"
    r"|Sept?(?:ember)?|Oct(?:ober)?|Nov(?:ember)?|Dec(?:ember)?)"
)
TIME_UNIT = (
    r"(?:ns|µs|us|ms|s|sec|secs|seconds?|min|mins|minutes?|h|hrs?|hours?|d|days?|weeks?|months?|years?|milliseconds?)"
)
NO_NOUN = r"(?:against|and|are|for|from|has|have|means|of|or|per|than|that|the|then|was|were|when|which|with)"
SIZE_UNIT = r"(?:bytes?|[KMGT]i?B|kB|bits?|[KMG]bit|kg|km|cm|mm|litres?|tonnes?)"
START = r"(?<![\w.])"
# In order: the first kind that fits a place in the text names it. A group `value` is the part to show.
SHAPES: tuple[tuple[Kind, str], ...] = (
    ("date", r"\b\d{4}-\d{2}-\d{2}\b"),
    ("date", rf"\b(?:\d{{1,2}}\.?\s)?{MONTH}\s(?:\d{{1,2}},\s)?\d{{4}}\b"),
    ("date", r"\bQ[1-4]\s\d{4}\b"),
    ("date", r"\b(?:in|since|until|by|of|from)\s(?P<value>(?:19|20)\d{2})\b"),
    ("money", rf"[$€£]\s?{NUMBER}(?:\s?(?:million|billion|[kKmM]\b))?"),
    ("money", rf"\b{NUMBER}\s?(?:USD|EUR|GBP|dollars?|euros?)\b"),
    ("percent", rf"{RANGE}\s?(?:%|percent\b|per\scent\b)"),
    ("rate", rf"{START}{RANGE}\s?(?:[A-Za-z]+\s)?(?:[A-Za-z]+/(?:{TIME_UNIT}|step|run|item|row)\b|/s\b)"),
    ("rate", rf"{START}{RANGE}\s?[A-Za-z]*\s?(?:per|each)\s(?:second|minute|hour|day|step|run|worker|message|item)\b"),
    ("size", rf"{START}{RANGE}\s?{SIZE_UNIT}\b"),
    ("duration", rf"{START}{RANGE}\s?{TIME_UNIT}\b"),
    ("count", rf"(?<![\w.#:/-]){RANGE}\s?(?:\u00d7|x|times)(?![\w(])"),
    ("count", rf"(?<![\w.#:/-]){RANGE}(?<!\.\d)(?<!\.\d\d)\s(?!{NO_NOUN}\b)[a-z]{{3,}}(?![\w(])"),
    ("count", r"(?<![\w.:=])(?:\d{1,3}(?:,\d{3})+)(?![\w.]\d)"),
)
PATTERNS = tuple((kind, re.compile(shape)) for kind, shape in SHAPES)
WORTH: dict[Kind, float] = {
    "date": 1.2,
    "percent": 1.2,
    "money": 1.2,
    "rate": 1.2,
    "duration": 1.1,
    "size": 1.0,
    "count": 0.8,
}


def figures_in(text: str) -> list[tuple[str, Kind]]:
    """Return the figures and dates of a text with their kinds, in order of their place; each place counts once."""
    taken: list[tuple[int, int]] = []
    found: list[tuple[int, str, Kind]] = []
    for kind, pattern in PATTERNS:
        for match in pattern.finditer(text):
            group = "value" if "value" in pattern.groupindex else 0
            begin, end = match.span(group)
            if any(begin < stop and start < end for start, stop in taken):
                continue
            taken.append((begin, end))
            found.append((begin, match.group(group).strip(), kind))
    return [(value, kind) for _, value, kind in sorted(found)]


def find_figures(plan: Plan, documents: Documents, feedback: str = "") -> Figures:
    """Return the figures of the sentences that fit the plan best; one entry for each sentence, best first.

    Args:
        plan: What to search for.
        documents: Where.
        feedback: A reviewer's comment; its words are searched for too.
    """
    with Index(documents) as index:
        scores = index.ranked_sentences([*(term.text for term in plan.terms), *feedback_terms(feedback)])
        for row, score in index.ranked_sentences([term.text for term in plan.related]).items():
            scores[row] = scores.get(row, 0.0) + RELATED_WEIGHT * score
        figures = []
        for row, score in scores.items():
            number, sentence = index.sentences[row]
            found = figures_in(sentence.text)
            if not found or len(sentence.text) > QUOTE_CHARACTERS_MAX:
                continue
            position = index.blocks[number].sentences.index(sentence)
            kind = found[0][1]
            figures.append(
                Figure(
                    value=", ".join(dict.fromkeys(value for value, _ in found[:3])),
                    kind=kind,
                    quote=sentence.text,
                    source=index.blocks[number].source(position, position),
                    score=round(score * WORTH[kind], 3),
                )
            )
    figures.sort(key=lambda figure: (-figure.score, figure.source.path, figure.source.line))
    floor = figures[0].score * SHARE_OF_BEST_MIN if figures else 0.0
    return Figures(figures=[figure for figure in figures if figure.score >= floor][:FIGURES_MAX])
