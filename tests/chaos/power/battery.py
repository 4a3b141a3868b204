"""Loses power and lets the disk fail as the tests beside this file do, at every moment and operation, and sums up."""

import asyncio
import json
import os
import sys
from collections import Counter
from pathlib import Path

from tests.chaos.cluster import ROOT
from tests.chaos.report import Progress, Report

__all__ = ["power"]

PART = "power"
TAIL_LINES = 40


async def power(folder: Path, seed: str, cycles: int) -> Report:
    """Try everything, or with less than a hundred cycles a little of it.

    Args:
        folder: What the tests print is kept here.
        seed: Decides what is chosen by chance.
        cycles: Lives of the database that loses power again and again.
    """
    progress = Progress(PART)
    figures, output = _files(folder)
    environment = {
        **os.environ,
        "CHAOS_CYCLES": str(cycles),
        "CHAOS_SEED": seed,
        "CHAOS_FIGURES": str(figures),
    }
    command = ["-m", "pytest", "-q", "--timeout=0", "-p", "no:cacheprovider", str(Path(__file__).parent)]
    with output.open("wb") as written:
        process = await asyncio.create_subprocess_exec(
            sys.executable, *command, cwd=ROOT, env=environment, stdout=written, stderr=written
        )
        try:
            while True:
                try:
                    code = await asyncio.wait_for(process.wait(), 1.0)
                    break
                except TimeoutError:
                    progress.say(f"{len(_lines(figures))} parts are done")
        finally:
            if process.returncode is None:
                process.terminate()
                await process.wait()
    progress.clear()
    return _report(seed, progress.load_before, _lines(figures), code, output)


def _files(folder: Path) -> tuple[Path, Path]:
    folder.mkdir(parents=True)
    figures = folder / "figures.jsonl"
    figures.touch()
    return figures, folder / "pytest.txt"


def _lines(figures: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in figures.read_text(encoding="utf-8").splitlines()]


def _report(seed: str, load_before: float, lines: list[dict[str, object]], code: int, output: Path) -> Report:
    sums: Counter[str] = Counter()
    for line in lines:
        sums.update({name: number for name, number in line.items() if isinstance(number, int)})
    report = Report(PART, seed, None, load_before)
    report.rows = [(name, f"{number:,}") for name, number in sums.items()]
    report.figures = {"sums": dict(sums), "parts": lines}
    if code:
        tail = output.read_text(encoding="utf-8", errors="replace").splitlines()[-TAIL_LINES:]
        report.faults.append("\n".join([f"pytest ended with exit code {code}", *tail]))
    return report
