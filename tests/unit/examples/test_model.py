"""The model writer against a real HTTP server: answers, refusals, waiting, and what must never be told."""

import pytest

from examples.research_report.model import (
    Model,
    ModelBusyError,
    ModelError,
    ModelRefusedError,
    ModelUnavailableError,
    model_from,
)
from examples.research_report.models import DraftRequest, Figures, Passages, Plan, Questions
from tests.unit.examples.provider import Provider

KEY = "made-up-key-of-the-test"
REQUEST = DraftRequest(
    question="What is it?",
    plan=Plan(terms=[], related=[], missing=[], documents=0, passages=0),
    passages=Passages(passages=[]),
    figures=Figures(figures=[]),
    questions=Questions(questions=[], missing=[]),
)


def _model(provider: Provider) -> Model:
    return Model(base_url=provider.url, api_key=KEY, name="tiny", timeout_s=30)


def test_it_asks_for_a_chat_completion_and_returns_its_text(provider: Provider) -> None:
    assert _model(provider).write(REQUEST) == "A text."

    path, authorization, body = provider.asked[0]
    assert (path, authorization) == ("/v1/chat/completions", f"Bearer {KEY}")
    assert body["model"] == "tiny"
    assert [message["role"] for message in body["messages"]] == ["system", "user"]


@pytest.mark.parametrize(
    ("headers", "retry_after_s"),
    [
        ({"Retry-After": "7"}, 7.0),
        ({"Retry-After": "Fri, 02 Jan 2026 00:00:09 GMT", "Date": "Fri, 02 Jan 2026 00:00:00 GMT"}, 9.0),
        ({"Retry-After": "soon"}, None),
        ({}, None),
    ],
)
def test_429_says_when_to_come_back(provider: Provider, headers: dict[str, str], retry_after_s: float | None) -> None:
    provider.status, provider.headers = 429, headers

    with pytest.raises(ModelBusyError) as raised:
        _model(provider).write(REQUEST)
    assert raised.value.retry_after_s == retry_after_s


@pytest.mark.parametrize(
    ("status", "error", "hint"),
    [
        (400, ModelRefusedError, "check OPENAI_MODEL"),
        (401, ModelRefusedError, "check OPENAI_API_KEY"),
        (403, ModelRefusedError, "check OPENAI_API_KEY"),
        (404, ModelRefusedError, "check OPENAI_MODEL and OPENAI_BASE_URL"),
        (408, ModelUnavailableError, "408"),
        (500, ModelUnavailableError, "500"),
        (503, ModelUnavailableError, "503"),
    ],
)
def test_refusals_are_final_and_faults_are_not(
    provider: Provider, status: int, error: type[ModelError], hint: str
) -> None:
    provider.status, provider.body = status, b'{"error": "because"}'

    with pytest.raises(error, match=hint) as raised:
        _model(provider).write(REQUEST)
    assert "because" in str(raised.value)
    assert KEY not in str(raised.value)


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b'{"choices": []}', b'{"choices": [{"message": {"content": ""}}]}']
)
def test_an_unreadable_answer_is_tried_again(provider: Provider, body: bytes) -> None:
    provider.body = body

    with pytest.raises(ModelUnavailableError, match="answer"):
        _model(provider).write(REQUEST)


def test_a_server_that_is_not_there_is_tried_again(provider: Provider) -> None:
    # Port 9 of the loopback (discard) is not served.
    away = Model(base_url="http://127.0.0.1:9/v1", api_key=KEY, name="tiny", timeout_s=30)

    with pytest.raises(ModelUnavailableError, match="no answer from http://127"):
        away.write(REQUEST)


def test_only_http_is_spoken() -> None:
    with pytest.raises(ModelRefusedError, match="OPENAI_BASE_URL must begin with"):
        Model(base_url="file:///etc", api_key=KEY, name="tiny").write(REQUEST)


def test_the_environment_switches_it_on() -> None:
    both = {"OPENAI_BASE_URL": "http://127.0.0.1:1/v1", "OPENAI_API_KEY": KEY}

    assert model_from({}) is None
    assert model_from({"OPENAI_API_KEY": KEY}) is None
    assert model_from(both) == Model(base_url="http://127.0.0.1:1/v1", api_key=KEY, name="gpt-4o-mini")
    named = model_from({**both, "OPENAI_MODEL": "local"})
    assert named is not None
    assert named.name == "local"
