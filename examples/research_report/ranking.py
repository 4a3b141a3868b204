"""The analyst who ranks passages: which quotations answer the question best, without saying the same thing twice."""

import math
import re
from dataclasses import dataclass

from examples.research_report.documents import Block, Documents
from examples.research_report.index import Index
from examples.research_report.markup import CODE
from examples.research_report.models import Passage, Passages, Plan
from examples.research_report.planning import feedback_terms
from examples.research_report.words import content_words, words

PASSAGES_MAX = 12
PASSAGES_MAX_REVISED = 16
RELATED_WEIGHT = 0.25
FEEDBACK_WEIGHT = 1.5
QUOTE_WORDS_MAX = 70
PLAIN_WORD = re.compile(r"""["'(“]*[A-Za-z]+(?:['’-][A-Za-z]+)*[.,;:!?)"'”]*""")
# How much two passages may share before the weaker one is left out (Jaccard over their words).
OVERLAP_MAX = 0.5
# How much of the choice is about fit; the rest is about saying something new.
FIT_SHARE = 0.75


@dataclass(frozen=True, slots=True)
class _Candidate:
    number: int
    score: float
    vocabulary: frozenset[str]


def rank_passages(plan: Plan, documents: Documents, feedback: str = "") -> Passages:
    """Return the passages that fit the plan best, best first.

    Args:
        plan: What to search for.
        documents: Where.
        feedback: A reviewer's comment. Its words are searched for too, and passages that hold them come first.
    """
    with Index(documents) as index:
        wanted = feedback_terms(feedback)
        asked_for = [term for term in wanted if index.holding(term)]
        terms = [term.text for term in plan.terms]
        scores = _scores(index, terms, [term.text for term in plan.related], asked_for)
        chosen = _choose(index, scores, PASSAGES_MAX_REVISED if feedback else PASSAGES_MAX)
        holding = {term: index.holding(term) for term in [*terms, *asked_for]}
        sentence_scores = index.ranked_sentences([*terms, *asked_for])
        first_sentence = _first_sentences(index)
        passages = []
        for candidate in chosen:
            block = index.blocks[candidate.number]
            first, last = _quote_range(block, first_sentence[candidate.number], sentence_scores)
            passages.append(
                Passage(
                    source=block.source(first, last),
                    quote=" ".join(sentence.text for sentence in block.sentences[first : last + 1]),
                    score=round(candidate.score, 3),
                    terms=[term for term, numbers in holding.items() if candidate.number in numbers],
                )
            )
        not_found = [term for term in wanted if term not in asked_for]
        return Passages(passages=passages, asked_for=asked_for, not_found=not_found)


def _scores(index: Index, terms: list[str], related: list[str], asked_for: list[str]) -> dict[int, float]:
    """Return the score of every passage that has any of the words."""
    scores: dict[int, float] = {}
    for group, weight in ((terms, 1.0), (related, RELATED_WEIGHT), (asked_for, FEEDBACK_WEIGHT)):
        for number, score in index.passages(group).items():
            scores[number] = scores.get(number, 0.0) + weight * score
    # bm25 adds up what single words are worth; a passage that holds most of the telling words is about the question.
    wanted = [*terms, *asked_for]
    in_body = {term: index.holding(term) for term in wanted}
    in_heading = {term: index.holding(term, in_heading=True) for term in wanted}
    telling = {term: math.log(1 + len(index.blocks) / max(1, len(numbers))) for term, numbers in in_body.items()}
    total = sum(telling.values()) or 1.0
    weighed: dict[int, tuple[float, float]] = {}
    for number, score in scores.items():
        body = [term for term in wanted if number in in_body[term]]
        above = [term for term in wanted if term not in body and number in in_heading[term]]
        covered = (sum(telling[term] for term in body) + 0.5 * sum(telling[term] for term in above)) / total
        readable = 0.4 + 0.6 * _prose_share(index.blocks[number].text)
        # One word that the reviewer asked for is enough; of the question's own, one alone says little.
        held = math.inf if any(term in asked_for for term in body) else len(body) + len(above)
        weighed[number] = (held, score * (0.25 + covered) * readable)
    needed = (
        next((n for n in (2, 1) if sum(held >= n for held, _ in weighed.values()) >= n), 0) if len(wanted) > 2 else 1
    )
    return {number: score for number, (held, score) in weighed.items() if held >= needed}


def _prose_share(text: str) -> float:
    """Return the share of plain words in a text: lists of names, code and formulas rank lower than sentences."""
    tokens = text.split()
    plain = sum(PLAIN_WORD.fullmatch(token) is not None for token in CODE.sub("", text).split())
    return plain / max(1, len(tokens))


def _choose(index: Index, scores: dict[int, float], count: int) -> list[_Candidate]:
    """Choose greedily by fit and novelty (maximal marginal relevance)."""
    if not scores:
        return []
    best = max(scores.values())
    pool = [
        _Candidate(number, score, frozenset(content_words(index.blocks[number].text)))
        for number, score in sorted(scores.items(), key=lambda item: (-item[1], item[0]))[: 8 * count]
        if score > 0.1 * best
    ]
    chosen: list[_Candidate] = []
    while pool and len(chosen) < count:
        value, pick = max(
            ((FIT_SHARE * c.score / best - (1 - FIT_SHARE) * _overlap(c, chosen), c) for c in pool),
            key=lambda entry: (entry[0], -entry[1].number),
        )
        pool.remove(pick)
        if _overlap(pick, chosen) <= OVERLAP_MAX and value > 0:
            chosen.append(pick)
    return sorted(chosen, key=lambda candidate: -candidate.score)


def _overlap(candidate: _Candidate, chosen: list[_Candidate]) -> float:
    return max(
        (len(candidate.vocabulary & c.vocabulary) / max(1, len(candidate.vocabulary | c.vocabulary)) for c in chosen),
        default=0.0,
    )


def _first_sentences(index: Index) -> list[int]:
    """Return for every passage the number of its first sentence in the index."""
    first = [0] * len(index.blocks)
    for row in range(len(index.sentences) - 1, -1, -1):
        first[index.sentences[row][0]] = row
    return first


def _quote_range(block: Block, first_row: int, sentence_scores: dict[int, float]) -> tuple[int, int]:
    """Return the first and last sentence to quote: a whole short passage, else what stands around its best sentence."""
    sizes = [len(words(sentence.text)) for sentence in block.sentences]
    if sum(sizes) <= QUOTE_WORDS_MAX:
        return 0, len(sizes) - 1
    worth = [sentence_scores.get(first_row + position, 0.0) for position in range(len(sizes))]
    first = last = max(range(len(sizes)), key=lambda position: (worth[position], -position))
    total = sizes[first]
    while True:
        before = first - 1 if first > 0 and total + sizes[first - 1] <= QUOTE_WORDS_MAX else None
        after = last + 1 if last + 1 < len(sizes) and total + sizes[last + 1] <= QUOTE_WORDS_MAX else None
        if after is not None and (before is None or worth[after] >= worth[before]):
            last, total = after, total + sizes[after]
        elif before is not None:
            first, total = before, total + sizes[before]
        else:
            return first, last
