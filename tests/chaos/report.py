"""What a part of the battery found: a table for people, a line of JSON for programs."""

import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.chaos.oracle import Findings

__all__ = ["Progress", "Report", "percentile"]

SHOWN = 20
"""Most sentences printed of each kind of finding."""
TERMINAL_EVERY_S, FILE_EVERY_S = 1.0, 10.0


@dataclass
class Report:
    """What came out of one part.

    Attributes:
        part: Its name.
        seed: To repeat it.
        rows: What is told besides the findings, by what it is.
        figures: The same for programs.
        findings: What the oracle says; None for a part without one.
        faults: What is amiss besides.
        load_before: Load average before the part began: with other work than this, times are longer.
    """

    part: str
    seed: str
    findings: Findings | None
    load_before: float
    rows: list[tuple[str, str]] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether all is well."""
        return not self.faults and (self.findings is None or self.findings.clean)

    def table(self) -> str:
        """Return the table and what is amiss."""
        rows = [*self.rows, *_rows_of(self.findings)]
        machine = f"{os.cpu_count()} cores, load average {self.load_before:.1f} before"
        lines = [f"{self.part}  (seed {self.seed}; {machine})", *(f"  {what:<38} {value}" for what, value in rows)]
        for kind, found in (*_lists_of(self.findings).items(), ("faults", self.faults)):
            lines += [f"  {kind}: {one}" for one in found[:SHOWN]]
            if len(found) > SHOWN:
                lines.append(f"  {kind}: and {len(found) - SHOWN} more")
        lines.append(f"  {'ok' if self.ok else 'FAILED'}")
        return "\n".join(lines)

    def json_line(self) -> str:
        """Return one line for programs."""
        line: dict[str, Any] = {
            "part": self.part,
            "seed": self.seed,
            "ok": self.ok,
            "load_before": round(self.load_before, 2),
        }
        line |= self.figures
        if self.findings is not None:
            found = self.findings
            line |= {kind: len(sentences) for kind, sentences in _lists_of(found).items()}
            line |= {"runs": found.runs, "executions": found.executions, "accepted": found.accepted}
            line |= {"doubles": dict(found.doubles), "too_late": found.too_late}
        return json.dumps(line)


def _lists_of(findings: Findings | None) -> Mapping[str, Sequence[str]]:
    if findings is None:
        return {}
    return {
        "lost": findings.lost,
        "run_again": findings.run_again,
        "stuck": findings.stuck,
        "wrong": findings.wrong,
        "unexplained": findings.unexplained,
    }


def _rows_of(findings: Findings | None) -> list[tuple[str, str]]:
    if findings is None:
        return []
    doubles = sum(findings.doubles.values())
    return [
        ("runs, executions of steps", f"{findings.runs:,}, {findings.executions:,}"),
        ("acknowledged (workers and clients)", f"{findings.accepted:,}"),
        ("acknowledged but lost", f"{len(findings.lost):,}"),
        ("succeeded step run again", f"{len(findings.run_again):,}"),
        ("stuck", f"{len(findings.stuck):,}"),
        ("wrong answers and histories", f"{len(findings.wrong):,}"),
        ("double executions explained by leases", f"{doubles:,}"),
        *((f"    {cause}", f"{number:,}") for cause, number in findings.doubles.most_common()),
        ("double executions not explained", f"{len(findings.unexplained):,}"),
        ("late results refused", f"{findings.too_late:,}"),
    ]


def percentile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that is not below the share of them; 0 if there are none."""
    ordered = sorted(values)
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)] if ordered else 0.0


class Progress:
    """Tells on the standard error how far it is; on one line where that is a terminal.

    Attributes:
        load_before: Load average at the beginning.
    """

    def __init__(self, part: str) -> None:
        self._part = part
        self._terminal = sys.stderr.isatty()
        self._begun_s = self._said_s = time.monotonic()
        self.load_before = os.getloadavg()[0]

    @property
    def passed_s(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self._begun_s

    def say(self, text: str, *, always: bool = False) -> None:
        """Say it, unless something was said a moment ago."""
        now_s = time.monotonic()
        if not always and now_s - self._said_s < (TERMINAL_EVERY_S if self._terminal else FILE_EVERY_S):
            return
        self._said_s = now_s
        minutes, seconds = divmod(int(self.passed_s), 60)
        line = f"{self._part} {minutes}:{seconds:02}  {text}"
        sys.stderr.write(f"\r\x1b[K{line}" if self._terminal else f"{line}\n")
        sys.stderr.flush()

    def clear(self) -> None:
        """Leave the line empty for what is printed next."""
        if self._terminal:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
