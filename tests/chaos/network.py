"""Resets, half-open connections, slow links and partitions between the server, its workers and its clients."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from random import Random

from tests.chaos.cluster import LEASE_S, Cluster
from tests.chaos.proxy import Link
from tests.chaos.report import Progress, Report

__all__ = ["network"]

PART = "network"
CYCLES_PER_FAULT = 8
"""Faults of the network last seconds, so there are fewer of them than kills."""
END_S = 150.0
"""How long runs may take to end: who has a half-open connection finds out by keepalive within 40 s."""
WARM_UP_S = 1.0
KILL_SHARE, KILL_AFTER_MAX_S = 0.25, 1.0
"""How often the server is killed besides, within so long after a fault began."""
KIB = 1024
ONE_SHARE = 0.7
"""How often a fault is that of one process, and not of all of its kind."""
WORKERS, CLIENTS = "w", "c"
"""How their places begin."""
FORGOTTEN = "half-open for good"
PARTITION = "workers cut, longer than a lease"


class Faults:
    """One fault after the other, on some of the links.

    Attributes:
        done: Faults so far, by kind.
    """

    def __init__(self, links: dict[str, Link], chance: Random, *, patient: bool) -> None:
        self._links = links
        self._chance = chance
        self.done: Counter[str] = Counter()
        self._kinds: dict[str, Callable[[list[Link]], Awaitable[None]]] = {
            "reset": self._reset,
            "half-open, then reset": self._forgotten_for_a_while,
            FORGOTTEN: self._forgotten,
            "slow": self._slow,
            "cut, shorter than a lease": self._cut_for_a_moment,
            PARTITION: self._cut,
        }
        if not patient:
            del self._kinds[FORGOTTEN]

    async def one(self, kind: str = "") -> None:
        """Let a fault happen, and be over."""
        kind = kind or self._chance.choice(list(self._kinds))
        await self._kinds[kind](self._chosen(WORKERS if kind == PARTITION else WORKERS + CLIENTS))
        self.done[kind] += 1

    @property
    def kinds(self) -> list[str]:
        """What can happen."""
        return list(self._kinds)

    def _chosen(self, sides: str) -> list[Link]:
        """One process, or all workers, or all clients."""
        side = self._chance.choice(sides)
        places = [place for place in self._links if place.startswith(side)]
        if self._chance.random() < ONE_SHARE:
            places = [self._chance.choice(places)]
        return [self._links[place] for place in places]

    async def _reset(self, links: list[Link]) -> None:
        for link in links:
            link.reset()
        await asyncio.sleep(self._chance.uniform(0.1, 1.0))

    async def _forgotten(self, links: list[Link]) -> None:
        for link in links:
            link.forget()
        await asyncio.sleep(self._chance.uniform(0.1, 1.0))

    async def _forgotten_for_a_while(self, links: list[Link]) -> None:
        for link in links:
            link.forget()
        await asyncio.sleep(self._chance.uniform(0.5, 2 * LEASE_S))
        for link in links:
            link.reset()

    async def _slow(self, links: list[Link]) -> None:
        for link in links:
            link.delay_s = self._chance.uniform(0.02, 0.2)
            link.bytes_per_s = self._chance.uniform(50, 1000) * KIB
        await asyncio.sleep(self._chance.uniform(1.0, 3.0))
        for link in links:
            link.mend()

    async def _cut_for_a_moment(self, links: list[Link]) -> None:
        await self._cut_for(links, self._chance.uniform(0.1, 0.4 * LEASE_S))

    async def _cut(self, links: list[Link]) -> None:
        await self._cut_for(links, self._chance.uniform(1.5 * LEASE_S, 3.0 * LEASE_S))

    async def _cut_for(self, links: list[Link], duration_s: float) -> None:
        for link in links:
            link.cut()
        await asyncio.sleep(duration_s)
        for link in links:
            link.mend()


async def _restart(cluster: Cluster, after_s: float) -> None:
    """Kill the server in the middle of a fault; who is cut off from it comes back to another one."""
    await asyncio.sleep(after_s)
    cluster.server.kill()
    await cluster.revive()


async def network(folder: Path, seed: str, cycles: int, *, patient: bool = True) -> Report:
    """Let the network have faults, and return what was found.

    Args:
        folder: Where everything is kept.
        seed: Decides what happens.
        cycles: As many faults as fit to so many kills.
        patient: Whether there is time until keepalive finds out about half-open connections.
    """
    progress = Progress(PART)
    links: dict[str, Link] = {}
    async with AsyncExitStack() as stack:

        async def route(place: str, target: str) -> str:
            links[place] = await stack.enter_async_context(Link(target))
            return links[place].address

        cluster = await stack.enter_async_context(Cluster(folder, seed, route=route))
        chance = Random(f"{PART}/{seed}")  # noqa: S311 - chooses what breaks
        faults = Faults(links, chance, patient=patient)
        kills = 0
        count = max(cycles // CYCLES_PER_FAULT, len(faults.kinds))
        progress.say(f"seed {seed}: {count} faults", always=True)
        await asyncio.sleep(WARM_UP_S)
        for number in range(count):
            async with asyncio.TaskGroup() as group:
                # Each kind at least once.
                group.create_task(faults.one(faults.kinds[number] if number < len(faults.kinds) else ""))
                if chance.random() < KILL_SHARE:
                    kills += 1
                    group.create_task(_restart(cluster, chance.uniform(0, KILL_AFTER_MAX_S)))
            progress.say(f"{number + 1} of {count} faults; {cluster.runs_ended():,} runs ended")
        findings = await cluster.finish(END_S, lambda text: progress.say(text, always=True))
    progress.clear()
    report = Report(PART, seed, findings, progress.load_before)
    report.rows = [
        ("faults", f"{faults.done.total():,}"),
        *((f"    {kind}", f"{faults.done[kind]:,}") for kind in faults.kinds),
        ("servers killed besides", f"{kills:,}"),
        ("took", f"{progress.passed_s:,.0f} s"),
    ]
    report.figures = {"faults": dict(faults.done), "killed": {"servers": kills}, "took_s": round(progress.passed_s, 1)}
    return report
