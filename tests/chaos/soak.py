"""Lets a mixed load run for minutes and watches what must not grow: memory, open descriptors, the write-ahead log."""

import asyncio
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import sqrt
from pathlib import Path

from tests.chaos.cluster import Cluster
from tests.chaos.report import Progress, Report

__all__ = ["Slope", "slope_of", "soak"]

PART = "soak"
SAMPLE_S = 1.0
CACHED_MIB = 200.0
"""First so much is written in large runs, to fill the caches of the server (payloads 64 MiB, pages 64 MiB and more)."""
WARM_UP_SHARE = 0.5
"""And the first part of the time still says nothing about growth."""
END_S = 60.0
RUNS_MAX = 20_000
"""Most histories that are read at the end."""
CERTAINTY = 3.0
"""Standard errors between a slope and its limit, before it counts as one above it."""
MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Watched:
    """Something that must not grow.

    Attributes:
        name: What it is.
        unit: Its unit.
        limit_per_h: Growth per hour that is let pass.
        read: Gives it.
    """

    name: str
    unit: str
    limit_per_h: float
    read: Callable[[], float]


@dataclass(frozen=True, slots=True)
class Slope:
    """A straight line through what was measured.

    Attributes:
        per_h: Growth per hour.
        error_per_h: Its standard error.
        low, high: Least and greatest value.
    """

    per_h: float
    error_per_h: float
    low: float
    high: float

    def above(self, limit_per_h: float) -> bool:
        """Whether the growth is above a limit for certain, and not by chance."""
        return self.per_h - CERTAINTY * self.error_per_h > limit_per_h


def slope_of(times_s: Sequence[float], values: Sequence[float]) -> Slope:
    """Return the line of least squares. Values next to each other are alike, so the error counts only some of them.

    Args:
        times_s: When each value was measured, in seconds; at least three.
        values: What was measured.
    """
    count = len(values)
    mean_s, mean = sum(times_s) / count, sum(values) / count
    spread = sum((t - mean_s) ** 2 for t in times_s)
    per_s = sum((t - mean_s) * (v - mean) for t, v in zip(times_s, values, strict=True)) / spread
    rests = [v - mean - per_s * (t - mean_s) for t, v in zip(times_s, values, strict=True)]
    variance = sum(rest * rest for rest in rests) / (count - 2)
    alike = _alike(rests)
    error_per_s = sqrt(variance / spread * (1 + alike) / (1 - alike))
    return Slope(per_s * 3600, error_per_s * 3600, min(values), max(values))


def _alike(rests: Sequence[float]) -> float:
    """Return how much a rest is like the one before, from 0 to 0.98."""
    total = sum(rest * rest for rest in rests)
    if not total:
        return 0.0
    return min(max(sum(a * b for a, b in pairwise(rests)) / total, 0.0), 0.98)


def _memory_mib(pid: int) -> float:
    """Return the memory a process has now, and not the most it had."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    (kib,) = [line.split()[1] for line in status.splitlines() if line.startswith("VmRSS:")]
    return int(kib) / 1024


def _descriptors_of(pid: int) -> float:
    return float(len(os.listdir(f"/proc/{pid}/fd")))  # noqa: PTH208 - the entries are counted, not visited


def _size_mib(file: Path) -> float:
    return file.stat().st_size / MIB if file.exists() else 0.0


def _watched(cluster: Cluster, log: Path) -> list[Watched]:
    server, worker = cluster.server.pid, cluster.workers["w1"].pid
    return [
        Watched("server memory", "MiB", 20.0, lambda: _memory_mib(server)),
        Watched("server descriptors", "", 10.0, lambda: _descriptors_of(server)),
        Watched("worker memory", "MiB", 20.0, lambda: _memory_mib(worker)),
        Watched("worker descriptors", "", 10.0, lambda: _descriptors_of(worker)),
        Watched("write-ahead log", "MiB", 100.0, lambda: _size_mib(log)),
    ]


async def soak(folder: Path, seed: str, minutes: float, cached_mib: float = CACHED_MIB) -> Report:
    """Run for so many minutes, once so much is written, and return what grew."""
    progress = Progress(PART)
    async with Cluster(folder, seed, workers=1, clients=1, drivers=24) as cluster:
        watched = _watched(cluster, folder / "holdfast.db-wal")
        await _fill_caches(cluster, folder / "holdfast.db", cached_mib, progress)
        times_s: list[float] = []
        values: list[list[float]] = [[] for _ in watched]
        begun_s = time.monotonic()
        while (passed_s := time.monotonic() - begun_s) < minutes * 60:
            await asyncio.sleep(SAMPLE_S)
            times_s.append(time.monotonic() - begun_s)
            for one, series in zip(watched, values, strict=True):
                series.append(one.read())
            shown = ", ".join(f"{w.name} {v[-1]:,.0f} {w.unit}".strip() for w, v in zip(watched, values, strict=True))
            progress.say(f"{passed_s / 60:.1f} of {minutes:g} min, {cluster.runs_ended():,} runs; {shown}")
        findings = await cluster.finish(END_S, lambda text: progress.say(text, always=True), runs_max=RUNS_MAX)
    progress.clear()
    report = Report(PART, seed, findings, progress.load_before)
    first = int(len(times_s) * WARM_UP_SHARE)
    for one, series in zip(watched, values, strict=True):
        slope = slope_of(times_s[first:], series[first:])
        grows = slope.above(one.limit_per_h)
        span = f"{slope.low:,.0f} to {slope.high:,.0f} {one.unit}".strip()
        per_h = f"{slope.per_h:+,.1f} ± {CERTAINTY * slope.error_per_h:,.1f} {one.unit}".strip()
        report.rows.append((one.name, f"{span}; {per_h} per h (at most {one.limit_per_h:g}): {_verdict(grows=grows)}"))
        report.figures[one.name.replace(" ", "_")] = {
            "low": round(slope.low, 1),
            "high": round(slope.high, 1),
            "per_h": round(slope.per_h, 2),
            "error_per_h": round(slope.error_per_h, 2),
        }
        if grows:
            report.faults.append(f"{one.name} grows by {per_h} per h")
    report.rows.append(("took", f"{progress.passed_s:,.0f} s"))
    report.figures["took_s"] = round(progress.passed_s, 1)
    return report


async def _fill_caches(cluster: Cluster, database: Path, wanted_mib: float, progress: Progress) -> None:
    cluster.bulk(on=True)
    while (size_mib := _size_mib(database)) < wanted_mib:
        await asyncio.sleep(SAMPLE_S)
        progress.say(f"filling caches: {size_mib:,.0f} of {wanted_mib:,.0f} MiB written")
    cluster.bulk(on=False)


def _verdict(*, grows: bool) -> str:
    return "GROWS" if grows else "steady"
