"""Decides at the gates: asks the person at the terminal, or follows what the settings say."""

import asyncio
import sys

from examples.research_report.demo.screen import Screen
from examples.research_report.demo.settings import COMMENT, Settings
from holdfast import Client
from holdfast.v1.gate_pb2 import Gate


class NobodyAnswersError(Exception):
    """The terminal was closed while a question was open."""


class Decider:
    """Takes the decisions of one run, one gate after the other."""

    def __init__(self, client: Client, settings: Settings, screen: Screen) -> None:
        self._client = client
        self._settings = settings
        self._screen = screen
        self._given = 0

    async def decide(self, run_id: str, step_path: str) -> None:
        """Show what waits at a gate and give the answer.

        Raises:
            NobodyAnswersError: The terminal was closed.
        """
        gate = await self._client.gates.get(run_id, step_path)
        with self._screen.held():
            self._screen.draft(gate.content.title, gate.content.body.data.decode())
            if self._settings.decisions is None:
                approved, comment = await self._ask()
            else:
                approved, comment = self._next_given(self._settings.decisions)
            await self._answer(gate, comment, approved=approved)

    async def _answer(self, gate: Gate, comment: str, *, approved: bool) -> None:
        if approved:
            await self._client.gates.approve(gate, comment=comment)
        else:
            await self._client.gates.reject(gate, comment=comment)
        who = "You" if self._settings.decisions is None else "The demo"
        said = f"{who} approved it." if approved else f"{who} rejected it: {comment or '(no comment)'}"
        self._screen.say(said, "bold")

    def _next_given(self, decisions: tuple[str, ...]) -> tuple[bool, str]:
        approved = decisions[self._given] == "approve"
        self._given += 1
        what = "approves" if approved else "rejects"
        self._screen.say(f"Nobody is asked ({self._settings.decided_because}): the demo {what} by itself.", "bold")
        return approved, "" if approved else COMMENT

    async def _ask(self) -> tuple[bool, str]:
        while True:
            answer = (await self._line("Publish this report? [a]pprove or [r]eject: ")).strip().lower()
            if answer in {"a", "approve", "y", "yes"}:
                return True, ""
            if answer in {"r", "reject", "n", "no"}:
                return False, (await self._line("What should change? (one line, may be empty): ")).strip()
            self._screen.say(f"{answer!r} is neither; type a or r.")

    async def _line(self, question: str) -> str:
        """Ask on the terminal without holding up the loop, so that Ctrl-C and the connection stay alive."""
        self._screen.console.print(question, end="", markup=False)
        loop = asyncio.get_running_loop()
        ready = asyncio.Event()
        loop.add_reader(sys.stdin.fileno(), ready.set)
        try:
            await ready.wait()
        finally:
            loop.remove_reader(sys.stdin.fileno())
        line = sys.stdin.readline()
        if not line:
            raise NobodyAnswersError("the terminal was closed before you decided")
        return line
