"""Names the shell completes by asking the server: quickly, and never with an error."""

from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING

import typer

from holdfast.cli.environment import Environment
from holdfast.cli.settings import Settings, note_globals

if TYPE_CHECKING:
    from holdfast.client import Client

__all__ = [
    "complete_decision",
    "complete_gate_run",
    "complete_on_conflict",
    "complete_open_step",
    "complete_run",
    "complete_run_state",
    "complete_step",
    "complete_waiting",
    "complete_workflow",
]

# Somebody waits with a finger on the key.
TIMEOUT_S = 1.0
ENTRIES_MAX = 50
Names = Iterable[tuple[str, str]]
_FINISHED = frozenset({"SUCCEEDED", "FAILED", "SKIPPED", "CANCELED"})


def complete_workflow(ctx: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Return the names of workflows."""

    async def ask(client: "Client") -> Names:
        page = [workflow async for workflow in client.workflows.list()]
        return [(workflow.name, workflow.description) for workflow in page]

    return _asked(ctx, incomplete, ask)


def complete_run(ctx: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Return the ids of the latest runs."""

    async def ask(client: "Client") -> Names:
        from holdfast.v1.run_pb2 import RunState

        page = await client.runs.page(page_size=ENTRIES_MAX)
        states = RunState.Name
        return [(run.run_id, f"{run.workflow} {states(run.state).removeprefix('RUN_STATE_')}") for run in page.runs]

    return _asked(ctx, incomplete, ask)


def complete_gate_run(ctx: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Return the ids of runs with an open gate."""

    async def ask(client: "Client") -> Names:
        page = await client.gates.page(page_size=ENTRIES_MAX)
        return [(gate.run_id, gate.content.title) for gate in page.gates]

    return _asked(ctx, incomplete, ask)


def complete_step(ctx: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Return the steps of a run's gates."""
    run_id = ctx.params.get("run")

    async def ask(client: "Client") -> Names:
        page = await client.gates.page(run_id=str(run_id), page_size=ENTRIES_MAX)
        return [(gate.step_path, gate.content.title) for gate in page.gates]

    return _asked(ctx, incomplete, ask) if run_id else []


def complete_open_step(ctx: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Return the steps of a run that are not finished."""
    run_id = ctx.params.get("run")

    async def ask(client: "Client") -> Names:
        from holdfast.v1.run_pb2 import StepState
        from holdfast.v1.run_service_pb2 import PayloadView

        run = await client.handle(str(run_id)).get(payload_view=PayloadView.PAYLOAD_VIEW_REFS)
        states = {one.path: StepState.Name(one.state).removeprefix("STEP_STATE_") for one in run.activations}
        return [(path, state) for path, state in states.items() if state not in _FINISHED]

    return _asked(ctx, incomplete, ask) if run_id else []


def complete_run_state(incomplete: str) -> list[str]:
    """Return the states of runs."""
    from holdfast.v1.run_pb2 import RunState

    return _names(RunState.keys(), "RUN_STATE_", incomplete)


def complete_waiting(incomplete: str) -> list[str]:
    """Return what a run can wait for."""
    from holdfast.v1.run_pb2 import WaitingReason

    return _names(WaitingReason.keys(), "WAITING_REASON_", incomplete)


def complete_on_conflict(incomplete: str) -> list[str]:
    """Return what can be done about a key in use."""
    from holdfast.v1.run_service_pb2 import OnConflict

    return _names(OnConflict.keys(), "ON_CONFLICT_", incomplete)


def complete_decision(incomplete: str) -> list[str]:
    """Return the decisions."""
    from holdfast.v1.definition_pb2 import Decision

    return _names(Decision.keys(), "DECISION_", incomplete)


def _names(keys: Iterable[str], prefix: str, incomplete: str) -> list[str]:
    """Return the names of an enum that fit, in the case somebody began to type."""
    names = [key.removeprefix(prefix) for key in keys][1:]
    return [name for name in (map(str.lower, names) if incomplete.islower() else names) if name.startswith(incomplete)]


def _asked(ctx: typer.Context, incomplete: str, ask: Callable[["Client"], Awaitable[Names]]) -> list[tuple[str, str]]:
    import asyncio

    from holdfast.cli.context import Cli
    from holdfast.errors import HoldfastError
    from holdfast.scrub import scrub

    environment = ctx.obj if isinstance(ctx.obj, Environment) else Environment()
    settings = _settings(ctx, environment)

    async def names() -> Names:
        async with asyncio.timeout(TIMEOUT_S), Cli(environment, settings).client(first_answer_s=TIMEOUT_S) as client:
            return await ask(client)

    try:
        found = environment.run(names())
    except (HoldfastError, TimeoutError, OSError):
        return []  # the shell then offers nothing; an error would land in the middle of what is typed
    known = dict.fromkeys((scrub(name), scrub(about)) for name, about in found)
    return [(name, about) for name, about in known if name.startswith(incomplete)]


def _settings(ctx: typer.Context, environment: Environment) -> Settings:
    """Return the settings of a command line that is not complete: what its levels have read so far."""
    levels = []
    level: typer.Context | None = ctx
    while level is not None:
        levels.append(level)
        level = level.parent  # type: ignore[assignment]
    for outer in reversed(levels):
        note_globals(outer, {name: outer.params.get(name) for name in _GLOBAL_NAMES})
    return Settings.of(ctx.meta, environment.variables)


_GLOBAL_NAMES = ("target", "namespace", "actor", "output", "no_color")
