"""Fuzzes one entry by changed seeds: `python -m tests.fuzz.plain ENTRY --runs N` or `--seconds S`.

It prints one JSON line. It knows nothing of coverage and needs nothing installed: `make test` uses it, and machines
without atheris.
"""

import argparse
import base64
import json
import random
import resource
import time

from tests.fuzz.dice import changed_bytes
from tests.fuzz.entries import ENTRIES, SEPARATOR
from tests.fuzz.seeds import seeds

__all__ = ["Slowest"]

LONGEST = 20_000
PROGRESS = 200
MIB = 1024


class Slowest:
    """Keeps the input that took longest to compute; what the machine did meanwhile does not count."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.data = b""

    def time(self, entry: str, data: bytes) -> None:
        """Runs an entry on an input."""
        before = time.thread_time()
        ENTRIES[entry](data)
        taken = time.thread_time() - before
        if taken > self.seconds:
            self.seconds, self.data = taken, data


def main() -> None:
    """Fuzzes."""
    parser = argparse.ArgumentParser()
    parser.add_argument("entry", choices=ENTRIES)
    parser.add_argument("--runs", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=0.0)
    parser.add_argument("--seed", type=int, default=7)
    given = parser.parse_args()
    chance = random.Random(given.seed)  # noqa: S311 - no secret
    pool = seeds(given.entry)
    slowest = Slowest()
    until = time.monotonic() + given.seconds
    begin_kib = done = 0
    data = b""
    try:
        for data in pool:
            slowest.time(given.entry, data)
        begin_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        short = [one for one in pool if len(one) <= LONGEST] or pool
        while done < given.runs or (given.seconds and time.monotonic() < until):
            base = chance.choice(short)
            if chance.randrange(4) == 0:  # parts of two
                left, right = base.split(SEPARATOR), chance.choice(short).split(SEPARATOR)
                base = SEPARATOR.join(
                    (*left[: chance.randrange(len(left) + 1)], *right[chance.randrange(len(right)) :])
                )
            data = changed_bytes(base, chance)
            slowest.time(given.entry, data)
            done += 1
    except BaseException:
        print(json.dumps({"entry": given.entry, "broken_by": base64.b64encode(data).decode()}), flush=True)
        raise
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - begin_kib
    line = {"entry": given.entry, "seeds": len(pool), "runs": done, "grown_mib": round(grown / MIB, 1)}
    line |= {"slowest_s": round(slowest.seconds, 3), "slowest": base64.b64encode(slowest.data[:300]).decode()}
    print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
