"""Kills servers, workers and clients by SIGKILL, at random and at named places, while all kinds of runs go on."""

import asyncio
import os
import time
from collections import Counter
from pathlib import Path
from random import Random

from holdfast.testing.processes import ServerProcess
from holdfast_server.failpoints import PLACES
from tests.chaos.cluster import ChaosError, Cluster, died
from tests.chaos.report import Progress, Report, percentile

__all__ = ["kills"]

PART = "kills"
RECOVERY_P99_MAX_S = 2.0
QUIET_LOAD_PER_CORE = 0.5
"""Load average before the start, up to which the machine is taken to do nothing else."""
END_S = 90.0
"""How long runs may take to end when nothing is killed any more."""
REACH_S = 5.0
"""How long a server may live that is to die at a place; it is killed then."""
LIFE_S = (0.02, 1.4)
"""How long a server lives that is killed at random, after it is ready; now and then much longer."""
LONG_LIFE_S, LONG_LIFE_SHARE = 4.0, 0.1
RANDOM_SHARE = 0.4
DELAY_MAX_S = 1.2
"""A worker and a client are killed within so long after each server: while it comes back, or while it lives."""
PASSES = {
    "recovery": 20,
    "before_commit": 25,
    "during_commit": 25,
    "after_commit": 25,
    "answer": 25,
    "eviction": 15,
    "checkpoint": 1,
}
"""A server dies at the first to so manieth time it comes to a place."""
RARE = {"checkpoint": 0.3}
"""Places that are chosen less often, because it takes a lot of writing to get there."""


class Kills:
    """One killing after the other, of three kinds at once.

    Attributes:
        servers, workers, clients: How many were killed.
        at: Kills of servers by place; `random` for those that were killed from outside.
        missed: Servers that did not come to their place in time, and were killed from outside.
        recoveries_s: From the death of a server to the first answer of the next about a run that was open.
        alone_s: The same without the time in which the server waited for a CPU that others had.
    """

    def __init__(self, cluster: Cluster, chance: Random, progress: Progress) -> None:
        self._cluster = cluster
        self._chance = chance
        self._progress = progress
        self.servers = self.workers = self.clients = self.missed = 0
        self.at: Counter[str] = Counter()
        self.recoveries_s: list[float] = []
        self.alone_s: list[float] = []
        self._died_s = 0.0
        self._others: asyncio.TaskGroup

    async def kill(self, count: int) -> None:
        """Kill so many servers, workers and clients; all are there again in the end."""
        async with asyncio.TaskGroup() as self._others:
            self._kill()
            while self.servers < count:
                place = self._choose()
                if place == "random":
                    await self._come_back()
                    await asyncio.sleep(self._life_s())
                    self._kill()
                else:
                    await self._die_at(place)
                self._tell(count)
            await self._come_back()

    def _tell(self, total: int) -> None:
        done = f"killed {self.servers} servers, {self.workers} workers, {self.clients} clients of {total} each"
        median, worst = percentile(self.recoveries_s, 0.5), percentile(self.recoveries_s, 0.99)
        runs = self._cluster.runs_ended()
        self._progress.say(f"{done}; {runs:,} runs ended; recovery p50 {median:.2f} s, p99 {worst:.2f} s")

    # -- servers -----------------------------------------------------------------------------------------------------

    def _life_s(self) -> float:
        if self._chance.random() < LONG_LIFE_SHARE:
            return self._chance.uniform(LIFE_S[1], LONG_LIFE_S)
        return self._chance.uniform(*LIFE_S)

    def _choose(self) -> str:
        if self._chance.random() < RANDOM_SHARE:
            return "random"
        return self._chance.choices(list(PLACES), [RARE.get(place, 1.0) for place in PLACES])[0]

    async def _die_at(self, place: str) -> None:
        cluster = self._cluster
        cluster.bulk(on=place == "checkpoint")
        ready = await self._come_back(f"{place}:{self._chance.randint(1, PASSES[place])}")
        if not ready or await died(cluster.server.pid, REACH_S):
            code = cluster.server.kill()
            if code != -9:
                raise ChaosError(f"the server ended by itself with exit code {code}\n{cluster.server.log_tail()}")
            self._killed(place)
        else:
            self.missed += 1
            self._kill()
        cluster.bulk(on=False)

    async def _come_back(self, failpoint: str = "") -> bool:
        if not await self._cluster.revive(failpoint):
            return False
        if not failpoint:
            await self._cluster.answers()
            recovery_s = time.monotonic() - self._died_s
            self.recoveries_s.append(recovery_s)
            self.alone_s.append(recovery_s - _waited_for_cpu_s(self._cluster.server.pid))
        return True

    def _kill(self) -> None:
        self._cluster.server.kill()
        self._killed("random")

    def _killed(self, place: str) -> None:
        self._died_s = time.monotonic()
        self.servers += 1
        self.at[place] += 1
        self._others.create_task(self._kill_worker(self._chance.uniform(0, DELAY_MAX_S)))
        self._others.create_task(self._kill_client(self._chance.uniform(0, DELAY_MAX_S)))

    # -- workers and clients -----------------------------------------------------------------------------------------

    async def _kill_worker(self, delay_s: float) -> None:
        await asyncio.sleep(delay_s)
        place = self._chance.choice(list(self._cluster.workers))
        self._cluster.replace_worker(place, same_id=self._chance.random() < 0.5)
        self.workers += 1

    async def _kill_client(self, delay_s: float) -> None:
        await asyncio.sleep(delay_s)
        self._cluster.replace_client(self._chance.choice(list(self._cluster.clients)))
        self.clients += 1


def _waited_for_cpu_s(pid: int) -> float:
    """Return how long the main thread of a process was ready to run and did not get to."""
    _ran_ns, waited_ns, _slices = Path(f"/proc/{pid}/schedstat").read_text(encoding="ascii").split()
    return int(waited_ns) / 1e9


async def kills(folder: Path, seed: str, count: int, server: type[ServerProcess] = ServerProcess) -> Report:
    """Kill so many servers, workers and clients, and return what was found."""
    progress = Progress(PART)
    async with Cluster(folder, seed, server=server) as cluster:
        progress.say(f"seed {seed}: {count} kills of each", always=True)
        killing = Kills(cluster, Random(f"{PART}/{seed}"), progress)  # noqa: S311 - chooses what to kill
        await killing.kill(count)
        findings = await cluster.finish(END_S, lambda text: progress.say(text, always=True))
    progress.clear()
    p50, p99 = (percentile(killing.recoveries_s, share) for share in (0.5, 0.99))
    alone_p50, alone_p99 = (percentile(killing.alone_s, share) for share in (0.5, 0.99))
    report = Report(PART, seed, findings, progress.load_before)
    report.rows = [
        ("killed: servers, workers, clients", f"{killing.servers:,}, {killing.workers:,}, {killing.clients:,}"),
        *((f"    servers, {place}", f"{killing.at[place]:,}") for place in ("random", *PLACES)),
        ("    servers that missed their place", f"{killing.missed:,}"),
        ("recovery p50, p99 (at most 2 s)", f"{p50:.2f} s, {p99:.2f} s, of {len(killing.recoveries_s):,}"),
        ("    without waiting for a CPU", f"{alone_p50:.2f} s, {alone_p99:.2f} s"),
        ("took", f"{progress.passed_s:,.0f} s"),
    ]
    report.figures = {
        "cycles": killing.servers,
        "killed": {"servers": killing.servers, "workers": killing.workers, "clients": killing.clients},
        "killed_at": dict(killing.at),
        "missed": killing.missed,
        "recovery_p50_s": round(p50, 3),
        "recovery_p99_s": round(p99, 3),
        "recovery_alone_p50_s": round(alone_p50, 3),
        "recovery_alone_p99_s": round(alone_p99, 3),
        "took_s": round(progress.passed_s, 1),
    }
    # What others do on the machine is no fault of the server; on a quiet one there is nothing to take off.
    counted_s = p99 if report.load_before <= QUIET_LOAD_PER_CORE * (os.cpu_count() or 1) else alone_p99
    if counted_s > RECOVERY_P99_MAX_S:
        report.faults.append(f"recovery p99 is {counted_s:.2f} s; at most {RECOVERY_P99_MAX_S:g} s are promised")
    return report
