"""The benchmark as programs call it: lines of JSON, every run checked, and nothing left behind."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bench.machine import BenchError
from bench.processes import ROLES, Answer, Stack

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


def _measure(folder: Path, workload: str, **order: int) -> Answer:
    async def measure() -> Answer:
        async with Stack(folder / "stack") as stack:
            return await stack.measure({"workload": workload, **order})

    answer = asyncio.run(measure())
    assert list(folder.iterdir()) == []
    assert answer.wall_s > 0
    assert answer.cpu.keys() <= set(ROLES)
    return answer


def test_parallel_steps_are_measured(tmp_path: Path) -> None:
    result = _measure(tmp_path, "W3", parts=300, warm_up=1, runs=2).result

    assert (result["runs"], result["checked"], result["width"]) == (2, 2, 300)
    assert result["steps"] == 2 * (300 + 2 + 1)
    assert 0 < result["seconds"] <= result["slowest_s"]


def test_a_flood_of_starts_is_measured(tmp_path: Path) -> None:
    result = _measure(tmp_path, "W4", warm_up=5, runs=200, checked_max=50).result

    assert (result["runs"], result["checked"], result["steps"]) == (200, 50, 1_000)
    assert result["starts_per_s"] >= 200 / result["seconds"] > 0
    assert result["peak_mb"] is None or result["peak_mb"] > 10


def test_signals_are_measured(tmp_path: Path) -> None:
    result = _measure(tmp_path, "W5", warm_up=3, runs=20).result

    assert (result["runs"], result["checked"]) == (20, 20)
    assert 0 < result["p50_ms"] <= result["p95_ms"] <= result["p99_ms"]


def test_a_long_run_is_measured_with_the_disk_it_takes(tmp_path: Path) -> None:
    result = _measure(tmp_path, "W6", length=100, warm_up=1, runs=2).result

    assert (result["runs"], result["checked"], result["length"]) == (2, 2, 100)
    assert result["decile_ratio"] > 0
    assert result["bytes_per_step"] > 200, "a step has its input and its output, each of 100 bytes"


def test_runs_at_gates_outlive_the_kill_of_the_server(tmp_path: Path) -> None:
    answer = _measure(tmp_path, "W7", waiting=40, warm_up=2, decisions=8, checked_max=10)
    result = answer.result

    assert (result["waiting"], result["runs"], result["checked"]) == (40, 8, 18)
    assert result["restart_s"] > 0
    assert 0 < result["p50_ms"] <= result["p95_ms"] <= result["p99_ms"]


def test_a_workload_that_fails_is_told(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="the load process ended with exit code 1"):
        _measure(tmp_path, "W3", parts=0, warm_up=0, runs=0)
