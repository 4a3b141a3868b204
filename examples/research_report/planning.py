"""Plans the search: which words of the question tell most, and which words of the documents go with them."""

import math
from pathlib import Path

from examples.research_report.documents import Documents
from examples.research_report.index import Index
from examples.research_report.models import Plan, Term
from examples.research_report.words import content_words, phrases, words

TERMS_MAX = 12
RELATED_MAX = 6
FEEDBACK_PASSAGES = 12
# How much more often a word must stand in the best passages than in all of them.
LIFT_MIN = 2.0
# In how many of the best passages a word must stand.
AMONG_BEST_MIN = 3
# Words by which a reviewer speaks of the report, not of its subject.
ABOUT_THE_REPORT = frozenset((Path(__file__).parent / "reviewer_words.txt").read_text(encoding="utf-8").split())


def plan_search(question: str, documents: Documents) -> Plan:
    """Choose the terms to search for.

    The words of the question are ordered by how rare they are. The best passages for them then show which other words
    belong to the matter (pseudo relevance feedback): those are searched for as well, with less weight.
    """
    with Index(documents) as index:
        asked = distinct_terms(question)[:TERMS_MAX]
        counts = {term: len(index.holding(term)) for term in asked}
        terms = [Term(text=term, passages=count) for term, count in counts.items() if count]
        terms.sort(key=lambda term: term.passages)
        missing = [term for term, count in counts.items() if not count]
        related = _related(index, [term.text for term in terms])
        return Plan(
            terms=terms,
            related=related,
            missing=missing,
            documents=len(documents.paths),
            passages=len(documents.blocks),
        )


def distinct_terms(text: str) -> list[str]:
    """Return the phrases and telling words of a text, without words that differ in the ending only."""
    chosen = phrases(text)
    inside = {word for phrase in chosen for word in words(phrase)}
    for word in content_words(text):
        if word not in inside and not any(_same_stem(word, other) for other in chosen):
            chosen.append(word)
    return chosen


def feedback_terms(feedback: str) -> list[str]:
    """Return what a reviewer wants to be searched for: the comment's terms without words about the report itself."""
    return [term for term in distinct_terms(feedback) if term not in ABOUT_THE_REPORT]


def _related(index: Index, terms: list[str]) -> list[Term]:
    """Return words that the best passages for the terms share, and that are rare elsewhere."""
    held = [index.holding(term) for term in terms]
    ranked = index.passages(terms)
    # Passages that hold several of the words are about the question; those with one word, repeated, often are not.
    best = sorted(ranked, key=lambda n: (-sum(n in numbers for numbers in held), -ranked[n]))[:FEEDBACK_PASSAGES]
    counts: dict[str, int] = {}
    for number in best:
        for word in content_words(index.blocks[number].text):
            counts[word] = counts.get(word, 0) + 1
    scored: list[tuple[float, str, int]] = []
    for word, among_best in counts.items():
        if among_best < AMONG_BEST_MIN or len(word) < 4 or any(_same_stem(word, term) for term in terms):
            continue
        everywhere = len(index.holding(word))
        lift = (among_best / len(best)) / (max(1, everywhere) / len(index.blocks))
        if lift > LIFT_MIN:
            scored.append((among_best * math.log(lift), word, everywhere))
    scored.sort(key=lambda entry: (-entry[0], entry[1]))
    chosen: list[Term] = []
    for _, word, everywhere in scored:
        if not any(_same_stem(word, other.text) for other in chosen):
            chosen.append(Term(text=word, passages=everywhere))
    return chosen[:RELATED_MAX]


def _same_stem(word: str, other: str) -> bool:
    """Tell whether two words differ in their ending only."""
    shorter = min(len(word), len(other))
    shared = shorter - 1 if shorter > 4 else shorter
    return word[:shared] == other[:shared] and abs(len(word) - len(other)) <= 3
