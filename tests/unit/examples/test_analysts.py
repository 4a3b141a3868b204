"""Planning the search and the three analysts, over real files."""

from pathlib import Path

import pytest

from examples.research_report.documents import Documents, read_documents
from examples.research_report.figures import figures_in, find_figures
from examples.research_report.index import Index, match_any
from examples.research_report.models import Corpus
from examples.research_report.planning import distinct_terms, feedback_terms, plan_search
from examples.research_report.questions import find_open_questions
from examples.research_report.ranking import rank_passages
from tests.unit.examples.corpus import orchard

QUESTION = "When are the apples picked, and how long do they keep in the cold?"


@pytest.fixture
def documents(tmp_path: Path) -> Documents:
    return read_documents(orchard(tmp_path))


def test_the_plan_has_the_telling_words_rarest_first_and_names_what_is_missing(documents: Documents) -> None:
    plan = plan_search("When are apples picked by robots?", documents)

    assert [(term.text, term.passages) for term in plan.terms] == [("picked", 2), ("apples", 4)]
    assert plan.missing == ["robots"]
    assert (plan.documents, plan.passages) == (3, len(documents.blocks))


@pytest.mark.parametrize(
    ("question", "terms"),
    [
        ("What is the lease of a worker?", ["lease", "worker"]),
        ('Where is "cold store" used, in the store?', ["cold store"]),
        ("How do you `kill -9` killed things?", ["kill -9", "killed"]),
        ("who decides, and may they decide?", ["decides"]),
        ("is it of the and?", []),
        ("5 of 7", []),
    ],
)
def test_terms_are_phrases_and_words_that_tell_something(question: str, terms: list[str]) -> None:
    assert distinct_terms(question) == terms


def test_words_about_the_report_are_no_search_terms() -> None:
    assert feedback_terms("Too long: shorten the draft and add more about hail, please.") == ["hail"]


def test_words_that_stand_near_are_searched_for_too(tmp_path: Path) -> None:
    lines = [f"The comet has a tail of dust and ice, seen in year {n}.\n\n" for n in range(4)]
    lines += [f"Planet number {n} has a moon, and it turns slowly around it.\n\n" for n in range(20)]
    (tmp_path / "sky.md").write_text("".join(lines), encoding="utf-8")
    plan = plan_search("Where is the comet?", read_documents(Corpus(folder=str(tmp_path))))

    assert {"tail", "dust"} <= {term.text for term in plan.related}
    assert {"comet", "planet", "moon"} & {term.text for term in plan.related} == set()


def test_passages_hold_the_words_in_any_inflection_best_first(documents: Documents) -> None:
    found = rank_passages(plan_search(QUESTION, documents), documents)

    assert found.passages[0].source.where == "orchard.md:11"
    assert {"orchard.md:6-7", "notes/letter.txt:3-4"} <= {passage.source.where for passage in found.passages}
    assert [p.score for p in found.passages] == sorted((p.score for p in found.passages), reverse=True)
    assert "keep" in next(p for p in found.passages if p.source.where == "orchard.md:11").terms


def test_the_reviewers_words_bring_their_passages_to_the_top(documents: Documents) -> None:
    plan = plan_search(QUESTION, documents)
    found = rank_passages(plan, documents, "What about the frost and the pears? And robots?")

    assert found.asked_for == ["frost", "pears"]
    assert found.not_found == ["robots"]
    assert {p.source.where for p in found.passages} >= {"notes/letter.txt:3-4", "orchard.md:12"}


def test_nothing_fits_is_an_answer(documents: Documents) -> None:
    plan = plan_search("Which spaceships dock?", documents)

    assert plan.terms == []
    assert plan.missing == ["spaceships", "dock"]
    assert rank_passages(plan, documents).passages == []
    assert find_figures(plan, documents).figures == []
    assert find_open_questions(plan, documents).missing == ["spaceships", "dock"]


def test_passages_that_say_the_same_come_once(tmp_path: Path) -> None:
    corpus = orchard(tmp_path)
    for number in range(3):
        (tmp_path / f"copy{number}.md").write_text("Cider needs ripe apples and patience.\n", encoding="utf-8")
    documents = read_documents(corpus)
    found = rank_passages(plan_search("What does cider need?", documents), documents)

    assert [p.quote for p in found.passages].count("Cider needs ripe apples and patience.") == 1


def test_a_long_passage_is_quoted_around_its_best_sentence(tmp_path: Path) -> None:
    filler = " ".join(f"Sentence number {n} talks about something else entirely." for n in range(20))
    (tmp_path / "long.md").write_text(f"{filler}\nThe comet returns in winter.\n{filler}\n", encoding="utf-8")
    corpus = orchard(tmp_path / "other").model_copy(update={"folder": str(tmp_path)})
    documents = read_documents(corpus)
    (passage,) = rank_passages(plan_search("When does the comet return?", documents), documents).passages

    assert "The comet returns in winter." in passage.quote
    assert len(passage.quote.split()) <= 70
    assert passage.source.line <= 2 <= passage.source.line_end


@pytest.mark.parametrize(
    ("text", "figures"),
    [
        ("It takes 30 s, at most 5 min.", [("30 s", "duration"), ("5 min", "duration")]),
        ("On 2024-10-01 and in 2023.", [("2024-10-01", "date"), ("2023", "date")]),
        ("It was 12 March 2024, or Q3 2024.", [("12 March 2024", "date"), ("Q3 2024", "date")]),
        ("6,000 steps/s at 8 KiB", [("6,000 steps/s", "rate"), ("8 KiB", "size")]),
        ("300 litres per hour", [("300 litres per hour", "rate")]),
        ("12 % of $1.5 million", [("12 %", "percent"), ("$1.5 million", "money")]),
        ("10 to 2,000 runs", [("10 to 2,000 runs", "count")]),
        ("see section 3.2, port 7411 and v1.2.3 of file.py:12", []),
        ("~320 µs", [("~320 µs", "duration")]),
    ],
)
def test_figures_and_dates_are_told_apart(text: str, figures: list[tuple[str, str]]) -> None:
    assert figures_in(text) == figures


def test_figures_come_with_their_sentence_and_place(documents: Documents) -> None:
    found = find_figures(
        plan_search("How much do apples weigh in the harvest, and how long do they keep?", documents), documents
    )
    harvest = next(f for f in found.figures if f.source.where == "orchard.md:6-7")

    assert harvest.value == "2023, 4,200 kg, 12 %"
    assert harvest.kind == "date"
    assert harvest.quote.startswith("The harvest of 2023 brought")
    assert "8 weeks" in {f.value for f in found.figures} | {v for f in found.figures for v in f.value.split(", ")}


def test_open_questions_are_recognised_by_their_signs(documents: Documents) -> None:
    found = find_open_questions(
        plan_search("How long do pears keep, and what do the cloths of the press need?", documents), documents
    )

    assert {(q.source.where, q.sign) for q in found.questions} == {
        ("orchard.md:12", "not yet known"),
        ("notes/press.rst:18", "?"),
    }


def test_the_index_takes_any_text_as_a_term(documents: Documents) -> None:
    with Index(documents) as index:
        for odd in ['"', "a OR b", "NEAR(", "x*", "-", "col:umn", "'; DROP TABLE passage"]:
            assert index.holding(odd) == set()
        assert index.passages([]) == {}
        assert index.ranked_sentences([]) == {}

    assert match_any(["a b", 'say "x"']) == '"a b" OR "say ""x"""'
