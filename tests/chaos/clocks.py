"""Sets the server's clock by hours, forward and back, while runs wait, and kills the server in between."""

import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random

from holdfast.v1.history_pb2 import HistoryEvent
from tests.chaos.clocked_server import CLOCK, AheadFile, ClockedServer
from tests.chaos.cluster import Cluster
from tests.chaos.report import Progress, Report
from tests.chaos.scripts import LONG

__all__ = ["clocks"]

PART = "clocks"
CYCLES_PER_JUMP = 8
"""Between two jumps of the clock something has to happen, so there are fewer of them than kills."""
BETWEEN_S = (0.3, 1.5)
KILL_SHARE = 0.3
FORWARD_SHARE = 0.6
HOURS_MAX = 5.0
END_S = 90.0
ARGUMENTS = ("--lease-s", "30", "--adoption-grace-s", "1", "--cancel-grace-s", "2", "--hot-runs", "4")
"""Nobody is silent for such a lease; so if one is lost, the clock took it."""
DRIVERS = 20
HOUR_US = 3_600_000_000


class Clock:
    """The clock of the server, and where it has been.

    Attributes:
        forward, back: How often it was set.
        latest_us: The furthest it was ahead.
    """

    def __init__(self, file: Path, chance: Random) -> None:
        self._file = AheadFile(file)
        self._chance = chance
        self._ahead_us = 0
        self.latest_us = 0
        self.forward = self.back = 0

    def jump(self) -> None:
        """Set the clock by up to some hours."""
        by_us = int(self._chance.uniform(0, HOURS_MAX) * HOUR_US)
        if self._chance.random() < FORWARD_SHARE:
            self.forward += 1
            self._set(self._ahead_us + by_us)
        else:
            self.back += 1
            self._set(self._ahead_us - by_us)

    async def run_on(self) -> None:
        """From where it was latest go on by hours every moment, so that whatever waits comes due."""
        self._set(self.latest_us)
        while True:
            await asyncio.sleep(BETWEEN_S[0])
            self._set(self._ahead_us + HOUR_US)

    def _set(self, ahead_us: int) -> None:
        self._ahead_us = ahead_us
        self.latest_us = max(self.latest_us, ahead_us)
        self._file.set(ahead_us)


def lost_leases(history: Sequence[HistoryEvent]) -> Iterator[str]:
    """Yield the attempts a run has lost: workers live all the time."""
    for event in history:
        if event.step_attempt_failed.failure.type == "Lost":
            failed = event.step_attempt_failed
            yield f"attempt {failed.attempt} of {failed.path} lost its lease at {event.seq}"


async def clocks(folder: Path, seed: str, cycles: int) -> Report:
    """Set the clock, as often as fits to so many kills, and return what was found."""
    progress = Progress(PART)
    chance = Random(f"{PART}/{seed}")  # noqa: S311 - chooses how far the clock jumps
    clock = Clock(folder / "clock", chance)
    kills = 0
    environment = {CLOCK: str(folder / "clock")}
    async with Cluster(
        folder, seed, server=ClockedServer, arguments=ARGUMENTS, environment=environment, choice=LONG, drivers=DRIVERS
    ) as cluster:
        count = max(cycles // CYCLES_PER_JUMP, 4)
        progress.say(f"seed {seed}: {count} jumps", always=True)
        for number in range(count):
            await asyncio.sleep(chance.uniform(*BETWEEN_S))
            if chance.random() < KILL_SHARE:
                cluster.server.kill()
                kills += 1
                clock.jump()
                await cluster.revive()
            else:
                clock.jump()
            progress.say(f"{number + 1} of {count} jumps; {cluster.runs_ended():,} runs ended")
        running_on = asyncio.create_task(clock.run_on())
        findings = await cluster.finish(END_S, lambda text: progress.say(text, always=True), lost_leases)
        running_on.cancel()
    progress.clear()
    report = Report(PART, seed, findings, progress.load_before)
    report.rows = [
        ("clock set forward, back", f"{clock.forward:,}, {clock.back:,}"),
        ("servers killed", f"{kills:,}"),
        ("took", f"{progress.passed_s:,.0f} s"),
    ]
    report.figures = {
        "forward": clock.forward,
        "back": clock.back,
        "killed": {"servers": kills},
        "took_s": round(progress.passed_s, 1),
    }
    return report
