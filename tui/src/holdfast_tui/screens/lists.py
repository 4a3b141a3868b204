"""The columns of the two lists, and what they say when they are empty."""

from collections.abc import Iterable, Sequence

from holdfast.scrub import scrub
from holdfast_tui.store.link import LinkState
from holdfast_tui.store.rows import GateRow, RunRow
from holdfast_tui.store.times import Moments
from holdfast_tui.store.words import Line, Span, Tone, line
from holdfast_tui.widgets.columns import Column

__all__ = ["GATE_COLUMNS", "RUN_COLUMNS", "no_gates", "no_match", "no_runs", "not_there_yet"]

SOON_S = 600


def _deadline(row: GateRow, moments: Moments) -> Iterable[Span]:
    if row.deadline_s is None:
        return [Span("–", Tone.MUTED)]
    left_s = row.deadline_s - moments.now_s
    tone = Tone.BAD if left_s <= 0 else Tone.WARN if left_s < SOON_S else Tone.PLAIN
    return [Span(moments.until(row.deadline_s), tone)]


GATE_COLUMNS: Sequence[Column[GateRow]] = (
    Column("GATE", lambda row, _: [row.title], 16, keep=5),
    Column("STEP", lambda row, _: [row.step], 6, 20, keep=2),
    Column("RUN", lambda row, _: [row.run], 13, 36, ends=True, waits=True, keep=3),
    Column("AGE", lambda row, moments: [Span(moments.age(row.open_s), Tone.MUTED)], 3, 4, right=True, keep=4),
    Column("DEADLINE", _deadline, 8, 8, keep=6),
    Column("RISK", lambda row, _: [row.risk], 7, 7, keep=7),
)

RUN_COLUMNS: Sequence[Column[RunRow]] = (
    Column("STATE", lambda row, _: [row.mark, Span(" "), row.state], 12, 12, keep=7),
    Column("WORKFLOW", lambda row, _: [row.workflow], 12, 28, waits=True, keep=3),
    Column("RUN", lambda row, _: [row.run], 13, 36, ends=True, waits=True, keep=4),
    Column("AGE", lambda row, moments: [Span(moments.age(row.start_s), Tone.MUTED)], 3, 4, right=True, keep=6),
    Column("WAITS FOR / ENDED BY", lambda row, _: row.status, 18, keep=5),
)


def not_there_yet(state: LinkState, sentence: str) -> list[Line]:
    """Return what an empty list says while nothing was heard of a server."""
    if state is LinkState.CONNECTING and not sentence:
        return [line(Span("Connecting …", Tone.MUTED))]
    lines = [line("Nothing is known yet: the server has not answered.")]
    if state is LinkState.CONNECTING:
        lines.append(line(Span("Start one in another terminal: ", Tone.MUTED), "holdfast server"))
    return lines


def no_gates() -> list[Line]:
    """Return what the inbox says when nobody has to decide anything."""
    return [
        line("Nothing waits for a decision."),
        line(Span("Gates appear here by themselves. See what the runs do: ", Tone.MUTED), Span("tab", Tone.STRONG)),
    ]


def no_runs(namespace: str) -> list[Line]:
    """Return what the list of runs says when there are none."""
    return [
        line(f"No runs in namespace {scrub(namespace)} yet."),
        line(Span("Start one in another terminal: ", Tone.MUTED), "holdfast run start WORKFLOW"),
    ]


def no_match(words: str, total: int) -> list[Line]:
    """Return what a list says when the filter leaves nothing."""
    return [
        line(f"Nothing of {total:,} matches {scrub(words)!r}."),
        line(Span("Clear the filter: ", Tone.MUTED), Span("esc", Tone.STRONG)),
    ]
