"""What the benchmark makes of measured values: percentiles, medians, JSON lines; and what it asks the system."""

import json
import math
import os
from pathlib import Path
from typing import Any

import pytest

from bench.__main__ import arguments_of
from bench.machine import BenchError, Cpu, Disk, cpu_of, description, disk_of, peak_mb_of
from bench.percentiles import percentiles
from bench.processes import Answer
from bench.profile import read_profile, text_of
from bench.report import json_line, point_report, workload_report
from bench.workloads.runs import PAYLOAD, evenly

STEPS = 5


def _answer(steps_per_s: float, server_s: float, runs: int = 1000, concurrency: int = 10) -> Answer:
    figures: dict[str, Any] = {"concurrency": concurrency, "steps_per_s": steps_per_s, "slices": [steps_per_s]}
    figures |= {"steps": runs * STEPS, "runs": runs, "checked": 100, "p50_ms": 2.0, "p99_ms": 4.0}
    cpu = {role: Cpu(user_s=server_s * 0.75, system_s=server_s * 0.25) for role in ("server", "worker", "client")}
    return Answer(result=figures, cpu=cpu, wall_s=2.0)


@pytest.mark.parametrize(
    ("values", "p50", "p95", "p99"),
    [
        ([7.0], 7.0, 7.0, 7.0),
        ([3.0, 1.0, 2.0], 2.0, 3.0, 3.0),
        ([float(n) for n in range(1, 101)], 50.0, 95.0, 99.0),
        ([float(n) for n in range(1, 1001)], 500.0, 950.0, 990.0),
    ],
)
def test_percentiles_are_values_that_were_measured(values: list[float], p50: float, p95: float, p99: float) -> None:
    assert percentiles(values) == {50: p50, 95: p95, 99: p99}


@pytest.mark.parametrize(
    ("command_line", "plan"),
    [([], "full"), (["full"], "full"), (["quick"], "quick"), (["--quick"], "quick"), (["--quick", "--json"], "quick")],
)
def test_the_plan_can_be_said_in_two_ways(command_line: list[str], plan: str) -> None:
    assert arguments_of(command_line).plan == plan


def test_a_workload_that_a_plan_leaves_out_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        arguments_of(["quick", "--workload", "W2", "--workload", "W7"])
    assert "W7 is not part of `quick`" in capsys.readouterr().err


def test_nothing_measured_is_no_number() -> None:
    assert all(math.isnan(value) for value in percentiles([]).values())


def test_a_sample_is_spread_evenly() -> None:
    assert evenly(list(range(10)), 5) == [0, 2, 4, 6, 8]
    assert evenly([1, 2], 5) == [1, 2]


def test_a_point_is_the_median_of_its_passes() -> None:
    report = point_report([_answer(100.0, 1.0), _answer(300.0, 3.0), _answer(200.0, 2.0)])

    assert report.figures["steps_per_s"] == 200.0
    assert report.figures["slices"] == [100.0, 300.0, 200.0]
    assert (report.figures["runs"], report.figures["checked"]) == (3000, 300)
    assert report.cpu_us_per_step["server"] == pytest.approx(2.0 / (1000 * STEPS) * 1e6)
    assert report.system_share["worker"] == pytest.approx(0.25)
    assert report.cores["client"] == pytest.approx(1.0)


def test_the_line_of_a_workload_is_its_best_point() -> None:
    points = [point_report([_answer(100.0, 1.0)]), point_report([_answer(900.0, 1.0, concurrency=50)])]
    line = json.loads(json_line(workload_report("quick", "W1", points), {"cores": 2}))

    assert (line["workload"], line["steps_per_s"], line["concurrency"]) == ("W1", 900.0, 50)
    assert [point["steps_per_s"] for point in line["points"]] == [100.0, 900.0]
    assert line["machine"] == {"cores": 2}


def test_the_line_of_the_latencies_names_them_and_says_what_they_are_worth() -> None:
    result = {"p50_ms": 16.123456, "p95_ms": 18.0, "p99_ms": 19.0, "steps": 150, "runs": 30, "checked": 30}
    report = workload_report("quick", "W2", [point_report([Answer(result, {}, 1.0)])])
    line = json.loads(json_line(report, {}))

    assert line["workload"] == "W2"
    assert (line["p50_ms"], line["p95_ms"], line["p99_ms"]) == (16.123, 18.0, 19.0)
    assert line["floors"] == [{"figure": "p50_ms", "at_most": 10, "met": False}]


def test_the_payload_has_a_hundred_bytes() -> None:
    assert len(json.dumps(PAYLOAD)) == 100


def test_memory_is_refused_as_a_disk(tmp_path: Path) -> None:
    assert disk_of(tmp_path).fsync_ms > 0
    memory = Path("/dev/shm")  # noqa: S108 - the one place that is memory for certain
    if not memory.is_dir():
        pytest.skip("this system has no /dev/shm")
    with pytest.raises(BenchError, match="--folder"):
        disk_of(memory)


def test_what_a_process_took_is_read_from_the_system() -> None:
    if not Path("/proc/self/stat").exists():
        assert cpu_of(os.getpid()) is None
        return
    cpu, memory = cpu_of(os.getpid()), peak_mb_of(os.getpid())

    assert cpu is not None
    assert cpu.user_s > 0
    assert memory is not None
    assert memory > 1
    assert cpu_of(2**22 + 1) is None


def test_the_machine_is_described() -> None:
    assert description(Disk(kind="ext4", fsync_ms=1.0)).keys() >= {"date", "cores", "python", "file_system", "fsync_ms"}


def test_a_profile_is_told_by_module_package_and_function(tmp_path: Path) -> None:
    frames = [
        {"name": "serve", "file": "server/src/holdfast_server/app.py", "line": 1},
        {"name": "decide", "file": "/x/server/src/holdfast_server/engine/decide.py", "line": 2},
        {"name": "send", "file": "/x/lib/python3.11/site-packages/grpc/aio/_call.py", "line": 3},
        {"name": "run", "file": "/usr/lib/python3.11/asyncio/base_events.py", "line": 4},
        {"name": "main", "file": "/x/server/src/holdfast_server/cli.py", "line": 5},
    ]
    threads = [
        {"name": 'Thread 7 "MainThread"', "samples": [[4, 3, 0, 1], [4, 3, 0, 1, 2], [4, 3, 0], [], [4, 3]]},
        {"name": 'Thread 8 "Thread-1 (work)"', "samples": [[3]]},
    ]
    file = tmp_path / "profile.json"
    file.write_text(json.dumps({"shared": {"frames": frames}, "profiles": threads}), encoding="utf-8")
    profile = read_profile(file)

    assert profile.threads == [("MainThread", 4), ("Thread-1 (work)", 1)]
    assert dict(profile.own) == {
        "holdfast_server/engine/decide.py": 0.5,
        "holdfast_server/app.py": 0.25,
        "(event loop and gRPC)": 0.25,
    }
    assert dict(profile.rooms)["holdfast_server/engine"] == 0.5
    assert dict(profile.packages)["grpc"] == 0.25
    assert dict(profile.functions)["decide (holdfast_server/engine/decide.py)"] == 0.25
    assert dict(profile.inclusive)["serve (holdfast_server/app.py)"] == 0.75
    assert "75.0%  serve (holdfast_server/app.py)" in text_of(profile, "server")
