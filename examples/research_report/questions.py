"""The analyst who collects what the documents leave open: their own questions, reservations and plans, and gaps."""

import re

from examples.research_report.documents import Documents
from examples.research_report.index import Index
from examples.research_report.models import OpenQuestion, Plan, Questions
from examples.research_report.planning import feedback_terms

QUESTIONS_MAX = 6
QUOTE_CHARACTERS_MAX = 360
RELATED_WEIGHT = 0.25
# What scores less than this share of the best is not about the question.
SHARE_OF_BEST_MIN = 0.15
# How plainly a sign says that something is open.
SIGNS_BY_WEIGHT: tuple[tuple[float, str], ...] = (
    (2.0, r"\b(?:open question|still open|left open|undecided|to be decided|yet to be|TBD|unresolved)\b"),
    (1.8, r"\b(?:is|are|remains?|still) (?:unknown|uncertain)\b"),
    (1.8, r"\b(?:unclear|not (?:yet )?known|nobody knows)\b"),
    (1.8, r"\bnot yet\b|\bno \w+ yet\b"),
    (1.6, r"\b(?:remains? to be|needs? to be (?:decided|measured|checked|tested))\b"),
    (1.6, r"\bnot (?:been )?(?:measured|tested|proved)\b"),
    (1.5, r"\?$"),
    (1.4, r"\b(?:planned|will follow|comes? later|(?:until|till) then|future (?:work|version|release)s?)\b"),
    (1.4, r"\ba later (?:version|release|issue)\b"),
    (1.4, r"\b(?:not supported|unsupported|out of scope|limitations?|not covered|does not cover|no guarantee)\b"),
    (1.2, r"\b(?:we assume|it is assumed|assumptions?|(?:may|might|could) change|experimental|provisional)\b"),
)
SIGNS = tuple((re.compile(sign, re.IGNORECASE), weight) for weight, sign in SIGNS_BY_WEIGHT)


def find_open_questions(plan: Plan, documents: Documents, feedback: str = "") -> Questions:
    """Return the sentences near the question that leave something open, best first, and the gaps.

    Args:
        plan: What to search for.
        documents: Where.
        feedback: A reviewer's comment; its words are searched for too.
    """
    with Index(documents) as index:
        near = index.passages([*(term.text for term in plan.terms), *feedback_terms(feedback)])
        for number, score in index.passages([term.text for term in plan.related]).items():
            near[number] = near.get(number, 0.0) + RELATED_WEIGHT * score
        questions = []
        for number, score in near.items():
            block = index.blocks[number]
            for position, sentence in enumerate(block.sentences):
                sign = _sign(sentence.text)
                if sign is None or len(sentence.text) > QUOTE_CHARACTERS_MAX:
                    continue
                words, weight = sign
                source = block.source(position, position)
                questions.append(
                    OpenQuestion(quote=sentence.text, sign=words, source=source, score=round(score * weight, 3))
                )
    questions.sort(key=lambda question: (-question.score, question.source.path, question.source.line))
    floor = questions[0].score * SHARE_OF_BEST_MIN if questions else 0.0
    near_enough = [question for question in questions if question.score >= floor]
    return Questions(questions=near_enough[:QUESTIONS_MAX], missing=plan.missing)


def _sign(text: str) -> tuple[str, float] | None:
    """Return the plainest sign in a sentence that it leaves something open, with its weight."""
    found = [(match.group(), weight) for pattern, weight in SIGNS if (match := pattern.search(text))]
    return max(found, key=lambda entry: entry[1], default=None)
