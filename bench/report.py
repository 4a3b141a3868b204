"""Prints what was measured: tables for people, one JSON line per workload for programs."""

import json
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from statistics import median
from typing import Any

from bench.processes import ROLES, Answer, Disk

# Load average per core above which other programs disturb the measurement.
LOAD_QUIET = 0.25


@dataclass(frozen=True, slots=True)
class PointReport:
    """One row of the table of W1, or the only one of W2: medians over the passes.

    Attributes:
        figures: The workload's figures.
        cpu_us_per_step: By role: microseconds of CPU time for one step, user and system together.
        system_share: By role: which share of it the kernel took.
        cores: By role: how many cores it kept busy on average.
    """

    figures: dict[str, Any]
    cpu_us_per_step: dict[str, float]
    system_share: dict[str, float]
    cores: dict[str, float]


def point_report(answers: Sequence[Answer]) -> PointReport:
    """Return the medians over several passes of the same point."""
    first = answers[0].result
    figures: dict[str, Any] = {}
    for name, value in first.items():
        values = [answer.result[name] for answer in answers]
        if isinstance(value, list):
            figures[name] = [entry for entries in values for entry in entries]
        elif name in {"steps", "runs", "checked"}:
            figures[name] = sum(values)
        else:
            figures[name] = median(values) if isinstance(value, float) else value
    roles = [role for role in ROLES if all(role in answer.cpu for answer in answers)]
    total = {role: [answer.cpu[role].user_s + answer.cpu[role].system_s for answer in answers] for role in roles}
    steps = [answer.result["steps"] for answer in answers]
    return PointReport(
        figures=figures,
        cpu_us_per_step={r: median(s / max(1, n) * 1e6 for s, n in zip(total[r], steps, strict=True)) for r in roles},
        system_share={
            r: median(a.cpu[r].system_s / max(1e-9, s) for a, s in zip(answers, total[r], strict=True)) for r in roles
        },
        cores={r: median(s / a.wall_s for a, s in zip(answers, total[r], strict=True)) for r in roles},
    )


def machine(disk: Disk) -> dict[str, Any]:
    """Return what the figures depend on."""
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "cores": os.cpu_count(),
        "load_before": round(os.getloadavg()[0], 2),
        "processor": _processor(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "file_system": disk.kind,
        "fsync_ms": round(disk.fsync_ms, 3),
    }


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:  # noqa: PTH123 - read line by line
            return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")
    except FileNotFoundError:
        return platform.processor() or "unknown"


def json_line(workload: str, reports: Sequence[PointReport], about: Mapping[str, Any]) -> str:
    """Return the line of a workload: for W1 the best point, with all points beside it."""
    best = max(reports, key=lambda report: report.figures.get("steps_per_s", 0.0))
    line: dict[str, Any] = {"workload": workload, **_rounded(best.figures)}
    line["cpu_us_per_step"] = _rounded(best.cpu_us_per_step)
    if workload == "W1":
        line["points"] = [
            {**_rounded(report.figures), "cpu_us_per_step": _rounded(report.cpu_us_per_step)} for report in reports
        ]
    line["machine"] = dict(about)
    return json.dumps(line)


def _rounded(values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: round(value, 3)
        if isinstance(value, float)
        else [round(v, 1) for v in value]
        if isinstance(value, list)
        else value
        for name, value in values.items()
    }


def head(about: Mapping[str, Any]) -> str:
    """Return the lines above the tables."""
    return (
        f"{about['date']}, {about['cores']} cores ({about['processor']}), {about['system']}, Python {about['python']}\n"
        f"database on {about['file_system']}; append of 4 KiB with fsync: {about['fsync_ms']:.2f} ms (median)\n"
        "server, one worker and client are processes of their own; SQLite synchronous=FULL;\n"
        "chains of five steps with a handler that does nothing; payloads of 100 bytes\n"
        f"{_disturbed(about)}"
    )


def _disturbed(about: Mapping[str, Any]) -> str:
    """Return a warning if the machine had other work: figures are worse then."""
    if about["load_before"] <= LOAD_QUIET * about["cores"]:
        return ""
    return f"THE MACHINE WAS NOT QUIET: load average {about['load_before']:.1f} before the start\n"


def table(workload: str, reports: Sequence[PointReport]) -> str:
    """Return the table of a workload, at most 80 columns wide."""
    return _w1(reports) if workload == "W1" else _w2(reports[0])


def _w1(reports: Sequence[PointReport]) -> str:
    lines = [
        "W1  throughput by runs in flight",
        "                           run from start   | CPU µs per step      | cores",
        "   in flight    steps/s  p50 ms    p99 ms   | server worker client |  busy",
    ]
    best = max(reports, key=lambda report: report.figures["steps_per_s"])
    for report in reports:
        f = report.figures
        lines.append(
            f" {'*' if report is best else ' '} {f['concurrency']:9,} {f['steps_per_s']:10,.0f} {f['p50_ms']:7,.1f}"
            f" {f['p99_ms']:9,.1f}   | {_cpu(report)} | {sum(report.cores.values()):5.2f}"
        )
    lines.append(_checked([report.figures for report in reports]))
    return "\n".join(lines)


def _w2(report: PointReport) -> str:
    f = report.figures
    return "\n".join(
        [
            "W2  one run at a time, from start to result",
            "                                            | CPU µs per step      |",
            "       p50 ms      p95 ms      p99 ms       | server worker client |",
            f"   {f['p50_ms']:10.2f}  {f['p95_ms']:10.2f}  {f['p99_ms']:10.2f}       | {_cpu(report)} |",
            _checked([f]),
        ]
    )


def _cpu(report: PointReport) -> str:
    return " ".join(
        f"{report.cpu_us_per_step[role]:6,.0f}" if role in report.cpu_us_per_step else "   n/a" for role in ROLES
    )


def _checked(figures: Sequence[Mapping[str, Any]]) -> str:
    runs, checked = sum(f["runs"] for f in figures), sum(f["checked"] for f in figures)
    return f"   all {runs:,} runs SUCCEEDED; read {checked:,} histories: five succeeded steps each"


class Progress:
    """Tells on the standard error what is going on; on one line where that is a terminal."""

    def __init__(self) -> None:
        self._terminal = sys.stderr.isatty()

    def say(self, text: str) -> None:
        """Show what is being done now."""
        sys.stderr.write(f"\r\x1b[K{text}" if self._terminal else f"{text}\n")
        sys.stderr.flush()

    def clear(self) -> None:
        """Leave the line empty for what is printed next."""
        if self._terminal:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
