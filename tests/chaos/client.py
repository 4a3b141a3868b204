"""`python -m tests.chaos.client TARGET NOTES SEAT DRIVERS SEED CHOICE`: starts and treats runs until told to stop.

The seat outlives its clients: each goes on with the runs its predecessor left open.
"""

import asyncio
import contextlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from random import Random

from holdfast import Client
from tests.chaos.notes import Began, Done, Pen, Told, read
from tests.chaos.scripts import BULK, CHOICES, SCRIPTS
from tests.chaos.stage import AbandonedError, Stage

__all__ = ["BULK_FLAG", "STOP_FLAG"]

TIMEOUT_S = 5.0
BULK_FLAG = "bulk"
"""While a file of this name lies beside the notes, large runs are started."""
STOP_FLAG = "stop"
"""Once a file of this name lies there, no run is started, and clients end when those they have are through."""
_RUN_ID = re.compile(r"[^-]+-(\d+)-[a-z]+")


class Seat:
    """One client's place."""

    def __init__(self, client: Client, notes: Path, name: str, seed: str, choice: str) -> None:
        self._client = client
        self._name = name
        self._seed = seed
        self._weights = CHOICES[choice]
        self._bulk, self._stop = notes.with_name(BULK_FLAG), notes.with_name(STOP_FLAG)
        self._open: dict[str, str] = {}
        self._told: dict[str, dict[str, str]] = {}
        self._next = 1
        if notes.exists():
            self._take_over(notes)
        self._left = iter(list(self._open.items()))
        self._pen = Pen(notes)

    def _take_over(self, notes: Path) -> None:
        for note in read([notes]):
            match note:
                case Began(run_id, script):
                    self._open[run_id] = script
                    self._told[run_id] = {}
                    self._next = number_of(run_id) + 1
                case Told(run_id, request_id, answer):
                    self._told[run_id][request_id] = answer
                case Done(run_id):
                    del self._open[run_id], self._told[run_id]

    async def drive(self) -> None:
        """Treat one run after the other."""
        for run_id, script in self._runs():
            stage = Stage(self._client, self._pen, run_id, number_of(run_id), self._told.pop(run_id, {}))
            with contextlib.suppress(AbandonedError):  # what is wrong with it is noted
                await SCRIPTS[script](stage)
            self._pen.write(Done(run_id), synced=True)

    def _runs(self) -> Iterator[tuple[str, str]]:
        yield from self._left
        while not self._stop.exists():
            number, self._next = self._next, self._next + 1
            script = BULK if self._bulk.exists() else self._choose(number)
            run_id = f"{self._name}-{number}-{script}"
            self._pen.write(Began(run_id, script))
            yield run_id, script

    def _choose(self, number: int) -> str:
        chance = Random(f"{self._seed}/{self._name}/{number}")  # noqa: S311 - choices of a test
        return chance.choices(list(self._weights), list(self._weights.values()))[0]


def number_of(run_id: str) -> int:
    """Return the number in the id of a run."""
    found = _RUN_ID.fullmatch(run_id)
    if found is None:
        raise ValueError(f"{run_id!r} is not the id of a run of this test")
    return int(found.group(1))


async def main(target: str, notes: str, name: str, drivers: str, seed: str, choice: str) -> None:
    async with Client(target, actor=name, timeout_s=TIMEOUT_S) as client:
        seat = Seat(client, Path(notes), name, seed, choice)
        async with asyncio.TaskGroup() as group:
            for _ in range(int(drivers)):
                group.create_task(seat.drive())


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
