"""`python -m tests.chaos [PART...]`: breaks things, and says what came of it. Exit code 1 if anything is amiss."""

import argparse
import asyncio
import os
import secrets
import shutil
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from holdfast.testing.processes import ProcessError
from tests.chaos.clocks import clocks
from tests.chaos.cluster import ROOT, ChaosError
from tests.chaos.kills import kills
from tests.chaos.network import network
from tests.chaos.power.battery import power
from tests.chaos.report import Report
from tests.chaos.soak import soak

FOLDER = ROOT / ".cache" / "chaos"
CYCLES = 500
MINUTES = 5.0
TOLD_TO_END = "by SIGTERM"


@dataclass(frozen=True, slots=True)
class Amount:
    """How much is done.

    Attributes:
        cycles: Kills of each kind, and so many faults of other kinds as fit to them.
        minutes: Length of the soak.
    """

    cycles: int
    minutes: float


Part = Callable[[Path, str, Amount], Awaitable[Report]]
BREAKING: dict[str, Part] = {
    "kills": lambda folder, seed, amount: kills(folder, seed, amount.cycles),
    "network": lambda folder, seed, amount: network(folder, seed, amount.cycles),
    "clocks": lambda folder, seed, amount: clocks(folder, seed, amount.cycles),
    "power": lambda folder, seed, amount: power(folder, seed, amount.cycles),
}
PARTS: dict[str, Part] = {**BREAKING, "soak": lambda folder, seed, amount: soak(folder, seed, amount.minutes)}


def arguments_of(command_line: Sequence[str] | None = None) -> argparse.Namespace:
    """Return what is asked for; None reads the arguments of this program."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("part", nargs="*", help=f"only these: {', '.join(PARTS)}; all but soak without")
    parser.add_argument("--cycles", type=int, help="kills of each kind (also: CHAOS_CYCLES)")
    parser.add_argument("--minutes", type=float, help="length of the soak (also: SOAK_MINUTES)")
    parser.add_argument("--seed", help="repeats the choices of an earlier call (also: CHAOS_SEED)")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where everything is kept: on a disk")
    parser.add_argument("--json", action="store_true", help="one JSON line per part (also: JSON=1)")
    arguments = parser.parse_args(command_line)
    unknown = [part for part in arguments.part if part not in PARTS]
    if unknown:
        parser.error(f"there is no part {unknown[0]!r}; there are: {', '.join(PARTS)}")
    return arguments


async def _one(part: str, folder: Path, seed: str, amount: Amount) -> Report:
    """Do a part, and end all processes in order on SIGTERM as on Ctrl-C."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel, TOLD_TO_END)
    try:
        return await PARTS[part](folder, seed, amount)
    except BaseExceptionGroup as several:
        raise several.exceptions[0] from several


def main() -> int:
    """Do all parts that are asked for and print what was found; returns the exit code."""
    arguments = arguments_of()
    as_json = arguments.json or os.environ.get("JSON", "") not in {"", "0"}
    amount = Amount(
        cycles=arguments.cycles or int(os.environ.get("CHAOS_CYCLES") or CYCLES),
        minutes=arguments.minutes or float(os.environ.get("SOAK_MINUTES") or MINUTES),
    )
    seed = arguments.seed or os.environ.get("CHAOS_SEED") or secrets.token_hex(4)
    code = 0
    for part in arguments.part or BREAKING:
        folder = arguments.folder / f"chaos-{part}-{os.getpid()}"
        try:
            report = asyncio.run(_one(part, folder, seed, amount))
        except (ChaosError, ProcessError) as fault:
            sys.stderr.write(f"\n{part} (seed {seed}): {fault}\nwhat was left behind is in {folder}\n")
            code = 1
            continue
        except (KeyboardInterrupt, asyncio.CancelledError) as told:
            sys.stderr.write(f"\n{part} (seed {seed}): interrupted {told}\n")
            code = 130
            break
        print(report.json_line() if as_json else report.table() + "\n", flush=True)
        if report.ok:
            shutil.rmtree(folder)
        else:
            sys.stderr.write(f"{part}: what was left behind is in {folder}\n")
            code = 1
    return code


if __name__ == "__main__":
    sys.exit(main())
