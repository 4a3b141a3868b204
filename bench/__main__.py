"""`python -m bench [quick|full]`: measures, checks what was measured, and prints it."""

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path

from bench.processes import RESULTS, ROLES, Answer, BenchError, Stack, disk_of
from bench.profile import Recorder, text_of
from bench.report import PointReport, Progress, head, json_line, machine, point_report, table
from bench.workloads.w1 import Load
from bench.workloads.w2 import Runs
from holdfast.testing import ProcessError


@dataclass(frozen=True, slots=True)
class Plan:
    """How long and how often is measured.

    Attributes:
        passes: How often all of it is done on a fresh database; medians are taken.
        concurrencies: The points of W1.
        load: What all points of W1 share.
        runs: W2.
    """

    passes: int
    concurrencies: tuple[int, ...]
    load: Load
    runs: Runs


PLANS = {
    "quick": Plan(
        passes=1,
        concurrencies=(10, 100, 500, 2000),
        load=Load(concurrency=0, warm_up_s=1.5, slices=3, slice_s=1.3, checked_max=1000),
        runs=Runs(warm_up=20, repeats=3, runs=80),
    ),
    "full": Plan(
        passes=3,
        concurrencies=(10, 20, 50, 100, 200, 500, 1000, 2000),
        load=Load(concurrency=0, warm_up_s=3.0, slices=3, slice_s=4.0, checked_max=1_000_000),
        runs=Runs(warm_up=100, repeats=3, runs=500),
    ),
}
WORKLOADS = ("W2", "W1")  # the quiet one first, on a database that is still small


def arguments_of(command_line: Sequence[str] | None = None) -> argparse.Namespace:
    """Return what is asked for; None reads the arguments of this program."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("plan", nargs="?", choices=sorted(PLANS))
    parser.add_argument("--quick", action="store_true", help="the same as `quick`")
    parser.add_argument("--json", action="store_true", help="one JSON line per workload (also: JSON=1)")
    parser.add_argument("--workload", action="append", choices=sorted(WORKLOADS), help="only this one; may be repeated")
    parser.add_argument("--concurrency", type=int, action="append", help="W1: only this one; may be repeated")
    parser.add_argument("--folder", type=Path, default=RESULTS, help="where databases and profiles go: on a disk")
    parser.add_argument(
        "--profile", choices=ROLES, help="record this process with py-spy and print where its time goes"
    )
    arguments = parser.parse_args(command_line)
    arguments.plan = "quick" if arguments.quick else arguments.plan or "full"
    return arguments


class Bench:
    """One call of the program."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self._plan = PLANS[arguments.plan]
        self._workloads = [workload for workload in WORKLOADS if workload in (arguments.workload or WORKLOADS)]
        self._concurrencies = tuple(arguments.concurrency or self._plan.concurrencies)
        self._folder: Path = arguments.folder
        self._profile: str | None = arguments.profile
        self._progress = Progress()

    async def measure(self) -> dict[str, list[PointReport]]:
        """Return the reports by workload."""
        answers: dict[tuple[str, int], list[Answer]] = {}
        for number in range(1, self._plan.passes + 1):
            self._progress.say(f"pass {number} of {self._plan.passes}: starting server, worker and client")
            async with Stack(self._fresh_folder()) as stack:
                for workload, concurrency in self._points():
                    what = f"{workload} with {concurrency:,} in flight" if concurrency else workload
                    self._progress.say(f"pass {number} of {self._plan.passes}: {what}")
                    answer = await self._one(stack, workload, concurrency)
                    answers.setdefault((workload, concurrency), []).append(answer)
        self._progress.clear()
        return {
            workload: [point_report(found) for (name, _), found in answers.items() if name == workload]
            for workload in sorted(self._workloads)
        }

    def _points(self) -> list[tuple[str, int]]:
        points = {"W1": [("W1", concurrency) for concurrency in self._concurrencies], "W2": [("W2", 0)]}
        return [point for workload in self._workloads for point in points[workload]]

    async def _one(self, stack: Stack, workload: str, concurrency: int) -> Answer:
        if workload == "W2":
            order = {"workload": workload, **asdict(self._plan.runs)}
        else:
            order = {"workload": workload, **asdict(self._plan.load), "concurrency": concurrency}
        if self._profile is None:
            return await stack.measure(order)
        recorder = Recorder(
            stack.pids[self._profile], self._folder / f"{self._profile}-{workload}-{concurrency}.speedscope.json"
        )
        load = self._plan.load
        recording: list[asyncio.Task[None]] = []
        # Only what counts is recorded; the load process says when that begins.
        answer = await stack.measure(
            order,
            lambda mark: (
                recording.append(asyncio.create_task(recorder.start(load.slices * load.slice_s)))
                if mark == "begin"
                else None
            ),
        )
        await asyncio.gather(*recording)
        profile = await recorder.result()
        self._progress.clear()
        sys.stderr.write(text_of(profile, f"{self._profile} during {workload} ({concurrency or 1} in flight)") + "\n\n")
        return answer

    def _fresh_folder(self) -> Path:
        return next(
            folder for number in count() if not (folder := self._folder / f"run-{os.getpid()}-{number}").exists()
        )


async def _measure(bench: Bench) -> dict[str, list[PointReport]]:
    """Measure, and end the processes in order on SIGTERM as on Ctrl-C."""
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 - for the type checker
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await bench.measure()


def _print(reports: dict[str, list[PointReport]], about: dict[str, object], *, as_json: bool) -> None:
    if as_json:
        for workload, points in reports.items():
            print(json_line(workload, points, about))
        return
    print(head(about))
    for workload, points in reports.items():
        print(table(workload, points) + "\n")


def main() -> int:
    """Measure and print; returns the exit code."""
    arguments = arguments_of()
    as_json = arguments.json or os.environ.get("JSON", "") not in {"", "0"}
    try:
        arguments.folder.mkdir(parents=True, exist_ok=True)
        about = machine(disk_of(arguments.folder))
        reports = asyncio.run(_measure(Bench(arguments)))
    except (BenchError, ProcessError) as fault:
        sys.stderr.write(f"bench: {fault}\n")
        return 1
    except (KeyboardInterrupt, asyncio.CancelledError):
        sys.stderr.write("bench: interrupted\n")
        return 130
    _print(reports, about, as_json=as_json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
