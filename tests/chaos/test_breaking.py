"""The battery in small numbers: what was acknowledged stays, what succeeded is not done again, and all ends."""

import json
import os
import secrets
import subprocess
import sys
from pathlib import Path

import pytest

from tests.chaos.cluster import ROOT
from tests.chaos.forgetful_server import ForgetfulServer
from tests.chaos.kills import kills
from tests.chaos.network import network
from tests.chaos.report import Report
from tests.chaos.soak import soak

KILLS = int(os.environ.get("CHAOS_CYCLES") or 20)
SEED = os.environ.get("CHAOS_SEED") or secrets.token_hex(4)

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(600)]


def well(report: Report) -> None:
    """Nothing was found, and something was looked at."""
    assert report.findings is not None
    assert report.findings.clean, report.table()
    assert report.findings.runs, report.table()
    assert report.findings.accepted, report.table()


@pytest.mark.asyncio
async def test_kills_of_servers_workers_and_clients_lose_nothing(tmp_path: Path) -> None:
    report = await kills(tmp_path / "kills", SEED, KILLS)

    well(report)
    killed = report.figures["killed"]
    assert killed["servers"] == killed["workers"] == killed["clients"] >= KILLS
    # How long it takes to recover depends on what else the machine does; `make chaos` says it.
    assert report.figures["recovery_p50_s"] > 0


@pytest.mark.asyncio
async def test_a_server_that_acknowledges_before_it_writes_is_found_out(tmp_path: Path) -> None:
    report = await kills(tmp_path / "kills", SEED, 3, ForgetfulServer)

    assert not report.ok
    assert report.findings is not None
    assert report.findings.lost


@pytest.mark.asyncio
async def test_faults_of_the_network_lose_nothing_and_double_only_what_a_lease_explains(tmp_path: Path) -> None:
    report = await network(tmp_path / "network", SEED, 1, patient=False)

    well(report)
    assert set(report.figures["faults"].values()) == {1}


def test_a_clock_that_is_set_loses_nothing_as_a_line_of_json_says(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "tests.chaos",
        "clocks",
        "--cycles",
        "1",
        "--seed",
        SEED,
        "--folder",
        str(tmp_path),
    ]
    ended = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "JSON": "1"}, capture_output=True, text=True, check=False
    )

    assert ended.returncode == 0, ended.stdout + ended.stderr
    (line,) = ended.stdout.splitlines()
    told = json.loads(line)
    assert (told["part"], told["seed"], told["ok"]) == ("clocks", SEED, True)
    assert (told["lost"], told["run_again"], told["stuck"], told["wrong"], told["unexplained"]) == (0, 0, 0, 0, 0)
    assert told["forward"] + told["back"] == 4
    assert list(tmp_path.iterdir()) == []


@pytest.mark.asyncio
async def test_a_soak_measures_what_must_not_grow(tmp_path: Path) -> None:
    report = await soak(tmp_path / "soak", SEED, 0.15, cached_mib=0.0)

    well(report)
    assert report.figures["server_descriptors"]["low"] > 0
    assert report.figures["worker_memory"]["low"] > 0
    assert {"server_memory", "worker_descriptors", "write-ahead_log"} < report.figures.keys()


def test_what_is_no_part_is_refused() -> None:
    command = [sys.executable, "-m", "tests.chaos", "nothing"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert ended.returncode == 2
    assert "'nothing'" in ended.stderr
