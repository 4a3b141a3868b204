"""Floors and tables: each floor is about a figure that is measured, a missed one is said, all fits a terminal."""

from dataclasses import fields
from typing import Any

import pytest

from bench.__main__ import EXIT_BELOW, check
from bench.floors import FLOORS, Floor, verdicts
from bench.machine import Cpu
from bench.processes import ROLES, Answer
from bench.report import PointReport, point_report, workload_report
from bench.tables import head, table
from bench.workloads import w1, w2, w3, w4, w5, w6, w7

RESULTS = {
    "W1": w1.Point,
    "W2": w2.Latency,
    "W3": w3.Parallel,
    "W4": w4.Flooded,
    "W5": w5.Signalled,
    "W6": w6.Sequential,
    "W7": w7.Decided,
}
LARGE: dict[str, Any] = {"slices": [123456.0], "steps": 5_000_000, "runs": 1_000_000, "checked": 1_000_000}
LARGE |= {"concurrency": 2_000, "width": 10_000, "length": 1_000, "waiting": 100_000}


def _figures(workload: str, value: float) -> dict[str, Any]:
    """Figures of a workload, with the same value for all that are measured."""
    return {field.name: LARGE.get(field.name, value) for field in fields(RESULTS[workload])}


def _point(workload: str, value: float) -> PointReport:
    cpu = {role: Cpu(user_s=5000.0, system_s=1.0) for role in ROLES}
    return point_report([Answer(_figures(workload, value), cpu, 10.0)])


@pytest.mark.parametrize(
    "floor", [*FLOORS["quick"], *FLOORS["full"]], ids=lambda floor: f"{floor.workload} {floor.text}"
)
def test_a_floor_is_about_a_figure_of_its_workload(floor: Floor) -> None:
    assert floor.figure in {field.name for field in fields(RESULTS[floor.workload])}


def test_every_workload_has_a_floor() -> None:
    assert {floor.workload for floor in FLOORS["full"]} == RESULTS.keys()


def test_the_limit_itself_is_good_enough() -> None:
    least = Floor("W1", "steps_per_s", 100, at_least=True, label="steps/s")
    most = Floor("W2", "p50_ms", 100, at_least=False, label="p50, ms")

    assert [least.met_by(value) for value in (99.0, 100.0, 101.0)] == [False, True, True]
    assert [most.met_by(value) for value in (99.0, 100.0, 101.0)] == [True, True, False]


def test_what_was_not_measured_is_not_met() -> None:
    figures = {"starts_per_s": 5000.0, "seconds": 1.0, "peak_mb": None}

    assert [(verdict.floor.figure, verdict.met) for verdict in verdicts("quick", "W4", figures)] == [
        ("starts_per_s", True),
        ("seconds", True),
        ("peak_mb", False),
    ]
    assert not verdicts("quick", "W2", {"p50_ms": float("nan")})[0].met


def test_a_missed_floor_is_told_and_fails_a_check(capsys: pytest.CaptureFixture[str]) -> None:
    good = workload_report("full", "W5", [_point("W5", 1.0)])
    bad = workload_report("full", "W5", [_point("W5", 5.5)])

    assert check([good]) == 0
    assert capsys.readouterr().err == ""
    assert check([good, bad]) == EXIT_BELOW
    assert capsys.readouterr().err.split() == ["bench:", "W5:", "floor", "p50,", "ms", "≤", "5", "5.5", "MISSED"]


@pytest.mark.parametrize("workload", RESULTS)
@pytest.mark.parametrize("value", [0.001, 99_999.0])
def test_a_table_fits_a_terminal_and_says_what_was_checked(workload: str, value: float) -> None:
    report = workload_report("full", workload, [_point(workload, value)])
    lines = table(report).splitlines()

    assert max(map(len, lines)) <= 80
    assert lines[0].startswith(f"{workload}  ")
    assert any(line.startswith("   all 1,000,000 SUCCEEDED; read 1,000,000 histories: ") for line in lines)
    assert sum(line.startswith("   floor ") for line in lines) == len(report.verdicts)


def test_columns_do_not_touch() -> None:
    heads = table(workload_report("quick", "W6", [_point("W6", 12.5)])).splitlines()[2]

    assert heads.split("|")[0].split() == ["seconds", "last/first", "B/step", "steps/s"]


def test_what_the_system_does_not_tell_is_not_made_up() -> None:
    report = workload_report("full", "W4", [point_report([Answer(_figures("W4", 1.0) | {"peak_mb": None}, {}, 1.0)])])

    assert table(report).count("n/a") == 5


def test_a_machine_with_other_work_is_told() -> None:
    about = {"date": "2026-01-01", "cores": 2, "processor": "P", "system": "S", "python": "3"}
    about |= {"file_system": "ext4", "fsync_ms": 0.2}

    assert "NOT QUIET" not in head(about | {"load_before": 0.4})
    assert "load average 0.6 before" in head(about | {"load_before": 0.6})
