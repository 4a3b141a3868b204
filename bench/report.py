"""What is made of measured values: medians over the passes, one JSON line per workload, words about the progress."""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from bench.floors import Verdict, verdicts
from bench.processes import ROLES, Answer

SUMS = frozenset({"steps", "runs", "checked"})


@dataclass(frozen=True, slots=True)
class PointReport:
    """One row of the table of W1, or the only one of another workload: medians over the passes.

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


@dataclass(frozen=True, slots=True)
class WorkloadReport:
    """What was measured of one workload.

    Attributes:
        name: The workload.
        points: Its rows.
        best: The row with the highest throughput; of all but W1 the only one.
        verdicts: What the best row is worth.
    """

    name: str
    points: Sequence[PointReport]
    best: PointReport
    verdicts: Sequence[Verdict]


def workload_report(plan: str, name: str, points: Sequence[PointReport]) -> WorkloadReport:
    """Return the report of a workload from its rows."""
    best = max(points, key=lambda point: point.figures.get("steps_per_s", 0.0))
    return WorkloadReport(name, points, best, verdicts(plan, name, best.figures))


def point_report(answers: Sequence[Answer]) -> PointReport:
    """Return the medians over several passes of the same point."""
    roles = [role for role in ROLES if all(role in answer.cpu for answer in answers)]
    total = {role: [answer.cpu[role].user_s + answer.cpu[role].system_s for answer in answers] for role in roles}
    steps = [answer.result["steps"] for answer in answers]
    return PointReport(
        figures={name: _over_passes(name, [answer.result[name] for answer in answers]) for name in answers[0].result},
        cpu_us_per_step={r: median(s / max(1, n) * 1e6 for s, n in zip(total[r], steps, strict=True)) for r in roles},
        system_share={
            r: median(a.cpu[r].system_s / max(1e-9, s) for a, s in zip(answers, total[r], strict=True)) for r in roles
        },
        cores={r: median(s / a.wall_s for a, s in zip(answers, total[r], strict=True)) for r in roles},
    )


def _over_passes(name: str, values: Sequence[Any]) -> Any:
    """Return one figure of several passes: lists are joined, counts summed up, and of the rest it is the median."""
    if isinstance(values[0], list):
        return [entry for entries in values for entry in entries]
    if name in SUMS:
        return sum(values)
    return median(values) if isinstance(values[0], float) else values[0]


def json_line(report: WorkloadReport, about: Mapping[str, Any]) -> str:
    """Return the line of a workload: for W1 the best point, with all points beside it."""
    line: dict[str, Any] = {"workload": report.name, **_rounded(report.best.figures)}
    line["cpu_us_per_step"] = _rounded(report.best.cpu_us_per_step)
    if report.name == "W1":
        line["points"] = [
            {**_rounded(point.figures), "cpu_us_per_step": _rounded(point.cpu_us_per_step)} for point in report.points
        ]
    line["floors"] = [verdict.as_json() for verdict in report.verdicts]
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
