"""Fuzzes a server that watches itself: `python -m tests.fuzz.attacked --seconds S`; prints one JSON line.

Requests of all sorts, attacks on the wire and hostile documents with runs of them, many at a time. What counts: faults
(answers that are no typed status, a server that ended or logged a fault), stalls of its event loop, and growth.
"""

import argparse
import asyncio
import contextlib
import json
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, Final

import grpc
from grpc import aio

from holdfast import Client
from holdfast.v1.payload_pb2 import Payload
from holdfast.v1.run_pb2 import RunState
from holdfast.v1.run_service_pb2 import (
    ListRunsRequest,
    QueryRunRequest,
    RunFilter,
    StartRunRequest,
    TerminateRunRequest,
)
from holdfast.v1.workflow_service_pb2 import RegisterWorkflowRequest
from tests.fuzz.calling import SORTS, Caller, Fault, sound_requests
from tests.fuzz.dice import METHODS, Dice
from tests.fuzz.hostile import DOCUMENTS, JSON_TEXTS, QUERIES, RUNNING
from tests.fuzz.wire import ATTACKS, attack
from tests.integration.raw import RawWorker, Stubs, open_channel

__all__: list[str] = []

AT_ONCE: Final = 16
ROUND_S: Final = 5.0
"""The size of the server is taken this often."""
START_S: Final = 60.0
SHOWN: Final = 5


class Attacker:
    """Keeps a server busy with nonsense."""

    def __init__(self, target: str, seed: int, only: Sequence[str]) -> None:
        self._target = target
        self._channel = open_channel(target)
        self._stubs = Stubs(self._channel)
        self._seed = seed
        self._only = only
        self._chance = random.Random(seed)  # noqa: S311 - no secret
        self._caller: Caller
        self._runs: list[str] = []
        self.faults: list[Fault] = []
        self.done: Counter[str] = Counter()

    async def prepare(self) -> None:
        """Makes workflows, runs and a lease to play with."""
        async with Client(self._target) as client:
            await client.register(RUNNING)
            runs = self._runs = [(await client.start("fuzzed", {"n": 1})).run_id for _ in range(5)]
            await client.handle(runs[0]).terminate()
        tasks = await RawWorker(self._stubs, "work").poll()
        token = tasks[0].token
        self._caller = Caller(
            self._channel,
            Dice(self._seed, runs, (token,)),
            sound_requests(runs[1], runs[0], token),
        )

    async def go_on(self, until: float) -> None:
        """Attacks until then, several at a time."""
        await asyncio.gather(*(self._one_after_another(until) for _ in range(AT_ONCE)))

    async def _one_after_another(self, until: float) -> None:
        sorts: dict[str, Callable[[], Coroutine[Any, Any, Fault | None]]] = {
            **{sort: lambda sort=sort: self._request(sort) for sort in SORTS},  # type: ignore[misc]
            "documents": self._document,
            "queries": self._query,
            "wire": self._wire,
        }
        while time.monotonic() < until:
            sort = self._chance.choice(self._only or list(sorts))
            fault = await sorts[sort]()
            self.done[sort] += 1
            if fault is not None:
                self.faults.append(fault)

    async def _request(self, sort: str) -> Fault | None:
        return await self._caller.call(self._chance.choice(METHODS), sort)

    async def _wire(self) -> Fault | None:
        await attack(self._target, self._chance.choice(list(ATTACKS)), self._chance)
        return None

    async def _document(self) -> Fault | None:
        """Registers a hostile document, and if it is valid starts runs of it on hostile data."""
        source = self._chance.choice(DOCUMENTS)
        register = RegisterWorkflowRequest(source=source)
        fault = await self._typed("RegisterWorkflow", self._stubs.workflows.RegisterWorkflow(register), register)
        if fault is None:
            for _ in range(3):
                start = StartRunRequest(workflow="hostile", input=Payload(data=self._data()))
                fault = fault or await self._typed("StartRun", self._stubs.runs.StartRun(start), start)
        return fault

    def _data(self) -> bytes:
        if self._chance.randrange(3):
            return self._chance.choice(JSON_TEXTS)
        many = self._chance.choice((10, 1_000, 100_000))
        return json.dumps(
            {"l": list(range(many)), "t": "ab" * many, "a": {"a": {"a": [["x"] * 3] * (many // 4)}}}
        ).encode()

    async def _query(self) -> Fault | None:
        start = StartRunRequest(workflow="fuzzed", input=Payload(data=self._data()))
        try:
            run_id = (await self._stubs.runs.StartRun(start)).run_id
        except aio.AioRpcError:
            return None
        query = QueryRunRequest(run_id=run_id, expression=self._chance.choice(QUERIES))
        return await self._typed("QueryRun", self._stubs.runs.QueryRun(query), query)

    async def _typed(self, method: str, call: Any, request: Any) -> Fault | None:
        try:
            await call
        except aio.AioRpcError as error:
            typed = any(key == "grpc-status-details-bin" for key, _ in error.trailing_metadata() or ())
            if not typed or error.code() in (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNAVAILABLE):
                return Fault(method, "hostile", request.SerializeToString(), f"{error.code()} {error.details()}")
        return None

    async def tidy(self) -> None:
        """Ends what was started on the way, so that open runs are not taken for growth."""
        filters = RunFilter(states=[RunState.RUN_STATE_RUNNING, RunState.RUN_STATE_PAUSED])
        token = ""
        while True:
            page = await self._stubs.runs.ListRuns(ListRunsRequest(filter=filters, page_size=500, page_token=token))
            ids = [run.run_id for run in page.runs if run.run_id not in self._runs]
            for run_id in ids:
                with contextlib.suppress(aio.AioRpcError):
                    await self._stubs.runs.TerminateRun(TerminateRunRequest(run_id=run_id))
            token = page.next_page_token
            if not token:
                return

    async def close(self) -> None:
        """Ends."""
        await self._channel.close()


def _rss_mib(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0


def _slope(sizes: list[tuple[float, float]]) -> float:
    """MiB per minute by least squares over the second half, when all that is built once is built."""
    half = sizes[len(sizes) // 2 :]
    if len(half) < 3:
        return 0.0
    mean_t = sum(at for at, _ in half) / len(half)
    mean_m = sum(mib for _, mib in half) / len(half)
    spread = sum((at - mean_t) ** 2 for at, _ in half)
    return 60 * sum((at - mean_t) * (mib - mean_m) for at, mib in half) / spread


async def _fuzz(seconds: float, seed: int, only: Sequence[str], folder: Path) -> dict[str, object]:
    ready, report, log = folder / "ready", folder / "report", folder / "log"
    report.touch()
    with log.open("wb") as output:
        server = subprocess.Popen(  # noqa: ASYNC220 - this very program
            [sys.executable, "-m", "tests.fuzz.probed_server", str(folder / "holdfast.db"), str(ready), str(report)],
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        for _ in range(round(START_S / 0.05)):
            if ready.exists() and ready.read_text(encoding="ascii").endswith("\n"):
                break
            await asyncio.sleep(0.05)
        attacker = Attacker(ready.read_text(encoding="ascii").strip(), seed, only)
        await attacker.prepare()
        begun = time.monotonic()
        sizes: list[tuple[float, float]] = []
        while time.monotonic() < begun + seconds and server.poll() is None:
            await attacker.go_on(min(time.monotonic() + ROUND_S, begun + seconds))
            await attacker.tidy()
            sizes.append((time.monotonic() - begun, _rss_mib(server.pid)))
            calls = sum(attacker.done.values())
            print(
                f"  attacked: {sizes[-1][0]:.0f} s, {calls:,} calls, "
                f"{len(attacker.faults)} faults, {sizes[-1][1]:.0f} MiB",
                file=sys.stderr,
            )
        alive = server.poll() is None
        await attacker.close()
    finally:
        server.terminate()
        code = server.wait(60)
    logged = log.read_text(encoding="utf-8", errors="replace")
    stalls = [json.loads(line) for line in report.read_text(encoding="utf-8").splitlines()]
    worst = sorted(stalls, key=lambda one: -float(one["busy_s"]))[:SHOWN]
    return {
        "entry": "attacked",
        "calls": dict(attacker.done),
        "answers": dict(attacker._caller.answers),
        "faults": len(attacker.faults) + logged.count("Traceback") + (not alive) + (code != 0),
        "shown_faults": [
            f"{one.method} {one.sort}: {one.told} {one.request[:200].hex()}" for one in attacker.faults[:SHOWN]
        ],
        "logged": logged[logged.find("Traceback") :][:3_000] if "Traceback" in logged else "",
        "stalls": len(stalls),
        "worst_stall_s": worst[0]["busy_s"] if worst else 0.0,
        "where": [f"{one['busy_s']} s at {' < '.join(reversed(one['where'][-4:]))}" for one in worst],
        "rss_mib": [round(mib) for _, mib in sizes],
        "slope_mib_per_min": round(_slope(sizes), 1),
    }


def main() -> None:
    """Fuzzes."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--only", nargs="*", default=(), help="sorts of attacks")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="holdfast-fuzz-") as folder:
        found = asyncio.run(_fuzz(given.seconds, given.seed, given.only, Path(folder)))
    print(json.dumps(found), flush=True)
    sys.exit(1 if found["faults"] else 0)


if __name__ == "__main__":
    main()
