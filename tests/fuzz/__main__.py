"""Fuzzes everything: `python -m tests.fuzz [ENTRY…]`, or `make fuzz`. `FUZZ_SECONDS` is the time of each.

Entries that read bytes run one by one, guided by coverage where atheris is installed; `attacked` fuzzes a server. What
breaks an entry is written to `.cache/fuzz/`, next to what was found on the way. Ends with 1 if anything broke.
"""

import base64
import importlib.util
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.fuzz.entries import ENTRIES

__all__: list[str] = []

SECONDS: Final = float(os.environ.get("FUZZ_SECONDS", "20"))
SEED: Final = os.environ.get("FUZZ_SEED", "7")
FOLDER: Final = Path(__file__).parents[2] / ".cache" / "fuzz"
ATTACKED: Final = "attacked"
SPARE_S: Final = 120
"""More than its time no entry takes to begin and to end."""


@dataclass(frozen=True)
class Outcome:
    """How an entry fared."""

    entry: str
    runs: int
    broke: str = ""
    more: str = ""


def covered(entry: str) -> Outcome:
    """Fuzzes an entry guided by coverage."""
    place = FOLDER / entry
    place.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "tests.fuzz.covered", entry, str(place)]
    options = [
        f"-max_total_time={SECONDS:.0f}",
        f"-seed={SEED}",
        f"-artifact_prefix={FOLDER}/{entry}-",
        "-print_final_stats=1",
    ]
    ended = _ended([*command, *options])
    stats = dict(re.findall(r"stat::(\w+):\s+(\d+)", ended.stderr))
    edges = re.findall(r"cov: (\d+)", ended.stderr)
    begun, size = re.findall(r"INITED .*?rss: (\d+)Mb", ended.stderr), stats.get("peak_rss_mb", "0")
    more = f"{edges[-1] if edges else '?'} edges, {begun[0] if begun else '?'} to {size} MiB"
    broke = "" if ended.returncode == 0 else "\n".join(ended.stderr.splitlines()[-60:])
    return Outcome(entry, int(stats.get("number_of_executed_units", "0")), broke, more)


def plain(entry: str) -> Outcome:
    """Fuzzes an entry by changed seeds."""
    ended = _ended([sys.executable, "-m", "tests.fuzz.plain", entry, "--seconds", str(SECONDS), "--seed", SEED])
    line = _line(ended.stdout)
    if ended.returncode:
        broken_by = FOLDER / f"{entry}-broken"
        broken_by.write_bytes(base64.b64decode(line.get("broken_by", "")))
        return Outcome(entry, 0, f"{ended.stderr[-4_000:]}\nthe input is in {broken_by}")
    more = f"slowest {line['slowest_s']} s, grown by {line['grown_mib']} MiB"
    return Outcome(entry, int(line["runs"]), "", more)


def attacked() -> Outcome:
    """Fuzzes a server."""
    seconds = str(max(SECONDS, 20))
    ended = _ended([sys.executable, "-m", "tests.fuzz.attacked", "--seconds", seconds, "--seed", SEED])
    line = _line(ended.stdout)
    if not line:
        return Outcome(ATTACKED, 0, ended.stderr[-4_000:])
    broke = "" if not ended.returncode else json.dumps(line, indent=1)
    stalls = f"{line['stalls']} stalls over 0.1 s, the worst {line['worst_stall_s']} s"
    sizes = line["rss_mib"]
    more = f"{stalls}; {sizes[0]} to {sizes[-1]} MiB, {line['slope_mib_per_min']:+} MiB a minute"
    where = "".join(f"\n    {one}" for one in line["where"])
    return Outcome(ATTACKED, sum(line["calls"].values()), broke, more + where)


def _ended(command: list[str]) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=SECONDS + SPARE_S)


def _line(text: str) -> dict[str, Any]:
    lines = text.strip().splitlines()
    found: dict[str, Any] = json.loads(lines[-1]) if lines else {}
    return found


def outcomes(wanted: list[str]) -> Iterator[Outcome]:
    """One after the other."""
    guided = importlib.util.find_spec("atheris") is not None
    for entry in wanted:
        yield attacked() if entry == ATTACKED else covered(entry) if guided else plain(entry)


def main() -> int:
    """Fuzzes what the command line names, or everything."""
    known = [*ENTRIES, ATTACKED]
    wanted = sys.argv[1:] or known
    if unknown := set(wanted) - set(known):
        print(f"unknown: {', '.join(sorted(unknown))}; known: {', '.join(known)}", file=sys.stderr)
        return 2
    FOLDER.mkdir(parents=True, exist_ok=True)
    broken = 0
    for number, one in enumerate(outcomes(wanted), 1):
        told = "BROKEN" if one.broke else "ok"
        print(f"{number:2}/{len(wanted)} {one.entry:14} {one.runs:10,} runs  {told:6} {one.more}", flush=True)
        if one.broke:
            broken += 1
            print(one.broke, flush=True)
    print(f"fuzz: {len(wanted)} entries, {broken} broken")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
