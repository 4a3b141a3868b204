"""`holdfast dev`: registers the definitions of a folder, and again whenever one changes."""

import asyncio
from pathlib import Path

import structlog

from holdfast import Client
from holdfast.errors import HoldfastError

__all__ = ["definitions_in", "follow_folder"]

log = structlog.get_logger("holdfast.dev")

SUFFIXES = (".yaml", ".yml", ".json")
LOOK_EVERY_S = 0.5


def definitions_in(folder: Path) -> dict[Path, int]:
    """Definition files directly in a folder, with their time of change in nanoseconds."""
    return {path: path.stat().st_mtime_ns for path in sorted(folder.iterdir()) if path.suffix in SUFFIXES}


async def follow_folder(folder: Path, target: str) -> None:
    """Registers what is there and what changes, until cancelled."""
    known: dict[Path, int] = {}
    async with Client(target) as client:
        while True:
            for path, changed in definitions_in(folder).items():
                if known.get(path) == changed:
                    continue
                known[path] = changed
                await _register(client, path.name, path.read_text())
            await asyncio.sleep(LOOK_EVERY_S)


async def _register(client: Client, name: str, text: str) -> None:
    if "steps" not in text:
        # JSON and YAML files of other kinds lie about in any folder.
        return
    try:
        answer = await client.workflows.register(text)
    except HoldfastError as error:
        log.warning("a definition has faults", file=name, error=str(error))
    else:
        log.info("registered", file=name, workflow=answer.workflow.name, version=answer.workflow.version)
