"""One simulation: what it is made of, what goes wrong and when, how it is healed, and what must hold at its end."""

import asyncio
from collections.abc import Callable, Collection, Coroutine
from dataclasses import dataclass
from random import Random
from typing import Any

from google.protobuf.duration_pb2 import Duration

from holdfast.v1.failure_pb2 import Failure
from holdfast.v1.payload_pb2 import Payload
from holdfast.v1.task_pb2 import Task, WorkerInfo
from holdfast_server.config import ServerConfig
from tests.simulation.answers import Answers
from tests.simulation.client import LARGE, Client, Directory, payload
from tests.simulation.disk import Disk
from tests.simulation.healing import Healing
from tests.simulation.log import captured
from tests.simulation.loop import SimulatedLoop, Violation
from tests.simulation.machine import Machine, Parts, Plans
from tests.simulation.network import Network, Troubles
from tests.simulation.store import Weather
from tests.simulation.viewer import Viewer
from tests.simulation.witness import Witness
from tests.simulation.worker import Act, SimulatedWorker
from tests.unit.engine.graphs import definition

__all__ = ["SHARES", "World", "simulate"]

START_US = 1_893_456_000_000_000
"""2030-01-01T00:00:00Z."""
SECOND_US = 1_000_000
LANES = {"default": ("work", "other"), "side": ("work", "other")}
HALF_LANES: tuple[dict[str, tuple[str, ...]], ...] = (
    {"default": ("work",)},
    {"default": ("work", "other")},
    {"default": ("other",), "side": ("work",)},
)
LEASE_S = 30.0


SHARES = {
    "crashes": 0.5,
    "restarts": 0.2,
    "disk_fails": 0.3,
    "disk_slow": 0.2,
    "answers_lost": 0.2,
    "reads_fail": 0.2,
    "network": 0.4,
    "partitions": 0.2,
    "workers_die": 0.3,
    "twins": 0.1,
    "poison": 0.1,
    "clock_set": 0.1,
}
"""How often each goes wrong."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What goes wrong in a simulation: a few things in each, so that they do not always cover each other."""

    crashes: bool
    restarts: bool
    disk_fails: bool
    disk_slow: bool
    answers_lost: bool
    reads_fail: bool
    network: bool
    partitions: bool
    workers_die: bool
    twins: bool
    poison: bool
    clock_set: bool


def plan(chance: Random, faults: Collection[str] = ()) -> Plan:
    """A draw of what goes wrong: a little of it, or in every fifth simulation most of it at once; `faults` always."""
    times = 2.5 if chance.random() < 0.2 else 0.8
    return Plan(**{name: chance.random() < times * share or name in faults for name, share in SHARES.items()})


def simulate(seed: int, note: Callable[[str], None] | None = None, faults: Collection[str] = ()) -> "World":
    """Runs one simulation.

    Args:
        seed: everything follows from it.
        note: gets the lines of the trace.
        faults: what goes wrong in any case, by its name in `Plan`; the rest is drawn.

    Raises:
        Violation: something happened that must not.
    """
    world = World(seed, note, faults)
    world.run()
    return world


class World:
    """Everything there is."""

    def __init__(self, seed: int, note: Callable[[str], None] | None = None, faults: Collection[str] = ()) -> None:
        self.chance = chance = Random(seed)  # noqa: S311 - chance that comes back with its seed
        self._note = note
        self._clock_set_us = 0
        self.plan = plan(chance, faults)
        self.loop = loop = SimulatedLoop(lambda: chance.choice((0.0, 0.001)))
        tell = self.note if note is not None else None
        self.disk = Disk()
        self.weather = Weather(chance)
        self.network = Network(loop, chance, tell)
        plans = Plans()
        self.witness = Witness(loop, self.disk, self.clock_us, plans.compile, tell)
        self.witness.lease_us = int(LEASE_S * SECOND_US)
        answers = Answers(self.witness, self.disk)
        parts = Parts(
            loop,
            chance,
            self.disk,
            self.weather,
            self.network,
            self.witness,
            answers,
            plans,
            self.clock_us,
            self.note,
        )
        config = ServerConfig.model_construct(  # nothing of the environment, and it is made for every seed
            listen="unix:simulated",
            database="simulated",
            lease_s=LEASE_S,
            hot_runs=chance.choice((1, 1, 2, 20_000)),
            evict_after_s=chance.choice((1.0, 10.0)),
            uncommitted_transitions=chance.choice((2, 20_000, 20_000, 20_000)),
        )
        constants = {
            "clock.LONGEST_SLEEP_US": SECOND_US if self.plan.clock_set else 60 * SECOND_US,
            "runtime.eviction.SOON_US": chance.choice((0, SECOND_US, 10 * SECOND_US)),
            "runtime.eviction.SNAPSHOT_AFTER": chance.choice((2, 32)),
            "runtime.loading.CHUNK": chance.choice((1, 500)),
            "runtime.recovery.CHUNK": chance.choice((1, 500)),
            "runtime.backlog.FETCH": chance.choice((1, 1_000)),
            "runtime.wakes.BATCH": chance.choice((1, 1_000)),
            "runtime.folding.PAGE_BYTES": chance.choice((1, 1024 * 1024)),
        }
        payloads_kept_bytes = chance.choice((1, 64 * 1024 * 1024))
        self.machine = Machine(parts, config, self._doom, constants, payloads_kept_bytes)
        self.machine.rest_s = lambda: chance.choice((0.01, 0.5, 3.0, 40.0 if chance.random() < 0.2 else 1.0))
        self.directory = Directory()
        self.workers: dict[str, SimulatedWorker] = {}
        self.clients: list[Client] = []
        self.viewer: Viewer | None = None
        self.calm = False
        self._well_since_us = 0
        self._sessions = 0

    def clock_us(self) -> int:
        """Microseconds since the Unix epoch, by a clock that somebody may set."""
        return START_US + self._clock_set_us + round(self.loop.time() * SECOND_US)

    def note(self, who: str, what: str) -> None:
        """Writes a line of the trace."""
        if self._note is not None:
            self._note(f"{self.loop.time():12.6f} {who:<12} {what}")

    def run(self) -> None:
        """Runs all of it.

        Raises:
            Violation: something happened that must not.
        """
        with captured(self.witness, self.note), self.machine.wired():
            main = self.loop.create_task(self._story())
            try:
                self.loop.run(main)
            except Violation:
                raise
            except Exception as error:
                raise Violation(f"the simulation itself failed: {type(error).__name__}: {error}") from error
            finally:
                self.loop.close()

    # -- the story ---------------------------------------------------------------------------------------------------

    async def _story(self) -> None:
        chance = self.chance
        self.note("world", f"{self.plan}")
        end_s = chance.choice((4.0, 15.0, 40.0, 90.0))
        self._spoil()
        keeping = self.loop.create_task(self.machine.keep_up())
        for number in range(chance.randint(1, 3)):
            self.start_worker(f"w{number}", HALF_LANES[number - 1] if number else dict(LANES))
        living: list[asyncio.Task[None]] = []
        for name in ("ann", "bob", "cid")[: chance.randint(1, 3)]:
            client = Client(self.loop, self.network, chance, name, self.directory, self.clock_us, self.witness.fail)
            self.clients.append(client)
            living.append(client.process.spawn(client.live(end_s, chance.randint(1, 4))))
        sources = [definition(chance, f"flow-{number}", 6) for number in range(chance.randint(1, 2))]
        if chance.random() < 0.4:
            self.viewer = Viewer(self.loop, self.network)
        registering = self.clients[0].process.spawn(self._register(sources))
        troubles = [self.loop.create_task(trouble) for trouble in self._troubles(end_s)]
        watching = self.loop.create_task(self._look_for_lateness())
        await asyncio.sleep(end_s)
        for trouble in troubles:
            trouble.cancel()
        await Healing(self, [registering, *living]).heal()
        watching.cancel()
        await self.machine.shut_down()
        keeping.cancel()

    async def _register(self, sources: list[str]) -> None:
        for source in sources:
            self.note("world", source)
            await self.clients[0].register(source)

    # -- workers -----------------------------------------------------------------------------------------------------

    def start_worker(self, name: str, lanes: dict[str, tuple[str, ...]], slots: int = 0) -> None:
        """Starts a process of a worker."""
        self._sessions += 1
        info = WorkerInfo(id=name, session_id=f"s{self._sessions}", language="python")
        self.note("world", f"worker {name} starts session {info.session_id} for {lanes}")
        self.workers[info.session_id] = SimulatedWorker(
            self.loop,
            self.network,
            self.chance,
            info,
            lanes,
            slots or self.chance.choice((1, 2, 3, 8)),
            self._act,
            self.note if self._note is not None else None,
        )

    def kill_worker(self, worker: SimulatedWorker) -> None:
        """Kills a process of a worker."""
        self.note("world", f"{worker.process.name} is killed")
        worker.process.kill()
        self.network.died(worker.process)
        self.workers.pop(worker.info.session_id, None)

    def _act(self, task: Task) -> Act:
        """What a handler does."""
        chance = self.chance
        if self.calm:
            return Act(chance.choice((0.0, 0.05)), payload(5) if chance.random() < 0.9 else Failure(type="Oops"))
        takes_s = chance.choice((0.0, 0.0, 0.01, 0.01, 0.3, 2.0, 12.0, 45.0))
        beat_s = chance.choice((0.2, 4.0)) if task.HasField("heartbeat_timeout") and chance.random() < 0.7 else None
        result: Payload | Failure | None
        if chance.random() < 0.7:
            value = chance.choice((1, 5, 5, "text", {"ok": True}, None))
            result = Payload(data=LARGE) if chance.random() < 0.1 else payload(value)
        elif chance.random() < 0.9:
            result = Failure(type=chance.choice(("Oops", "Oops", "Fatal", "Lost")), message="it broke")
            if chance.random() < 0.1:
                result.retryable = False
            if chance.random() < 0.2:
                result.retry_after.CopyFrom(Duration(seconds=chance.choice((0, 3))))
        else:
            result = None
        return Act(takes_s, result, chance.random() < 0.2, beat_s)

    # -- what goes wrong ---------------------------------------------------------------------------------------------

    def _doom(self) -> int | None:
        if self.calm or not self.plan.crashes or self.chance.random() < 0.3:
            return None
        return self.chance.choice((self.chance.randint(1, 60), self.chance.randint(20, 2_000)))

    def _spoil(self) -> None:
        """What goes wrong all the time."""
        chance, weather = self.chance, self.weather
        if self.plan.disk_slow:
            weather.slow = chance.choice((0.05, 0.5))
        if self.plan.answers_lost:
            weather.lost_answers = chance.choice((0.02, 0.2, 0.4))
        if self.plan.disk_fails:
            weather.lost_writes = chance.choice((0.0, 0.05, 0.2, 0.4))
        if self.plan.reads_fail:
            weather.lost_reads = chance.choice((0.02, 0.2))
        if self.plan.network:
            shares = [chance.choice((0.0, 0.02, 0.15, 0.3)) for _ in range(5)]
            self.network.troubles = Troubles(*shares)

    def _troubles(self, until_s: float) -> list[Coroutine[Any, Any, None]]:
        """What goes wrong now and then."""
        plan, trouble = self.plan, self._now_and_then
        found: list[Coroutine[Any, Any, None]] = []
        if plan.restarts:
            found.append(trouble(until_s, self.machine.stop))
        if plan.disk_fails:
            found.append(trouble(until_s, self._break_disk))
        if plan.partitions:
            found.append(trouble(until_s, self._cut_off))
        if plan.workers_die:
            found.append(trouble(until_s, self._end_worker))
        if plan.twins:
            found.append(trouble(until_s, self._twin))
        if plan.clock_set:
            found.append(trouble(until_s, self._set_clock))
        if plan.poison:
            found.append(trouble(until_s, self._poison))
        return found

    async def _now_and_then(self, until_s: float, happen: Callable[[], Coroutine[Any, Any, None]]) -> None:
        while True:
            await asyncio.sleep(self.chance.random() * until_s)
            await happen()

    async def _break_disk(self) -> None:
        self.note("world", "the disk is full")
        self.weather.broken = True
        await asyncio.sleep(self.chance.choice((0.01, 1.0, 10.0)))
        self.note("world", "the disk has room again")
        self.weather.broken = False
        self._well_since_us = self.clock_us()

    async def _cut_off(self) -> None:
        names = [worker.process.name for worker in self.workers.values()]
        names += [client.process.name for client in self.clients]
        name = self.chance.choice(names)
        self.note("world", f"{name} is cut off")
        self.network.cut_off.add(name)
        await asyncio.sleep(self.chance.choice((1.0, 20.0, 70.0)))
        self.note("world", f"{name} is back")
        self.network.cut_off.discard(name)

    async def _end_worker(self) -> None:
        worker = self.chance.choice(list(self.workers.values()))
        if self.chance.random() < 0.3:
            self.note("world", f"{worker.process.name} is told to stop")
            worker.stop()
            await asyncio.sleep(15.0)
        self.kill_worker(worker)
        await asyncio.sleep(self.chance.choice((0.0, 1.0, 35.0)))
        self.start_worker(worker.info.id, self.chance.choice((dict(LANES), *HALF_LANES)))

    async def _twin(self) -> None:
        """A second process takes the id of one that lives on."""
        worker = self.chance.choice(list(self.workers.values()))
        self.start_worker(worker.info.id, dict(LANES))

    async def _poison(self) -> None:
        """The disk refuses whatever one run has to say, which makes the server put it aside."""
        keys = [key for key, book in self.witness.books.items() if book.run.open]
        if not keys:
            return
        key = self.chance.choice(keys)
        self.note("world", f"the disk refuses events of run {key}")
        self.witness.excused.add(key)
        self.weather.poisoned.add(key)
        await asyncio.sleep(self.chance.choice((0.1, 10.0)))
        self.weather.poisoned.discard(key)

    async def _set_clock(self) -> None:
        """Somebody sets the wall clock, forwards or back."""
        by_s = self.chance.choice((-100, -1, 1, 100))
        self.note("world", f"the clock is set by {by_s} s")
        self._clock_set_us += by_s * SECOND_US
        self.witness.clock_was_set = True
        self._well_since_us = self.clock_us()

    def calm_down(self) -> None:
        """Nothing goes wrong any more, and what was put off by setting the clock back is not waited for."""
        self.note("world", "nothing goes wrong any more")
        self.calm = True
        self.weather.clear_up()
        self.network.troubles = Troubles()
        self.network.cut_off.clear()
        self.machine.spare()
        self._clock_set_us = max(self._clock_set_us, 0)
        self._well_since_us = self.clock_us()

    # -- what must hold all the time ---------------------------------------------------------------------------------

    async def _look_for_lateness(self) -> None:
        while True:
            await asyncio.sleep(5.0)
            if self.machine.listens_since_us and self.weather.fair:
                self.witness.check_timers(max(self._well_since_us, self.machine.listens_since_us))
