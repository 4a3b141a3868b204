"""The benchmark as programs call it: lines of JSON, every run checked, and nothing left behind."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


def _bench(*arguments: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if name != "JSON"}
    return subprocess.run(
        [sys.executable, "-m", "bench", "quick", "--folder", str(folder), *arguments],
        cwd=ROOT,
        env={**kept, **environment},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )


def _lines(ended: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    assert ended.returncode == 0, ended.stderr
    return [json.loads(line) for line in ended.stdout.splitlines()]


def test_latency_is_told_in_one_line_of_json(tmp_path: Path) -> None:
    (line,) = _lines(_bench("--workload", "W2", "--json", folder=tmp_path))

    assert line["workload"] == "W2"
    assert 0 < line["p50_ms"] <= line["p95_ms"] <= line["p99_ms"]
    assert line["runs"] == line["checked"] == 240
    assert list(tmp_path.iterdir()) == []


def test_throughput_is_told_with_its_concurrency(tmp_path: Path) -> None:
    (line,) = _lines(_bench("--workload", "W1", "--concurrency", "20", folder=tmp_path, JSON="1"))

    assert (line["workload"], line["concurrency"], len(line["points"])) == ("W1", 20, 1)
    assert line["steps_per_s"] > 0
    assert 0 < line["checked"] <= line["runs"]


def test_memory_is_refused(tmp_path: Path) -> None:
    memory = Path("/dev/shm")  # noqa: S108 - the one place that is memory for certain
    if not memory.is_dir():
        return
    ended = _bench("--workload", "W2", folder=memory)

    assert ended.returncode == 1
    assert "--folder" in ended.stderr
