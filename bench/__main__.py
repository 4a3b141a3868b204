"""`python -m bench [quick|full]`: measures, checks what was measured, and prints it."""

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from itertools import count
from pathlib import Path
from typing import Any

from bench.machine import BenchError, description, disk_of
from bench.plans import PLANS, STACKS
from bench.processes import RESULTS, ROLES, Answer, Stack
from bench.profile import Profile, Recorder, text_of
from bench.report import Progress, WorkloadReport, json_line, point_report, workload_report
from bench.tables import floor_line, head, table
from bench.workloads import WORKLOADS
from holdfast.testing import ProcessError

EXIT_FAILED, EXIT_BELOW, EXIT_INTERRUPTED = 1, 3, 130


def arguments_of(command_line: Sequence[str] | None = None) -> argparse.Namespace:
    """Return what is asked for; None reads the arguments of this program."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("plan", nargs="?", choices=sorted(PLANS))
    parser.add_argument("--quick", action="store_true", help="the same as `quick`")
    parser.add_argument("--json", action="store_true", help="one JSON line per workload (also: JSON=1)")
    parser.add_argument("--check", action="store_true", help=f"exit with {EXIT_BELOW} if a figure misses its floor")
    parser.add_argument("--workload", action="append", choices=sorted(WORKLOADS), help="only this one; may be repeated")
    parser.add_argument("--concurrency", type=int, action="append", help="W1: only this one; may be repeated")
    parser.add_argument("--folder", type=Path, default=RESULTS, help="where databases and profiles go: on a disk")
    parser.add_argument(
        "--profile", choices=ROLES, help="record this process with py-spy and print where its time goes"
    )
    arguments = parser.parse_args(command_line)
    arguments.plan = "quick" if arguments.quick else arguments.plan or "full"
    left_out = sorted(set(arguments.workload or ()) - PLANS[arguments.plan].orders.keys())
    if left_out:
        parser.error(f"{', '.join(left_out)} is not part of `{arguments.plan}`")
    return arguments


class Bench:
    """One call of the program."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self._name: str = arguments.plan
        plan = PLANS[self._name]
        self._passes = plan.passes
        self._orders = {
            workload: list(orders)
            for workload, orders in plan.orders.items()
            if workload in (arguments.workload or plan.orders)
        }
        if arguments.concurrency and "W1" in self._orders:
            load = self._orders["W1"][0]
            self._orders["W1"] = [replace(load, concurrency=concurrency) for concurrency in arguments.concurrency]
        self._folder: Path = arguments.folder
        self._profile: str | None = arguments.profile
        self._progress = Progress()

    async def measure(self) -> list[WorkloadReport]:
        """Return the reports in the order of the workloads' names."""
        answers: dict[str, list[list[Answer]]] = {name: [[] for _ in orders] for name, orders in self._orders.items()}
        for number in range(1, self._passes + 1):
            for together in STACKS:
                chosen = [workload for workload in together if workload in self._orders]
                if not chosen:
                    continue
                self._say(number, "starting server, worker and client")
                async with Stack(self._fresh_folder()) as stack:
                    for workload in chosen:
                        for position, order in enumerate(self._orders[workload]):
                            self._say(number, _what(workload, order))
                            answers[workload][position].append(await self._one(stack, workload, order))
        self._progress.clear()
        return [
            workload_report(self._name, workload, [point_report(row) for row in answers[workload]])
            for workload in sorted(self._orders)
        ]

    def _say(self, number: int, text: str) -> None:
        self._progress.say(f"pass {number} of {self._passes}: {text}")

    async def _one(self, stack: Stack, workload: str, order: Any) -> Answer:
        fields = {"workload": workload, **asdict(order)}
        if self._profile is None:
            return await stack.measure(fields)
        role, what = self._profile, _what(workload, order)
        file = self._folder / f"{role}-{what.replace(' ', '-')}.speedscope.json"
        profiles: list[Profile] = []
        recorder: Recorder | None = None

        async def record(mark: str) -> None:
            """Record only what counts."""
            nonlocal recorder
            if mark == "begin":
                recorder = Recorder(stack.pids[role], file)
                await recorder.start()
            elif recorder is not None:
                profiles.append(await recorder.stop())

        answer = await stack.measure(fields, record)
        self._progress.clear()
        for profile in profiles:
            sys.stderr.write(text_of(profile, f"{role} during {what}") + "\n\n")
        return answer

    def _fresh_folder(self) -> Path:
        return next(
            folder for number in count() if not (folder := self._folder / f"run-{os.getpid()}-{number}").exists()
        )


def _what(workload: str, order: Any) -> str:
    concurrency = getattr(order, "concurrency", None)
    return workload if concurrency is None else f"{workload} with {concurrency} in flight"


async def _measure(bench: Bench) -> list[WorkloadReport]:
    """Measure, and end the processes in order on SIGTERM as on Ctrl-C."""
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 - for the type checker
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await bench.measure()


def _print(reports: Sequence[WorkloadReport], about: dict[str, object], *, as_json: bool) -> None:
    if as_json:
        for report in reports:
            print(json_line(report, about))
        return
    print(head(about))
    for report in reports:
        print(table(report) + "\n")


def check(reports: Sequence[WorkloadReport]) -> int:
    """Say which floors were missed; returns the exit code."""
    missed = [(report.name, verdict) for report in reports for verdict in report.verdicts if not verdict.met]
    for name, verdict in missed:
        sys.stderr.write(f"bench: {name}:{floor_line(verdict)}\n")
    return EXIT_BELOW if missed else 0


def main() -> int:
    """Measure and print; returns the exit code."""
    arguments = arguments_of()
    as_json = arguments.json or os.environ.get("JSON", "") not in {"", "0"}
    try:
        arguments.folder.mkdir(parents=True, exist_ok=True)
        about = description(disk_of(arguments.folder))
        reports = asyncio.run(_measure(Bench(arguments)))
    except (BenchError, ProcessError) as fault:
        sys.stderr.write(f"bench: {fault}\n")
        return EXIT_FAILED
    except (KeyboardInterrupt, asyncio.CancelledError):
        sys.stderr.write("bench: interrupted\n")
        return EXIT_INTERRUPTED
    _print(reports, about, as_json=as_json)
    return check(reports) if arguments.check else 0


if __name__ == "__main__":
    sys.exit(main())
