"""Each entry takes its seeds, and some hundred changes of them, without breaking, in a process of its own."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz.entries import ENTRIES
from tests.fuzz.seeds import seeds

ROOT = Path(__file__).parents[2]
RUNS = 150


@pytest.mark.parametrize("entry", ENTRIES)
def test_hostile_bytes_break_nothing(entry: str) -> None:
    command = [sys.executable, "-m", "tests.fuzz.plain", entry, "--runs", str(RUNS)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, timeout=100)
    assert ended.returncode == 0, f"{ended.stdout[-2_000:]}\n{ended.stderr[-4_000:]}"
    line = json.loads(ended.stdout)
    assert (line["runs"], line["seeds"]) == (RUNS, len(seeds(entry)))
