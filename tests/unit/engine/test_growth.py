"""A command costs the same in a large run as in a small one: it looks only at the steps it concerns."""

from collections.abc import Callable, Iterator
from typing import Any, SupportsIndex

import pytest

from holdfast.builder import Workflow
from holdfast.v1.history_pb2 import HistoryBatch
from holdfast_server.engine import commands as c, decide as engine
from holdfast_server.engine.effects import TaskReady
from holdfast_server.engine.payloads import PayloadBag
from holdfast_server.engine.settings import EngineSettings
from holdfast_server.engine.state import StepRecord
from tests.unit.engine.driver import START_US, payload, plan_of

SETTINGS = EngineSettings()


class Watched(list[StepRecord | None]):
    """The records of a block, counting how many of them are looked at."""

    looks = 0

    def __getitem__(self, index: Any) -> Any:
        self.looks += 1
        return super().__getitem__(index)

    def __setitem__(self, index: Any, value: Any) -> None:
        self.looks += 1
        super().__setitem__(index, value)

    def __iter__(self) -> Iterator[StepRecord | None]:
        self.looks += len(self)
        return super().__iter__()

    def index(self, value: Any, start: SupportsIndex = 0, stop: SupportsIndex = 2**31) -> int:
        raise AssertionError("a search looks at any number of them")


def chain(steps: int) -> Workflow:
    workflow = Workflow("chain")
    step = workflow.task("s0", "h", input=workflow.input)
    for number in range(1, steps):
        step = workflow.task(f"s{number}", "h", input=step.output, after=step)
    return workflow


def chain_with_cleanup(steps: int) -> Workflow:
    """The cleanup is for a failure of the first step, and waits to the end once that has succeeded."""
    workflow = chain(steps)
    workflow.task("undo", "h", after=workflow.steps[0].on_failed(), cleanup=True)
    return workflow


def fan_out(steps: int) -> Workflow:
    workflow = Workflow("fan-out")
    first = workflow.task("first", "h")
    for number in range(steps):
        workflow.task(f"s{number}", "h", input=number, after=first)
    return workflow


def fan_out_with_cleanup(steps: int) -> Workflow:
    workflow = fan_out(steps)
    workflow.task("undo", "h", after=workflow.steps[0].on_failed(), cleanup=True)
    return workflow


@pytest.mark.parametrize("shape", [chain, chain_with_cleanup, fan_out, fan_out_with_cleanup])
def test_a_result_looks_at_as_many_steps_in_a_large_run_as_in_a_small_one(shape: Callable[[int], Workflow]) -> None:
    small, large = most_looks(shape(20)), most_looks(shape(200))

    assert small == large


def most_looks(workflow: Workflow) -> int:
    """How many records the result of a step looks at, at most; the first and the last one concern more."""
    run, decision = engine.start_run(
        plan_of(workflow.json()),
        c.Start("default", "r", "", payload(1)),
        START_US,
        lambda: 0.5,
        PayloadBag(),
        SETTINGS,
    )
    run.root.steps = watched = Watched(run.root.steps)
    looks = []
    ready = [effect for effect in decision.effects if isinstance(effect, TaskReady)]
    while ready:
        task, ready = ready[0], ready[1:]
        watched.looks = 0
        for command in (c.StartTask(task.path, 1, "w", 1), c.CompleteTask(task.path, 1, payload(1))):
            engine.needs(run)
            decision = engine.decide(run, command, START_US, lambda: 0.5, PayloadBag(), SETTINGS, HistoryBatch())
            ready += [effect for effect in decision.effects if isinstance(effect, TaskReady)]
        looks.append(watched.looks)
    assert not run.open
    return max(looks[1:-1])
