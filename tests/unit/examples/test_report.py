"""The report: right citations, readable sections, an honest writer, a model that is checked."""

import re
from pathlib import Path

import pytest

from examples.research_report.documents import Documents, read_documents
from examples.research_report.evidence import Evidence, UnknownCitationError, cell, heading_shown, quoted
from examples.research_report.extractive import wants_less
from examples.research_report.figures import find_figures
from examples.research_report.markup import CELL, without_marks
from examples.research_report.model import Model, ModelUnavailableError, prompt, with_markers
from examples.research_report.models import Corpus, Draft, DraftRequest, Source
from examples.research_report.planning import plan_search
from examples.research_report.questions import find_open_questions
from examples.research_report.ranking import rank_passages
from examples.research_report.words import words
from examples.research_report.writer import write_draft
from tests.unit.examples.corpus import orchard

ROOT = Path(__file__).resolve().parents[3]
QUESTION = "How long do apples and pears keep, when are they picked, and how is the press cleaned?"
CITED_QUOTE = re.compile(r"“([^”]*)” \[(\d+)\]")


def _request(documents: Documents, question: str = QUESTION, feedback: str | None = None) -> DraftRequest:
    plan = plan_search(question, documents)
    return DraftRequest(
        question=question,
        plan=plan,
        passages=rank_passages(plan, documents, feedback or ""),
        figures=find_figures(plan, documents),
        questions=find_open_questions(plan, documents),
        feedback=feedback or "",
        revision=1 if feedback is None else 2,
    )


def _section(markdown: str, title: str) -> str:
    _, _, rest = markdown.partition(f"## {title}\n")
    return rest.partition("\n## ")[0]


def _misquoted(draft: Draft, folder: Path) -> list[str]:
    """Return the citations whose words do not stand, in order, on the cited lines."""
    faults = []
    for quote, number in CITED_QUOTE.findall(draft.markdown):
        path, _, lines = draft.sources[int(number) - 1].rpartition(":")
        first, _, last = lines.partition("-")
        cited = (folder / path).read_text(encoding="utf-8").splitlines()[int(first) - 1 : int(last or first)]
        there = words(" ".join(without_marks(CELL.sub(" ", line)) for line in cited))
        position = iter(there)
        # Names of table columns are written out in the quote; they stand in the head of the table.
        missing = [word for word in words(re.sub(r"; [^;:]+: ", " ", quote)) if word not in position]
        if missing:
            faults.append(f"[{number}] {path}:{lines}: {missing}")
    return faults


def test_every_citation_leads_to_its_words(tmp_path: Path) -> None:
    draft = write_draft(_request(read_documents(orchard(tmp_path))), None)

    assert len(CITED_QUOTE.findall(draft.markdown)) == draft.citations >= 4
    assert _misquoted(draft, tmp_path) == []


def test_every_citation_leads_to_its_words_in_this_repository() -> None:
    corpus = Corpus(folder=str(ROOT), include=["*.md", "docs/**/*", "bench/*.md", "examples/**/*.md"])
    question = "What is a dependency for, and which limits and defaults does the server have?"
    draft = write_draft(_request(read_documents(corpus), question), None)

    assert draft.citations > 5
    assert _misquoted(draft, ROOT) == []


def test_sections_come_in_order_and_sources_are_numbered_as_met(tmp_path: Path) -> None:
    draft = write_draft(_request(read_documents(orchard(tmp_path))), None)
    numbers = [int(number) for number in re.findall(r" \[(\d+)\]", draft.markdown)]

    assert re.findall(r"^#+ (.*)$", draft.markdown, re.MULTILINE)[0] == QUESTION
    assert re.findall(r"^## (.*)$", draft.markdown, re.MULTILINE) == [
        "In short",
        "Findings",
        "Figures and dates",
        "Open questions",
        "Sources",
        "How this report was made",
    ]
    assert list(dict.fromkeys(numbers)) == list(range(1, len(draft.sources) + 1))
    assert re.findall(r"^(\d+)\. `(.*?)`", _section(draft.markdown, "Sources"), re.MULTILINE) == [
        (str(number), where) for number, where in enumerate(draft.sources, 1)
    ]


def test_the_extractive_writer_says_what_it_is(tmp_path: Path) -> None:
    draft = write_draft(_request(read_documents(orchard(tmp_path))), None, note="The model was away.")
    how = _section(draft.markdown, "How this report was made")

    assert draft.writer == "the extractive writer"
    assert "The model was away. Written by the extractive writer: no model took part." in how
    assert "Searched 3 documents with" in how


def test_without_an_answer_the_report_says_so(tmp_path: Path) -> None:
    draft = write_draft(_request(read_documents(orchard(tmp_path)), "Which spaceships dock?"), None)

    assert "The documents do not answer this question" in _section(draft.markdown, "In short")
    assert "No document says anything about “spaceships”." in _section(draft.markdown, "Open questions")
    assert (draft.citations, draft.sources) == (0, [])


def test_weak_evidence_is_called_weak(tmp_path: Path) -> None:
    question = "How do robots, drones and satellites bring apples to the harbour?"
    draft = write_draft(_request(read_documents(orchard(tmp_path)), question), None)

    assert "The documents hardly speak of this: no passage holds more than 1 of" in draft.markdown


def test_a_revision_tells_what_the_reviewer_said_and_what_came_of_it(tmp_path: Path) -> None:
    documents = read_documents(orchard(tmp_path))
    draft = write_draft(_request(documents, feedback="Shorter, but with the frost and the robots."), None)
    changes = _section(draft.markdown, "Changed in this revision")

    assert draft.revision == 2
    assert "The reviewer said: “Shorter, but with the frost and the robots.”" in changes
    assert "also for “frost”" in changes
    assert "No document contains “robots”." in changes
    assert "Only the strongest findings are kept." in changes
    assert "before the frost comes" in _section(draft.markdown, "In short")
    assert _misquoted(draft, tmp_path) == []


def test_a_revision_without_a_comment_is_possible(tmp_path: Path) -> None:
    draft = write_draft(_request(read_documents(orchard(tmp_path)), feedback=""), None)

    assert "The reviewer gave no comment." in _section(draft.markdown, "Changed in this revision")


@pytest.mark.parametrize(("feedback", "less"), [("Too long!", True), ("make it brief", True), ("more on hail", False)])
def test_a_wish_for_less_is_understood(feedback: str, less: bool) -> None:
    assert wants_less(feedback) is less


class _Scripted(Model):
    """A model that writes what the test says."""

    def write(self, request: DraftRequest) -> str:
        if self.base_url == "unavailable":
            raise ModelUnavailableError(self.base_url)
        return self.base_url


def _model(text: str) -> Model:
    return _Scripted(base_url=text, api_key="", name="scripted")


def test_a_models_text_gets_its_citations_numbered_and_its_sources_listed(tmp_path: Path) -> None:
    request = _request(read_documents(orchard(tmp_path)))
    draft = write_draft(request, _model("## In short\n\nThey keep [2, 1].\n\n## Findings\n\n- Weeks [2]."))

    assert draft.writer == "model scripted"
    assert "They keep [1][2]." in draft.markdown
    assert "- Weeks [1]." in draft.markdown
    assert draft.sources[:2] == [request.passages.passages[1].source.where, request.passages.passages[0].source.where]
    assert "written by the model `scripted`" in _section(draft.markdown, "How this report was made")


@pytest.mark.parametrize("text", ["It is so [99].", "It is so [0].", "It is so, without any proof."])
def test_a_model_that_cites_what_it_was_not_given_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(UnknownCitationError):
        write_draft(_request(read_documents(orchard(tmp_path))), _model(text))


def test_the_prompt_numbers_the_evidence_and_tells_the_reviewers_words(tmp_path: Path) -> None:
    request = _request(read_documents(orchard(tmp_path)), feedback="And the hail?")
    asked = prompt(request)

    assert f"Question: {QUESTION}" in asked
    assert f"[1] ({request.passages.passages[0].source.where}, " in asked
    assert asked.endswith("rejected the draft before and said:\nAnd the hail?")


def test_markers_of_grouped_citations() -> None:
    assert (
        with_markers("a [1] b [2,3] c [4; 5] d [x] e [2024-01-01]")
        == "a [@1] b [@2][@3] c [@4][@5] d [x] e [2024-01-01]"
    )


def test_brackets_in_a_quotation_are_no_citations() -> None:
    evidence = Evidence()
    marker = evidence.cite(Source(path="a.md", line=1, line_end=1, heading=""))
    text, sources, citations = evidence.numbered(f"{quoted('as shown in [3] and [@1]')} {marker}")

    assert text == "“as shown in \\[3\\] and \\[@1\\]” [1]"
    assert (len(sources), citations) == (1, 1)


def test_a_place_inside_a_cited_place_is_the_same_source() -> None:
    evidence = Evidence()

    assert evidence.cite(Source(path="a.md", line=1, line_end=9, heading="")) == "[@1]"
    assert evidence.cite(Source(path="a.md", line=3, line_end=4, heading="")) == "[@1]"
    assert evidence.cite(Source(path="b.md", line=3, line_end=4, heading="")) == "[@2]"


def test_headings_and_cells_are_shown_whole_but_harmless() -> None:
    assert heading_shown("Limits (settings; defaults)") == "Limits"
    assert heading_shown("x" * 200) == "x" * 89 + "…"
    assert cell("a | b\nc") == "a \\| b c"
