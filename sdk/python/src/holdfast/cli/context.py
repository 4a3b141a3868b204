"""What a command works with: a client, two consoles, the time, and how results are printed."""

import os
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from holdfast.cli.environment import Environment
from holdfast.cli.hints import hint
from holdfast.cli.settings import Output, Settings
from holdfast.scrub import scrub

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from holdfast.cli.render.times import Moments
    from holdfast.client import Client

__all__ = ["Cli"]

T = TypeVar("T")
# A server that is there answers this at once; one that is not should not cost half a minute.
FIRST_ANSWER_S = 5.0
# What the transport says when trying again would only repeat it.
NOBODY = ("Connection refused", "DNS resolution failed")
# Wide enough that nothing is cut where no terminal limits it.
UNBOUNDED_COLUMNS = 2_000


@dataclass
class Cli:
    """One call of one command.

    Attributes:
        environment: The machine.
        settings: The options every command takes.
        facts: What the command is about, by name, for hints: `run`, `step`, `workflow`, `key`.
        command: What was typed up to the arguments, for example `holdfast run list`.
        lost: One sentence while the server that answered before does not; else empty.
        tells_loss: False keeps that sentence from being printed, where it is shown in another way.
    """

    environment: Environment
    settings: Settings
    facts: Mapping[str, str] = field(default_factory=dict)
    command: str = "holdfast"
    lost: str = ""
    tells_loss: bool = True

    @property
    def json(self) -> bool:
        """Whether results are printed as JSON."""
        return self.settings.output is Output.JSON

    @cached_property
    def out(self) -> "Console":
        """Where results go."""
        return self._console(stderr=False)

    @cached_property
    def err(self) -> "Console":
        """Where messages about the command go."""
        return self._console(stderr=True)

    def _console(self, *, stderr: bool) -> "Console":
        from rich.console import Console

        console = Console(
            stderr=stderr,
            markup=False,
            highlight=False,
            emoji=False,
            soft_wrap=False,
            no_color=self.settings.no_color or None,
        )
        if not console.is_terminal and not self.environment.variables.get("COLUMNS"):
            console.width = UNBOUNDED_COLUMNS
        return console

    @cached_property
    def moments(self) -> "Moments":
        """Times as people read them, from the present one on."""
        from holdfast.cli.render.times import Moments

        return Moments(self.environment.clock(), self.environment.zone)

    def now(self) -> datetime:
        """Return the present time."""
        return self.environment.clock()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine to its end, for commands that ask somebody something between two calls."""
        result: T = self.environment.run(work)
        return result

    @asynccontextmanager
    async def client(self, *, first_answer_s: float = FIRST_ANSWER_S) -> AsyncIterator["Client"]:
        """Yield a client of a server that answers.

        Raises:
            UnavailableError: None does; this is found out at once and not sat out.
        """
        os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # the library writes its own lines beside ours
        import logging

        from holdfast.client import Client

        logging.getLogger("holdfast").addHandler(logging.NullHandler())
        reached = False

        def note(connected: bool, _why: str) -> None:
            if reached:
                self._note_connection(connected)

        settings = self.settings
        async with Client(
            settings.target, namespace=settings.namespace, actor=settings.actor, on_connection=note
        ) as client:
            await _reach(client, first_answer_s)
            reached = True
            yield client

    def _note_connection(self, connected: bool) -> None:
        target = self.settings.target
        self.lost = "" if connected else f"no server answers at {target}; trying again"
        if self.tells_loss:
            self.tell(self.lost or f"the server at {target} answers again", style="yellow")

    def result(self, value: Callable[[], object], shown: Callable[[], "RenderableType | None"]) -> None:
        """Print a result: as JSON what the first function returns, for people what the second does."""
        if self.json:
            self.document(value())
            return
        renderable = shown()
        if renderable is not None:
            self.out.print(renderable)

    def document(self, value: object, *, line: bool = False) -> None:
        """Print a value as JSON: a document of its own, or one line."""
        from holdfast.cli.render.json import dumps

        # Not by the console: JSON has no width.
        print(dumps(value, indent=None if line else 2), flush=line)  # noqa: T201

    def tell(self, text: str, *, style: str = "") -> None:
        """Print a line about the command for people, on stderr."""
        from rich.text import Text

        self.err.print(Text(scrub(text), style=style), soft_wrap=True)

    def next(self, *lines: str) -> None:
        """Print what may be typed next, if there is somebody to type it."""
        if self.environment.is_person() and not self.json:
            self._tell_next(*lines)

    def _tell_next(self, *lines: str) -> None:
        for line in lines:
            self.tell(f"  next: {line}", style="dim")

    def empty(self, why: str, next_command: str) -> None:
        """Say why a list is empty and what to type next; programs get their empty list."""
        if not self.json:
            self.tell(f"{why} in namespace {self.settings.namespace} at {self.settings.target}")
            self._tell_next(next_command)

    def fail(self, message: str, *details: str, hint: str = "") -> None:
        """Print why the command failed: one line, where exactly, and what to type next."""
        from rich.text import Text

        # Words are wrapped for a person only; a program reads one line. A hint is never wrapped, so that it copies.
        one_line = not self.err.is_terminal
        self.err.print(Text.assemble(("error: ", "bold red"), scrub(message)), soft_wrap=one_line)
        for detail in details:
            self.err.print(Text(f"  {scrub(detail)}"), soft_wrap=one_line)
        if hint:
            self._tell_next(hint)

    def hint(self, reason: str, told: Mapping[str, str] | None = None) -> str:
        """Return what to type next after an error, with what the command line and the error tell filled in."""
        told = told or {}
        facts = {
            "target": self.settings.target,
            "command": self.command,
            "run": told.get("run_id", ""),
            "step": told.get("step_path", ""),
            "workflow": told.get("workflow", ""),
            "key": told.get("key", ""),
        }
        return hint(reason, {**facts, **{name: value for name, value in self.facts.items() if value}})


async def _reach(client: "Client", first_answer_s: float) -> None:
    """Ask the server for its name. Any answer will do, a refusal too.

    A target where nobody listens is told at once; a connection that is only slow gets its time.
    """
    import asyncio

    from grpc import StatusCode, aio

    from holdfast.client.status import error_of_rpc
    from holdfast.v1.operations_service_pb2 import GetServerInfoRequest

    connection, now = client.connection, asyncio.get_running_loop().time
    backoff, due_s = connection.backoff(), now() + first_answer_s
    while True:
        try:
            left_s = max(due_s - now(), 0.001)
            await connection.call_once(connection.operations.GetServerInfo, GetServerInfoRequest(), left_s)
        except aio.AioRpcError as fault:
            if fault.code() not in (StatusCode.UNAVAILABLE, StatusCode.DEADLINE_EXCEEDED):
                return
            wait_s = backoff.next_s()
            nobody = any(word in (fault.details() or "") for word in NOBODY)
            if nobody or fault.code() is StatusCode.DEADLINE_EXCEEDED or now() + wait_s >= due_s:
                raise error_of_rpc(fault, connection.target) from fault
            await asyncio.sleep(wait_s)
        else:
            return
