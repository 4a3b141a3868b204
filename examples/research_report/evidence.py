"""Keeps track of sources while a report is written, so that every citation leads to the lines it was taken from."""

import re

from examples.research_report.models import DraftRequest, Source

HEADING_CHARACTERS_MAX = 90
# While a report is being put together a citation is `[@7]`: the number of the evidence. Readers see numbers in the
# order in which they meet them.
MARKER = re.compile(r"\[@(\d+)\]")


class UnknownCitationError(ValueError):
    """A text cites evidence that was never given to its writer."""


class Evidence:
    """The numbered evidence of one report."""

    def __init__(self) -> None:
        self._sources: list[Source] = []

    def cite(self, source: Source) -> str:
        """Return the marker that cites a source; a place inside a known source gets that source's marker."""
        for number, known in enumerate(self._sources, 1):
            if known.path == source.path and known.line <= source.line and source.line_end <= known.line_end:
                return f"[@{number}]"
        self._sources.append(source)
        return f"[@{len(self._sources)}]"

    def numbered(self, markdown: str) -> tuple[str, list[Source], int]:
        """Return the text with the numbers readers see, the cited sources in that order, and how many citations it has.

        Raises:
            UnknownCitationError: A marker names no evidence.
        """
        order: dict[int, int] = {}
        citations = 0

        def number_of(match: re.Match[str]) -> str:
            nonlocal citations
            evidence = int(match.group(1))
            if not 1 <= evidence <= len(self._sources):
                raise UnknownCitationError(f"citation [{evidence}]: there are {len(self._sources)} pieces of evidence")
            citations += 1
            return f"[{order.setdefault(evidence, len(order) + 1)}]"

        text = MARKER.sub(number_of, markdown)
        return text, [self._sources[evidence - 1] for evidence in order], citations


def evidence_of(request: DraftRequest) -> Evidence:
    """Return the evidence with the passages numbered first, in their order; what else is cited comes after them."""
    evidence = Evidence()
    for passage in request.passages.passages:
        evidence.cite(passage.source)
    return evidence


def heading_shown(heading: str) -> str:
    """Return a heading as it is shown beside a source: without what stands in brackets, and not too long."""
    text = re.sub(r"\s*\([^()]*\)", "", heading).strip()
    return text if len(text) <= HEADING_CHARACTERS_MAX else text[: HEADING_CHARACTERS_MAX - 1].rstrip() + "…"


def quoted(text: str) -> str:
    """Return a quotation as Markdown; brackets around numbers are kept from looking like citations."""
    return "“" + re.sub(r"\[(@?\d+)\]", r"\\[\1\\]", text) + "”"


def cell(text: str) -> str:
    """Return a text that may stand in a cell of a Markdown table."""
    return text.replace("|", "\\|").replace("\n", " ")
