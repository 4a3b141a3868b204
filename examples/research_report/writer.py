"""Puts a report together: what the writer wrote, the tables of the analysts, the sources, and how it came about."""

from examples.research_report.evidence import Evidence, UnknownCitationError, cell, evidence_of, heading_shown, quoted
from examples.research_report.extractive import NAME, wants_less, write_extractive
from examples.research_report.model import Model, with_markers
from examples.research_report.models import Draft, DraftRequest, Source

HOW_EXTRACTIVE = (
    "Written by the extractive writer: no model took part. It chose and ordered passages; everything in quotation "
    "marks is word for word from the documents (marks of the markup taken off, table rows written out with the names "
    "of their columns)."
)
HOW_MODEL = (
    "“In short” and “Findings” were written by the model `{name}` from the quoted passages; that every citation names "
    "a passage it was given was checked, that every sentence follows from it was not. The tables and the sources were "
    "made without the model."
)


def write_draft(request: DraftRequest, model: Model | None, *, note: str = "") -> Draft:
    """Return the draft of the report.

    Args:
        request: What the analysts found and, in a revision, what the reviewer said.
        model: Writes the prose. None lets the extractive writer do it.
        note: Told to the reader, for example why no model wrote although there is one.

    Raises:
        UnknownCitationError: The model cites evidence it was not given, or cites nothing at all.
        ModelError: The model gave no text.
    """
    evidence = evidence_of(request)
    if model is None:
        core, writer, how = write_extractive(request, evidence), NAME, HOW_EXTRACTIVE
    else:
        core, writer, how = (
            _by_model(request, model, evidence),
            f"model {model.name}",
            HOW_MODEL.format(name=model.name),
        )
    sections = [
        f"# {request.question}\n",
        *([_changes(request, extractive=model is None)] if request.revision > 1 else []),
        core,
        _figures(request, evidence),
        _open_questions(request, evidence),
    ]
    text, sources, citations = evidence.numbered("\n".join(section for section in sections if section))
    markdown = "\n".join([text, _sources(sources), _making(request, " ".join(part for part in (note, how) if part))])
    return Draft(
        title=request.question,
        markdown=markdown,
        citations=citations,
        sources=[source.where for source in sources],
        writer=writer,
        revision=request.revision,
    )


def _by_model(request: DraftRequest, model: Model, evidence: Evidence) -> str:
    text = with_markers(model.write(request))
    # Checked here as well, so that a text that cites only what the tables bring is refused.
    given = len(request.passages.passages)
    _, cited, count = evidence.numbered(text)
    if given and not count:
        raise UnknownCitationError("the text cites nothing")
    if len(cited) > given:
        raise UnknownCitationError(f"the text cites {len(cited)} sources, {given} were given")
    return text + "\n"


def _changes(request: DraftRequest, *, extractive: bool) -> str:
    lines = ["## Changed in this revision\n"]
    lines.append(
        f"The reviewer said: {quoted(request.feedback)}" if request.feedback else "The reviewer gave no comment."
    )
    if request.passages.asked_for:
        asked_for = ", ".join(f"“{word}”" for word in request.passages.asked_for)
        lines.append(f"\nSearched again, also for {asked_for}; what contains these words comes first.")
    elif not request.feedback:
        lines.append("\nSearched again for the same words.")
    if request.passages.not_found:
        lines.append("\nNo document contains " + ", ".join(f"“{word}”" for word in request.passages.not_found) + ".")
    if extractive and wants_less(request.feedback):
        lines.append("\nOnly the strongest findings are kept.")
    return "\n".join(lines) + "\n"


def _figures(request: DraftRequest, evidence: Evidence) -> str:
    if not request.figures.figures:
        return "## Figures and dates\n\nNone stand in sentences about this question.\n"
    rows = [
        f"| {cell(figure.value)} | {figure.kind} | {cell(quoted(figure.quote))} {evidence.cite(figure.source)} |"
        for figure in request.figures.figures
    ]
    return "\n".join(["## Figures and dates\n", "| figure | kind | where it stands |", "|---|---|---|", *rows, ""])


def _open_questions(request: DraftRequest, evidence: Evidence) -> str:
    found = [
        f"- {quoted(question.quote)} {evidence.cite(question.source)} (sign: *{question.sign}*)"
        for question in request.questions.questions
    ]
    found += [f"- No document says anything about “{word}”." for word in request.questions.missing]
    if not found:
        found = ["The documents name none near this question, and every word of the question occurs in them."]
    return "\n".join(["## Open questions\n", *found, ""])


def _sources(sources: list[Source]) -> str:
    lines = [
        f"{number}. `{source.where}`" + (f" — {heading_shown(source.heading)}" if source.heading else "")
        for number, source in enumerate(sources, 1)
    ]
    return "\n".join(["## Sources\n", *(lines or ["None."]), ""])


def _making(request: DraftRequest, how: str) -> str:
    plan = request.plan
    terms = ", ".join(f"{term.text} ({term.passages})" for term in plan.terms) or "nothing that any document contains"
    related = ", ".join(f"{term.text} ({term.passages})" for term in plan.related)
    lines = ["## How this report was made\n", how, ""]
    lines.append(
        f"Searched {plan.documents} documents with {plan.passages} passages for {terms}"
        + (f"; with less weight for {related}" if related else "")
        + ". In brackets: passages that contain the word."
    )
    return "\n".join(lines) + "\n"
