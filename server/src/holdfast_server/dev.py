"""`holdfast dev`: registers the definitions of a folder, and again whenever one changes."""

import asyncio
import contextlib
from collections.abc import Iterator
from pathlib import Path

import structlog

from holdfast import Client
from holdfast.errors import HoldfastError, InvalidDefinitionError

__all__ = ["changed_definitions", "follow_folder"]

log = structlog.get_logger("holdfast.dev")

SUFFIXES = (".yaml", ".yml", ".json")
LOOK_EVERY_S = 0.5


def changed_definitions(folder: Path, known: dict[Path, int]) -> Iterator[tuple[str, str]]:
    """Names and texts of definition files directly in a folder that are new or have changed.

    Args:
        folder: where to look.
        known: times of change that were seen, in nanoseconds; kept up to date.

    Raises:
        OSError: the folder or a file cannot be read.
    """
    for path in sorted(folder.iterdir()):
        if path.suffix not in SUFFIXES:
            continue
        with contextlib.suppress(FileNotFoundError):  # an editor may just be replacing it
            changed = path.stat().st_mtime_ns
            if known.get(path) == changed:
                continue
            text = path.read_text(encoding="utf-8", errors="replace")
            known[path] = changed
            if "steps" in text:
                # JSON and YAML files of other kinds lie about in any folder.
                yield path.name, text


async def follow_folder(folder: Path, target: str) -> None:
    """Registers what is there and what changes, until cancelled."""
    known: dict[Path, int] = {}
    found = False
    said = ""  # of the folder, so that it is not said again each time
    async with Client(target) as client:
        while True:
            try:
                for name, text in changed_definitions(folder, known):
                    await _register(client, name, text)
                    found = True
                lacks = "" if found else "no definitions here yet; looking for *.yaml, *.yml and *.json"
                if lacks and said != lacks:
                    log.warning(lacks, folder=str(folder))
                said = lacks
            except OSError as error:
                if said != str(error):
                    said = str(error)
                    log.warning("the folder cannot be read; trying again", folder=str(folder), error=said)
            await asyncio.sleep(LOOK_EVERY_S)


async def _register(client: Client, name: str, text: str) -> None:
    try:
        answer = await client.workflows.register(text)
    except InvalidDefinitionError:
        # Asked again as a check, which tells the line and column of each fault by themselves.
        for fault in await client.validate(text):
            place = f"{name}:{fault.line}:{fault.column}" if fault.line else name
            log.warning("a definition has faults", place=place, path=fault.path, fault=fault.message)
    except HoldfastError as error:
        log.warning("a definition cannot be registered", file=name, error=str(error))
    else:
        log.info("registered", file=name, workflow=answer.workflow.name, version=answer.workflow.version)
