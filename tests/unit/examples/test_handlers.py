"""The handlers over real files, from plan to published report, and the failures they raise."""

from pathlib import Path

import pytest

from examples.research_report import handlers
from examples.research_report.models import AnalysisRequest, Corpus, DraftRequest, PlanRequest
from tests.unit.examples.corpus import orchard
from tests.unit.examples.provider import Provider

QUESTION = "When are apples picked?"


def _draft_request(corpus: Corpus) -> DraftRequest:
    plan = handlers.plan_search(PlanRequest(question=QUESTION, corpus=corpus))
    request = AnalysisRequest(plan=plan, corpus=corpus)
    return DraftRequest(
        question=QUESTION,
        plan=plan,
        passages=handlers.rank_passages(request),
        figures=handlers.find_figures(request),
        questions=handlers.find_open_questions(request),
    )


@pytest.fixture(autouse=True)
def _no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_BASE_URL", "OPENAI_API_KEY", "OPENAI_MODEL", "RESEARCH_STEP_S"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def model(provider: Provider, monkeypatch: pytest.MonkeyPatch) -> Provider:
    monkeypatch.setenv("OPENAI_BASE_URL", provider.url)
    monkeypatch.setenv("OPENAI_API_KEY", "made-up")
    return provider


def test_the_steps_lead_from_a_question_to_a_draft(tmp_path: Path) -> None:
    draft = handlers.write_draft(_draft_request(orchard(tmp_path)))

    assert draft.writer == "the extractive writer"
    assert "Apples are picked in September." in draft.markdown
    assert draft.citations >= 2


def test_a_folder_without_documents_is_not_tried_again(tmp_path: Path) -> None:
    with pytest.raises(handlers.NoDocuments, match="no text") as raised:
        handlers.plan_search(PlanRequest(question=QUESTION, corpus=Corpus(folder=str(tmp_path))))

    assert not raised.value.retryable
    assert raised.value.type == "NoDocuments"


def test_a_model_writes_where_the_environment_names_one(tmp_path: Path, model: Provider) -> None:
    model.body = b'{"choices": [{"message": {"content": "## In short\\n\\nIn September [1]."}}]}'

    draft = handlers.write_draft(_draft_request(orchard(tmp_path)))
    assert draft.writer == "model gpt-4o-mini"
    assert "In September [1]." in draft.markdown


def test_a_busy_model_says_when_to_come_back(tmp_path: Path, model: Provider) -> None:
    model.status, model.headers = 429, {"Retry-After": "11"}

    with pytest.raises(handlers.ModelBusy) as raised:
        handlers.write_draft(_draft_request(orchard(tmp_path)))
    assert raised.value.retryable
    assert raised.value.retry_after is not None
    assert raised.value.retry_after.total_seconds() == 11


@pytest.mark.parametrize(
    ("status", "type_", "retryable"), [(503, "ModelUnavailable", True), (401, "ModelRefused", False)]
)
def test_faults_of_the_model_are_failures_by_their_kind(
    tmp_path: Path, model: Provider, status: int, type_: str, retryable: bool
) -> None:
    model.status = status

    with pytest.raises((handlers.ModelUnavailable, handlers.ModelRefused)) as raised:
        handlers.write_draft(_draft_request(orchard(tmp_path)))
    assert (raised.value.type, raised.value.retryable) == (type_, retryable)


def test_a_citation_out_of_thin_air_is_a_failure(tmp_path: Path, model: Provider) -> None:
    model.body = b'{"choices": [{"message": {"content": "It is so [77]."}}]}'

    with pytest.raises(handlers.UnknownCitation, match="77"):
        handlers.write_draft(_draft_request(orchard(tmp_path)))


def test_the_stand_in_says_that_it_is_one(tmp_path: Path, model: Provider) -> None:
    draft = handlers.write_extract(_draft_request(orchard(tmp_path)))

    assert draft.writer == "the extractive writer"
    assert "The model could not be used, so the extractive writer stood in for it." in draft.markdown
    assert model.asked == []


def test_the_handlers_take_the_json_of_the_workflow() -> None:
    request = AnalysisRequest.model_validate(
        {
            "plan": {"terms": [], "related": [], "missing": [], "documents": 1, "passages": 1},
            "corpus": {"folder": "docs"},
            "feedback": None,  # a rejection without a comment
        }
    )

    assert (request.feedback, request.corpus.include) == ("", ["**/*"])
