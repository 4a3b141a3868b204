"""Plays the demonstration: starts server and worker, runs the report, and shows what happens.

Exit code 0 only if the run SUCCEEDED and, after a crash, every promise was kept.
"""

import asyncio
import signal
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from examples.research_report.demo.closing import close
from examples.research_report.demo.crash import Crash
from examples.research_report.demo.decisions import Decider, NobodyAnswersError
from examples.research_report.demo.screen import Screen
from examples.research_report.demo.settings import Settings, settings_from
from examples.research_report.demo.stage import Stage
from examples.research_report.demo.view import RunView, detail_of, new_view
from examples.research_report.model import model_from
from holdfast import Client, HoldfastError, RunHandle
from holdfast.testing import ProcessError

WORKFLOW = "research-report"
DEFINITION = Path(__file__).parents[1] / "workflow.yaml"


class Demo:
    """One performance."""

    def __init__(self, settings: Settings, screen: Screen) -> None:
        self._settings = settings
        self._screen = screen

    async def play(self) -> int:
        """Do all of it; returns the exit code."""
        screen = self._screen
        screen.say("Starting a server and a worker, each a process of its own …")
        async with Stage(self._settings.step_s) as stage, Client(stage.server.target) as client:
            screen.say(f"Server: process {stage.server.pid} on {stage.server.target}. Worker: {stage.worker.pid}.")
            try:
                return await self._run(stage, client)
            except ProcessError:
                raise
            except HoldfastError as fault:
                screen.say(f"{type(fault).__name__}: {fault}", "bold red")
                screen.say(stage.logs())
                return 1

    async def _run(self, stage: Stage, client: Client) -> int:
        settings, screen = self._settings, self._screen
        registered = await client.register(DEFINITION)
        document = {
            "question": settings.question,
            "folder": str(settings.folder),
            "include": list(settings.include),
            "out": str(settings.out),
        }
        handle = await client.start(WORKFLOW, document)
        model = model_from()
        screen.say(f"Workflow {WORKFLOW}, version {registered.workflow.version}; run {handle.run_id}.")
        screen.say(f"Question: {settings.question}")
        screen.say(f"Documents: {', '.join(settings.include)} in {settings.folder}")
        screen.say(f"Writer: {f'model {model.name}' if model else 'extractive (OPENAI_BASE_URL is not set)'}\n")
        view = new_view(handle.run_id, await self._steps(client))
        crash = Crash(stage, screen) if settings.kill else None
        await _first_of(stage.supervise(), self._watch(handle, view, Decider(client, settings, screen), crash))
        outcome = await handle.outcome()
        output = client.converter.decode(outcome.output) if view.state == "SUCCEEDED" else None
        close(screen, view, output)
        kept = True
        if crash is not None:
            kept, lines = crash.verdict(view, [event async for event in handle.history()])
            for line in lines:
                screen.say(line, "bold")
        if view.state != "SUCCEEDED":
            screen.say(stage.logs())
        return 0 if view.state == "SUCCEEDED" and kept else 1

    @staticmethod
    async def _steps(client: Client) -> list[tuple[str, str]]:
        definition = (await client.workflows.get(WORKFLOW)).definition
        return [(step.name, step.summary) for step in definition.block.steps]

    async def _watch(self, handle: RunHandle, view: RunView, decider: Decider, crash: Crash | None) -> None:
        with self._screen.live(view):
            async for event in handle.watch():
                step = view.apply(event)
                if step is not None:
                    self._screen.changed(step, view.after_s(event), detail_of(event))
                if event.WhichOneof("body") == "gate_opened":
                    await decider.decide(handle.run_id, event.gate_opened.path)
                if crash is not None:
                    await crash.maybe(view)


async def _first_of(*works: Coroutine[Any, Any, None]) -> None:
    """Do all of it at the same time until one has ended, and raise what that one raised."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()


async def _perform(settings: Settings, screen: Screen) -> int:
    """Play, and end in order on SIGTERM and when the terminal is closed, as on Ctrl-C: what was started is ended."""
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 - for the type checker
    for number in (signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    return await Demo(settings, screen).play()


def main() -> int:
    """Return the exit code."""
    settings = settings_from()
    screen = Screen()
    try:
        return asyncio.run(_perform(settings, screen))
    except (KeyboardInterrupt, asyncio.CancelledError):
        screen.say("\nInterrupted; server and worker are ended.", "bold")
        return 130
    except NobodyAnswersError as fault:
        screen.say(f"\n{fault}; server and worker are ended.", "bold")
        return 1
    except ProcessError as fault:
        screen.say(str(fault), "bold red")
        return 1


if __name__ == "__main__":
    sys.exit(main())
