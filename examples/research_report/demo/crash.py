"""Kills server and worker while steps are running, starts them again, and finds out afterwards what was lost."""

import asyncio
from collections.abc import Sequence

from examples.research_report.demo.screen import Screen
from examples.research_report.demo.stage import Stage
from examples.research_report.demo.view import RunView
from holdfast.v1.history_pb2 import HistoryEvent

RUNNING_MIN = 2


class Crash:
    """One crash in the middle of a run."""

    def __init__(self, stage: Stage, screen: Screen) -> None:
        self._stage = stage
        self._screen = screen
        self._in_flight: list[str] = []
        self._known_seq = 0

    @property
    def done(self) -> bool:
        """Tell whether it has happened."""
        return bool(self._in_flight)

    async def maybe(self, view: RunView) -> None:
        """Let it happen once, as soon as at least two steps are running and none waits for the worker."""
        queued = [step for step in view.steps.values() if step.state == "QUEUED"]
        if self.done or queued or len(view.running) < RUNNING_MIN:
            return
        self._in_flight, self._known_seq = view.running, view.last_seq
        with self._screen.held():
            server, worker = self._stage.kill()
            self._screen.say("")
            self._screen.say(f"kill -9 of the server (process {server}) and the worker (process {worker})", "bold red")
            self._screen.say(f"while these steps were running: {', '.join(self._in_flight)}", "bold red")
            server, worker = await asyncio.to_thread(self._stage.start_again)
            self._screen.say(f"Both start again on the same database, as processes {server} and {worker}.", "bold")
            self._screen.say("")

    def verdict(self, view: RunView, history: Sequence[HistoryEvent]) -> tuple[bool, list[str]]:
        """Return whether every promise was kept, and what there is to say about it.

        Args:
            view: The run as it was watched, once it is closed.
            history: Its history as the server has it now.
        """
        before = [event for event in view.events if event.seq <= self._known_seq]
        unchanged = before == list(history[: len(before)])
        kept = [event.step_succeeded.path for event in before if event.WhichOneof("body") == "step_succeeded"]
        twice = [step.name for step in view.steps.values() if step.successes > 1]
        again = [step.name for step in view.steps.values() if step.starts > 1]
        unexpected = [name for name in again if name in kept]
        lines = [f"The crash: {len(before)} events were known before it; all are in the history, unchanged."]
        if not unchanged:
            lines = [f"BROKEN PROMISE: the {len(before)} events known before the crash are not those of the history."]
        lines.append(f"Succeeded before and not run again: {', '.join(kept) or 'nothing yet'}.")
        if again:
            lines.append(f"Lost were only the attempts in flight; handed out again: {', '.join(again)}.")
        else:
            lines.append("Lost was nothing: the steps in flight were finished by their first attempts.")
        if twice:
            lines.append(f"BROKEN PROMISE: succeeded more than once: {', '.join(twice)}.")
        if unexpected:
            lines.append(f"BROKEN PROMISE: run again although it had succeeded: {', '.join(unexpected)}.")
        return unchanged and not twice and not unexpected, lines
