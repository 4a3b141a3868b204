"""Tables for people, at most 80 columns wide."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.floors import Verdict
from bench.processes import ROLES
from bench.report import PointReport, WorkloadReport

# Load average per core above which other programs disturb the measurement.
LOAD_QUIET = 0.25
ROW_WIDTH = 44

Figures = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Row:
    """The table of a workload that has one row.

    Attributes:
        title: What is measured, from the figures.
        columns: Head, figure and format of each column.
        checked: What holds of every run that was read, from the figures.
        notes: More lines below it, from the figures.
    """

    title: Callable[[Figures], str]
    columns: Sequence[tuple[str, str, str]]
    checked: Callable[[Figures], str]
    notes: Callable[[Figures], Sequence[str]] = lambda _: ()


_SPREAD = (("p50 ms", "p50_ms", ",.2f"), ("p95 ms", "p95_ms", ",.2f"), ("p99 ms", "p99_ms", ",.2f"))
ROWS = {
    "W2": Row(
        title=lambda _: "one run at a time, from start to result",
        columns=_SPREAD,
        checked=lambda _: "five succeeded steps each",
    ),
    "W3": Row(
        title=lambda f: f"one run of {f['width']:,} parallel steps and their join, from start to result",
        columns=(("seconds", "seconds", ",.3f"), ("slowest", "slowest_s", ",.3f"), ("steps/s", "steps_per_s", ",.0f")),
        checked=lambda f: f"{f['steps'] / f['runs']:,.0f} succeeded steps each",
    ),
    "W4": Row(
        title=lambda f: f"{f['width']:,} runs started as fast as possible, until all have ended",
        columns=(
            ("starts/s", "starts_per_s", ",.0f"),
            ("seconds", "seconds", ",.2f"),
            ("RSS MB", "peak_mb", ",.0f"),
            ("steps/s", "steps_per_s", ",.0f"),
        ),
        checked=lambda _: "five succeeded steps each",
    ),
    "W5": Row(
        title=lambda _: "from a signal to the end of the run that waits for it",
        columns=_SPREAD,
        checked=lambda _: "one succeeded step each",
    ),
    "W6": Row(
        title=lambda f: f"one run of {f['length']:,} steps one after the other, from start to result",
        columns=(
            ("seconds", "seconds", ",.3f"),
            ("last/first", "decile_ratio", ",.3f"),
            ("B/step", "bytes_per_step", ",.0f"),
            ("steps/s", "steps_per_s", ",.0f"),
        ),
        checked=lambda f: f"{f['length']:,} succeeded steps each",
    ),
    "W7": Row(
        title=lambda f: f"{f['waiting']:,} runs at gates, the server killed and started again, decisions",
        columns=(("restart s", "restart_s", ",.2f"), ("RSS MB", "peak_mb", ",.0f"), *_SPREAD),
        checked=lambda _: "one step, or it waits yet",
        notes=lambda f: (
            f"started at {f['starts_per_s']:,.0f} runs/s; RSS until the restart: {_shown(f['filled_mb'], ',.0f')} MB",
        ),
    ),
}


def head(about: Mapping[str, Any]) -> str:
    """Return the lines above the tables."""
    return (
        f"{about['date']}, {about['cores']} cores ({about['processor']}), {about['system']}, Python {about['python']}\n"
        f"database on {about['file_system']}; append of 4 KiB with fsync: {about['fsync_ms']:.2f} ms (median)\n"
        "server, one worker and client are processes of their own; SQLite synchronous=FULL;\n"
        "steps do nothing, payloads have 100 bytes\n"
        f"{_disturbed(about)}"
    )


def _disturbed(about: Mapping[str, Any]) -> str:
    """Return a warning if the machine had other work: figures are worse then."""
    if about["load_before"] <= LOAD_QUIET * about["cores"]:
        return ""
    return f"THE MACHINE WAS NOT QUIET: load average {about['load_before']:.1f} before the start\n"


def table(report: WorkloadReport) -> str:
    """Return the table of a workload, with what its floors say."""
    lines = _points(report) if report.name == "W1" else _row(report)
    return "\n".join([*lines, *(floor_line(verdict) for verdict in report.verdicts)])


def floor_line(verdict: Verdict) -> str:
    """Return what a figure is worth."""
    value = _shown(verdict.value, ",.4g" if (verdict.value or 0) < 1_000 else ",.0f")
    return f"   floor {verdict.floor.text:<24} {value:>10}   {'met' if verdict.met else 'MISSED'}"


def _points(report: WorkloadReport) -> list[str]:
    lines = [
        "W1  throughput by runs in flight",
        "                           run from start   | CPU µs per step      | cores",
        "   in flight    steps/s  p50 ms    p99 ms   | server worker client |  busy",
    ]
    for point in report.points:
        f = point.figures
        lines.append(
            f" {'*' if point is report.best else ' '} {f['concurrency']:9,} {f['steps_per_s']:10,.0f}"
            f" {f['p50_ms']:7,.1f} {f['p99_ms']:9,.1f}   | {_cpu(point)} | {sum(point.cores.values()):5.2f}"
        )
    lines.append(_checked([point.figures for point in report.points], "five succeeded steps each"))
    return lines


def _row(report: WorkloadReport) -> list[str]:
    row, point = ROWS[report.name], report.best
    f = point.figures
    width = ROW_WIDTH // len(row.columns)
    heads = "".join(f"{head:>{width}}" for head, _, _ in row.columns)
    values = "".join(f"{_shown(f[figure], shape):>{width}}" for _, figure, shape in row.columns)
    return [
        f"{report.name}  {row.title(f)}",
        f"{'':{ROW_WIDTH}}  | CPU µs per step      | cores",
        f"{heads:{ROW_WIDTH}}  | server worker client |  busy",
        f"{values:{ROW_WIDTH}}  | {_cpu(point)} | {sum(point.cores.values()):5.2f}",
        _checked([f], row.checked(f)),
        *(f"   {note}" for note in row.notes(f)),
    ]


def _shown(value: float | None, shape: str) -> str:
    return "n/a" if value is None else f"{value:{shape}}"


def _cpu(point: PointReport) -> str:
    return " ".join(
        f"{point.cpu_us_per_step[role]:6,.0f}" if role in point.cpu_us_per_step else "   n/a" for role in ROLES
    )


def _checked(figures: Sequence[Figures], what: str) -> str:
    runs, checked = sum(f["runs"] for f in figures), sum(f["checked"] for f in figures)
    return f"   all {runs:,} SUCCEEDED; read {checked:,} histories: {what}"
