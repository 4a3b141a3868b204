"""A server in memory, a clock that stands still, and the means to wait for what a screen shows."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from textual.message import Message
from textual.pilot import Pilot
from textual.widget import Widget

from holdfast.errors import GateNotFoundError, RunNotFoundError
from holdfast.v1.definition_pb2 import Decision
from holdfast.v1.gate_pb2 import Gate, Resolution
from holdfast.v1.gate_service_pb2 import WatchGatesResponse
from holdfast.v1.operations_service_pb2 import GetServerInfoResponse, HealthState
from holdfast.v1.run_pb2 import Run, RunSummary
from holdfast.v1.run_service_pb2 import WatchRunsResponse
from holdfast_tui.app import HoldfastApp
from holdfast_tui.client.port import OnConnection
from holdfast_tui.screens.overview import OverviewScreen
from holdfast_tui.widgets.details import Details
from tests.tui.making import NOW_S, resolved


class FakeClock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.passed_s = 0.0

    def now_s(self) -> float:
        return NOW_S + self.passed_s

    def monotonic_s(self) -> float:
        return 100.0 + self.passed_s


@dataclass
class Decided:
    """One decision as it arrived."""

    gate: Gate
    decision: int
    comment: str
    request_id: str


@dataclass
class FakeClient:
    """What the screens talk to. Nothing is sent by itself: tests say what the streams tell, and when."""

    target: str = "fake:7411"
    namespace: str = "default"
    actor: str = "ada"
    runs: dict[str, Run] = field(default_factory=dict)
    gates: dict[tuple[str, str], Gate] = field(default_factory=dict)
    decided: list[Decided] = field(default_factory=list)
    on_decide: Callable[[Decided], Gate] | None = None
    may_answer: asyncio.Event = field(default_factory=asyncio.Event)
    info: GetServerInfoResponse | Exception = field(
        default_factory=lambda: GetServerInfoResponse(health=HealthState.HEALTH_STATE_OK)
    )
    cursors: dict[str, list[str]] = field(default_factory=lambda: {"runs": [], "gates": []})
    is_closed: bool = False

    def __post_init__(self) -> None:
        self.run_stream: asyncio.Queue[WatchRunsResponse | Exception] = asyncio.Queue()
        self.gate_stream: asyncio.Queue[WatchGatesResponse | Exception] = asyncio.Queue()
        self.hook: OnConnection | None = None
        self.may_answer.set()

    # What a test says

    def tell_runs(self, *runs: RunSummary, reset: bool = False, live: bool = True, cursor: str = "e.1") -> None:
        self.run_stream.put_nowait(WatchRunsResponse(reset=reset, runs=runs, live=live, cursor=cursor))

    def tell_gates(self, *gates: Gate, reset: bool = False, live: bool = True, cursor: str = "e.1") -> None:
        self.gate_stream.put_nowait(WatchGatesResponse(reset=reset, gates=gates, live=live, cursor=cursor))

    def tell_all(self, gates: tuple[Gate, ...] = (), runs: tuple[RunSummary, ...] = ()) -> None:
        """Say a snapshot of both."""
        self.tell_gates(*gates, reset=True)
        self.tell_runs(*runs, reset=True)

    def lose(self, why: str = "Connection refused") -> None:
        assert self.hook is not None
        self.hook(False, why)

    def find(self) -> None:
        assert self.hook is not None
        self.hook(True, "")

    # What the screens ask

    def listen(self, hook: OnConnection) -> None:
        self.hook = hook

    async def watch_runs(self, cursor: str) -> AsyncGenerator[WatchRunsResponse, None]:
        self.cursors["runs"].append(cursor)
        while True:
            response = await self.run_stream.get()
            if isinstance(response, Exception):
                raise response
            yield response

    async def watch_gates(self, cursor: str) -> AsyncGenerator[WatchGatesResponse, None]:
        self.cursors["gates"].append(cursor)
        while True:
            response = await self.gate_stream.get()
            if isinstance(response, Exception):
                raise response
            yield response

    async def run(self, run_id: str) -> Run:
        await self.may_answer.wait()
        if run_id not in self.runs:
            raise RunNotFoundError(f"there is no run {run_id!r}", reason="RUN_NOT_FOUND", code="NOT_FOUND")
        return self.runs[run_id]

    async def gate(self, run_id: str, step_path: str) -> Gate:
        await self.may_answer.wait()
        if (run_id, step_path) not in self.gates:
            raise GateNotFoundError(f"no gate at {step_path!r}", reason="GATE_NOT_FOUND", code="NOT_FOUND")
        return self.gates[run_id, step_path]

    async def decide(self, gate: Gate, decision: Decision.ValueType, comment: str, request_id: str) -> Gate:
        made = Decided(gate, decision, comment, request_id)
        self.decided.append(made)
        await self.may_answer.wait()
        return resolve(made) if self.on_decide is None else self.on_decide(made)

    async def server_info(self) -> GetServerInfoResponse:
        await self.may_answer.wait()
        if isinstance(self.info, Exception):
            raise self.info
        return self.info

    async def close(self) -> None:
        self.is_closed = True


def resolve(made: Decided) -> Gate:
    """Answer as a server does to the only decision a gate needs."""
    rejects = made.decision == Decision.DECISION_REJECT
    resolution = Resolution.RESOLUTION_REJECTED if rejects else Resolution.RESOLUTION_APPROVED
    return resolved(made.gate, "ada", resolution, made.comment)


@dataclass
class Seat:
    """Somebody in front of the screens."""

    app: HoldfastApp
    pilot: Pilot[None]
    client: Any
    clock: FakeClock
    _stirred: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def overview(self) -> OverviewScreen:
        screen = self.app.screen_stack[0]
        assert isinstance(screen, OverviewScreen)
        return screen

    def text(self) -> str:
        """What is seen of the screen on top, without colours."""
        return "\n".join(strip.text.rstrip() for strip in self.app.screen._compositor.render_strips())

    def line(self, start: str) -> str:
        """The first line that has the words."""
        return next((row for row in self.text().splitlines() if start in row), "")

    def details(self) -> str:
        """Everything the pane of details says, also what is scrolled away."""
        pane = self.overview.query_one(Details)
        parts = pane.walk_children(Widget)
        return "\n".join(part.render_line(y).text.rstrip() for part in parts for y in range(part.size.height))

    def notes(self) -> list[str]:
        return [note.message for note in self.app._notifications]

    async def press(self, *keys: str) -> None:
        await self.pilot.press(*keys)

    async def type(self, text: str) -> None:
        names = {" ": "space", "-": "minus", ".": "full_stop", "/": "slash", "\n": "enter"}
        await self.pilot.press(*(names.get(character, character) for character in text))

    async def until(self, condition: Callable[[], object], timeout_s: float = 20.0) -> None:
        """Wait until a condition holds; it is looked at whenever a message went anywhere in the app."""
        try:
            async with asyncio.timeout(timeout_s):
                while not condition():
                    self._stirred.clear()
                    await self._stirred.wait()
        except TimeoutError:
            raise AssertionError(f"it did not come to that; the screen shows:\n{self.text()}") from None

    async def sees(self, *words: str) -> None:
        """Wait until all of the words are on the screen."""
        await self.until(lambda: all(word in self.text() for word in words))

    async def sees_no(self, *words: str) -> None:
        """Wait until none of the words is on the screen."""
        await self.until(lambda: not any(word in self.text() for word in words))

    async def reads(self, *words: str) -> None:
        """Wait until all of the words are in the details, wherever their lines are wrapped."""
        wanted = [" ".join(word.split()) for word in words]
        await self.until(lambda: all(word in " ".join(self.details().split()) for word in wanted))

    def pass_time(self, seconds: float) -> None:
        self.clock.passed_s += seconds

    def stir(self, _message: Message) -> None:
        self._stirred.set()


@asynccontextmanager
async def seated(
    client: Any, *, size: tuple[int, int] = (100, 40), is_read_only: bool = False, clock: Any = None
) -> AsyncIterator[Seat]:
    """Open the screens on a client."""
    clock = clock or FakeClock()
    app = HoldfastApp(client, is_read_only=is_read_only, clock=clock)
    seat = Seat(app, Pilot(app), client, clock)
    async with app.run_test(size=size, notifications=True, message_hook=seat.stir) as pilot:
        seat.pilot = pilot
        yield seat


@asynccontextmanager
async def watching(
    *gates: Gate, runs: tuple[RunSummary, ...] = (), size: tuple[int, int] = (100, 40), is_read_only: bool = False
) -> AsyncIterator[Seat]:
    """Open the screens on a server in memory that told of some gates and runs, and wait until they are live."""
    client = FakeClient()
    client.gates = {(gate.run_id, gate.step_path): gate for gate in gates}
    client.runs = {summary.run_id: Run(summary=summary) for summary in runs}
    client.tell_all(gates, runs)
    async with seated(client, size=size, is_read_only=is_read_only) as seat:
        await seat.sees("● LIVE")
        yield seat
