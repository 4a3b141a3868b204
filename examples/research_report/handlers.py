"""The handlers of the research report: `holdfast worker examples.research_report.handlers`.

They are plain functions, so the worker runs each in a thread and the three analysts work side by side.
"""

import os
import time
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from examples.research_report.documents import CorpusError, Documents, read_documents
from examples.research_report.evidence import UnknownCitationError
from examples.research_report.figures import find_figures as figures_of
from examples.research_report.model import ModelBusyError, ModelRefusedError, ModelUnavailableError, model_from
from examples.research_report.models import (
    AnalysisRequest,
    Corpus,
    Draft,
    DraftRequest,
    Figures,
    Passages,
    Plan,
    PlanRequest,
    Published,
    PublishRequest,
    Questions,
)
from examples.research_report.planning import plan_search as plan_of
from examples.research_report.publishing import publish
from examples.research_report.questions import find_open_questions as questions_of
from examples.research_report.ranking import rank_passages as passages_of
from examples.research_report.writer import write_draft as draft_of
from holdfast import Failure, NonRetryable, TaskContext, handler

P = ParamSpec("P")
T = TypeVar("T")
STAND_IN = "The model could not be used, so the extractive writer stood in for it."


class NoDocuments(NonRetryable):
    """The folder holds nothing to read; trying again would not change that."""


class ModelBusy(Failure):
    """The model's server asks to come back later."""


class ModelUnavailable(Failure):
    """The model's server cannot be reached or gives nothing usable."""


class ModelRefused(NonRetryable):
    """The model's server refuses the request: key, model name or size."""


class UnknownCitation(Failure):
    """The model cited evidence it was not given; asking again may help."""


def paced(work: Callable[P, T]) -> Callable[P, T]:
    """Let a handler take at least `RESEARCH_STEP_S` seconds, so that people can follow it (the demo sets it)."""

    @wraps(work)
    def slower(*args: P.args, **kwargs: P.kwargs) -> T:
        begun = time.monotonic()
        result = work(*args, **kwargs)
        time.sleep(max(0.0, begun + float(os.environ.get("RESEARCH_STEP_S") or 0) - time.monotonic()))
        return result

    return slower


@handler
@paced
def plan_search(request: PlanRequest) -> Plan:
    """Choose what to search for."""
    return plan_of(request.question, _read(request.corpus))


@handler
@paced
def rank_passages(request: AnalysisRequest) -> Passages:
    """First analyst: the passages that fit best."""
    return passages_of(request.plan, _read(request.corpus), request.feedback)


@handler
@paced
def find_figures(request: AnalysisRequest) -> Figures:
    """Second analyst: figures and dates."""
    return figures_of(request.plan, _read(request.corpus), request.feedback)


@handler
@paced
def find_open_questions(request: AnalysisRequest) -> Questions:
    """Third analyst: what the documents leave open."""
    return questions_of(request.plan, _read(request.corpus), request.feedback)


@handler
@paced
def write_draft(request: DraftRequest) -> Draft:
    """Write the report, by the model if the environment names one."""
    try:
        return draft_of(request, model_from())
    except ModelBusyError as fault:
        raise ModelBusy(str(fault), retry_after=fault.retry_after_s) from fault
    except ModelUnavailableError as fault:
        raise ModelUnavailable(str(fault)) from fault
    except ModelRefusedError as fault:
        raise ModelRefused(str(fault)) from fault
    except UnknownCitationError as fault:
        raise UnknownCitation(str(fault)) from fault


@handler
@paced
def write_extract(request: DraftRequest) -> Draft:
    """Write the report without a model: the fallback of `write_draft`."""
    return draft_of(request, None, note=STAND_IN)


@handler
@paced
def publish_report(ctx: TaskContext, request: PublishRequest) -> Published:
    """Write the approved report to its file."""
    return publish(request, run_id=ctx.run_id, idempotency_key=ctx.idempotency_key)


def _read(corpus: Corpus) -> Documents:
    try:
        return read_documents(corpus)
    except CorpusError as fault:
        raise NoDocuments(str(fault)) from fault
