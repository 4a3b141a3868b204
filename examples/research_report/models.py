"""What travels between the steps of the research report; pydantic makes JSON of it and back."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

Comment = Annotated[str, BeforeValidator(lambda value: "" if value is None else value)]
"""What a reviewer said; a gate's output has null where nothing was said."""


class Model(BaseModel):
    """Base of all messages: unknown fields are refused, so that a typo in the workflow is found at once."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Corpus(Model):
    """Which documents are read.

    Attributes:
        folder: Folder the documents lie in; sources are cited relative to it.
        include: Glob patterns below the folder. Only `.md`, `.rst` and `.txt` files are read.
    """

    folder: str
    include: list[str] = Field(default=["**/*"], min_length=1)


class Source(Model):
    """A place in a document.

    Attributes:
        path: File, relative to the folder of the corpus, with `/`.
        line: First line, from 1.
        line_end: Last line.
        heading: The headings above it, outermost first, joined by ` > `. Empty if there are none.
    """

    path: str
    line: int
    line_end: int
    heading: str

    @property
    def where(self) -> str:
        """Return the place as people write it: `docs/semantics.md:12-14`."""
        return f"{self.path}:{self.line}" if self.line == self.line_end else f"{self.path}:{self.line}-{self.line_end}"


class Term(Model):
    """A word or phrase to search for.

    Attributes:
        text: The word or phrase.
        passages: In how many passages it occurs, in any inflection.
    """

    text: str
    passages: int


class PlanRequest(Model):
    """What is to be found out, and where."""

    question: str = Field(min_length=3, max_length=1000)
    corpus: Corpus


class Plan(Model):
    """How the documents will be searched.

    Attributes:
        terms: Words and phrases of the question, most telling first.
        related: Words that stand close to them in the documents; they count less.
        missing: Words of the question that no document contains.
        documents: Documents read.
        passages: Passages they fall into.
    """

    terms: list[Term]
    related: list[Term]
    missing: list[str]
    documents: int
    passages: int


class AnalysisRequest(Model):
    """What every analyst gets.

    Attributes:
        plan: How to search.
        corpus: Where to search.
        feedback: What a reviewer said about the first draft; its words are searched for as well.
    """

    plan: Plan
    corpus: Corpus
    feedback: Comment = ""


class Passage(Model):
    """A quotation that bears on the question.

    Attributes:
        source: Where it stands.
        quote: Its sentences, word for word (without the marks of the markup).
        score: How well it fits; larger is better, comparable within one answer only.
        terms: Which of the terms it contains.
    """

    source: Source
    quote: str
    score: float
    terms: list[str]


class Passages(Model):
    """The answer of the analyst who ranks passages.

    Attributes:
        passages: Best first.
        asked_for: Words of the reviewer that were searched for as well.
        not_found: Words of the reviewer that no document contains.
    """

    passages: list[Passage]
    asked_for: list[str] = []
    not_found: list[str] = []


class Figure(Model):
    """A figure or a date, in its sentence.

    Attributes:
        value: As written: `30 s`, `2024-05-01`, `6,000 steps/s`.
        kind: What sort of value it is.
        quote: The sentence it stands in.
        source: Where.
        score: How well the sentence fits the question.
    """

    value: str
    kind: Literal["date", "duration", "size", "rate", "percent", "money", "count"]
    quote: str
    source: Source
    score: float


class Figures(Model):
    """The answer of the analyst who looks for figures and dates, best first."""

    figures: list[Figure]


class OpenQuestion(Model):
    """Something the documents leave open.

    Attributes:
        quote: The sentence that says so.
        sign: The words by which it was recognised.
        source: Where it stands.
        score: How well it fits the question.
    """

    quote: str
    sign: str
    source: Source
    score: float


class Questions(Model):
    """The answer of the analyst who looks for what stays open.

    Attributes:
        questions: Best first.
        missing: Words of the question that no document contains.
    """

    questions: list[OpenQuestion]
    missing: list[str]


class DraftRequest(Model):
    """Everything the writer needs.

    Attributes:
        question: What is to be answered.
        plan: How the documents were searched.
        passages: What the first analyst found.
        figures: What the second found.
        questions: What the third found.
        feedback: What the reviewer said about the draft before. Empty for a first draft without a reviewer.
        revision: 1 for the first draft.
    """

    question: str
    plan: Plan
    passages: Passages
    figures: Figures
    questions: Questions
    feedback: Comment = ""
    revision: int = 1


class Draft(Model):
    """A report that waits for approval.

    Attributes:
        title: Its title.
        markdown: The whole text.
        citations: How many places in the text cite a source.
        sources: The sources, in the order of their numbers.
        writer: Who wrote it: `the extractive writer`, or `model <name>`.
        revision: 1 for the first draft.
    """

    title: str
    markdown: str
    citations: int
    sources: list[str]
    writer: str
    revision: int


class PublishRequest(Model):
    """An approved draft and where it goes.

    Attributes:
        draft: The draft.
        out: Folder for the file; made if it is not there.
        approval: The output of the gate that approved it; published are the names in `decided_by`.
    """

    draft: Draft
    out: str
    approval: dict[str, Any]


class Published(Model):
    """Where the report is.

    Attributes:
        path: The file.
        size_bytes: Its size.
        repeated: True if an earlier attempt had published it already; nothing was written then.
    """

    path: str
    size_bytes: int
    repeated: bool
