"""The honest writer that needs no model: it chooses, orders and quotes; not one sentence of the findings is its own."""

import re
from itertools import groupby

from examples.research_report.evidence import Evidence, heading_shown, quoted
from examples.research_report.models import DraftRequest, Passage
from examples.research_report.words import words

NAME = "the extractive writer"
SHORT_ANSWERS_MAX = 3
SHORT_ANSWER_WORDS_MAX = 60
FINDINGS_MAX_WHEN_SHORT = 3
WANTS_LESS = re.compile(r"\b(?:short(?:er|en)?|brief(?:er|ly)?|concise|less|fewer|too long|cut|trim)\b", re.IGNORECASE)


def write_extractive(request: DraftRequest, evidence: Evidence) -> str:
    """Return the sections `In short` and `Findings`, made of quotations."""
    passages = _in_order(request)
    if not passages:
        return "## In short\n\nThe documents do not answer this question: no passage contains enough of its words.\n"
    short, others = _split(passages)
    if wants_less(request.feedback):
        others = others[:FINDINGS_MAX_WHEN_SHORT]
    parts = ["## In short\n", *_caution(request), *(f"- {_quotation(passage, evidence)}" for passage in short), ""]
    if others:
        parts += ["## Findings\n", *_findings(others, evidence)]
    return "\n".join(parts)


def wants_less(feedback: str) -> bool:
    """Tell whether a reviewer asks for a shorter report."""
    return WANTS_LESS.search(feedback) is not None


def _caution(request: DraftRequest) -> list[str]:
    """Return a warning if no passage holds half of what the question speaks of; otherwise nothing."""
    asked = [*(term.text for term in request.plan.terms), *request.plan.missing]
    held = max(len(set(asked) & set(passage.terms)) for passage in request.passages.passages)
    if 2 * held >= len(asked):
        return []
    return [f"The documents hardly speak of this: no passage holds more than {held} of the words {', '.join(asked)}.\n"]


def _in_order(request: DraftRequest) -> list[Passage]:
    """Return the passages; those that hold what the reviewer asked for come first."""
    asked_for = set(request.passages.asked_for)
    return sorted(request.passages.passages, key=lambda passage: (-len(asked_for & set(passage.terms)), -passage.score))


def _split(passages: list[Passage]) -> tuple[list[Passage], list[Passage]]:
    """Return the passages that answer in short, and the others: whole sentences, and not too long, answer best."""
    fit = [passage for passage in passages if _is_prose(passage.quote)]
    short = (fit or passages)[:SHORT_ANSWERS_MAX]
    return short, [passage for passage in passages if passage not in short]


def _is_prose(quote: str) -> bool:
    return quote.endswith((".", "!", "?")) and len(words(quote)) <= SHORT_ANSWER_WORDS_MAX


def _quotation(passage: Passage, evidence: Evidence) -> str:
    return f"{quoted(passage.quote)} {evidence.cite(passage.source)}"


def _findings(passages: list[Passage], evidence: Evidence) -> list[str]:
    """Return the findings grouped by document, the document of the best passage first."""
    first_met = {path: rank for rank, path in reversed(list(enumerate(p.source.path for p in passages)))}
    by_document = sorted(passages, key=lambda passage: first_met[passage.source.path])
    lines: list[str] = []
    for path, group in groupby(by_document, key=lambda passage: passage.source.path):
        lines += [f"### `{path}`\n", *(_finding(passage, evidence) for passage in group), ""]
    return lines


def _finding(passage: Passage, evidence: Evidence) -> str:
    section = heading_shown(passage.source.heading.rpartition(" > ")[2])
    return f"- *{section}*: {_quotation(passage, evidence)}" if section else f"- {_quotation(passage, evidence)}"
