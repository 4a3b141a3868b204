"""Runs simulations: `python -m tests.simulation --seeds 1000`; `--from SEED --seeds 1 --trace` shows one."""

import argparse
import sys
import time

from tests.simulation.loop import Violation
from tests.simulation.world import SHARES, simulate

PROGRESS_S = 5.0


def main() -> int:
    """Runs seeds until one fails, or all of them; 0 if none does."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1_000, help="how many")
    parser.add_argument("--from", type=int, default=0, dest="first", help="the first one")
    parser.add_argument(
        "--faults", type=_names, default=[], metavar="NAME,…", help=f"what goes wrong in each: {', '.join(SHARES)}"
    )
    parser.add_argument("--keep-going", action="store_true", help="do not stop at the first that fails")
    parser.add_argument("--trace", action="store_true", help="print what happens")
    options = parser.parse_args()
    failed = 0
    began_s = told_s = time.monotonic()
    for number, seed in enumerate(range(options.first, options.first + options.seeds)):
        try:
            simulate(seed, print if options.trace else None, options.faults)
        except Violation as violation:
            print(f"seed {seed}: {violation}", flush=True)
            failed += 1
            if not options.keep_going:
                break
        if time.monotonic() - told_s > PROGRESS_S:
            told_s = time.monotonic()
            print(f"{number + 1} seeds, {(number + 1) * 60 / (told_s - began_s):.0f} a minute", file=sys.stderr)
    spent_s = time.monotonic() - began_s
    done = number + 1
    print(f"{done} seeds from {options.first}, {done * 60 / spent_s:.0f} a minute: {failed or 'none'} failed")
    return min(failed, 1)


def _names(text: str) -> list[str]:
    names = text.split(",")
    unknown = [name for name in names if name not in SHARES]
    if unknown:
        raise argparse.ArgumentTypeError(f"{unknown[0]!r} is none of {', '.join(SHARES)}")
    return names


if __name__ == "__main__":
    sys.exit(main())
