"""The workflows of the workloads: their steps do nothing, so that all cost is Holdfast's own."""

from math import ceil
from pathlib import Path

from holdfast.builder import Workflow

CHAIN = Path(__file__).parents[1] / "chain.yaml"
CHAIN_NAME = "bench-chain"
CHAIN_STEPS = 5
HANDLER = "echo"
EDGES_MAX = 256
"""Edges into one step that a definition may have."""


def long_chain(steps: int) -> Workflow:
    """Return tasks one after the other, each handing on what it got."""
    workflow = Workflow(f"bench-chain-{steps}")
    step = workflow.task("step_000", HANDLER, input=workflow.input)
    for number in range(1, steps):
        step = workflow.task(f"step_{number:03}", HANDLER, input=step.output, after=step)
    workflow.output(step.output)
    return workflow


def fan_out(parts: int) -> Workflow:
    """Return parallel tasks and a last one that comes after all of them.

    As a step has at most 256 edges, groups of the tasks are joined by `compute` steps first, and these by the last.
    """
    workflow = Workflow(f"bench-fan-out-{parts}")
    steps = [workflow.task(f"part_{number:03}", HANDLER, input=workflow.input) for number in range(parts)]
    size = ceil(parts / ceil(parts / EDGES_MAX))
    joins = [
        workflow.compute(f"join_{first:03}", None, after=steps[first : first + size], join="ALL")
        for first in range(0, parts, size)
    ]
    last = workflow.task("last", HANDLER, input=workflow.input, after=joins, join="ALL")
    workflow.output(last.output)
    return workflow


def waiting() -> Workflow:
    """Return a workflow that waits for the signal `go` and ends with what it carries."""
    workflow = Workflow("bench-wait")
    workflow.output(workflow.wait("go", "go").output)
    return workflow


def gated() -> Workflow:
    """Return a workflow that asks people about its input and ends with their resolution."""
    workflow = Workflow("bench-gate")
    gate = workflow.gate("approval", title="Go on?", input=workflow.input)
    workflow.output(gate.resolution)
    return workflow
