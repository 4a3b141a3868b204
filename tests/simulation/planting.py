"""Plants bugs in a copy of the server, and lets the simulation look for them there."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import holdfast_server
from tests.simulation.planted import Bug

__all__ = ["NotPlantedError", "look_for", "plant"]

ROOT = Path(__file__).parents[2]
PACKAGE = Path(holdfast_server.__file__).parent


class NotPlantedError(Exception):
    """The code a bug is planted in is not there any more."""


def plant(bug: Bug, folder: Path) -> None:
    """Puts a copy of the server with the bug into a folder.

    Raises:
        NotPlantedError: the code has changed.
    """
    copy = folder / PACKAGE.name
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    for change in bug.changes:
        file = copy / change.file
        text = file.read_text()
        if text.count(change.old) != 1:
            raise NotPlantedError(
                f"the bug {bug.name!r} cannot be planted: {change.file} has {text.count(change.old)} times\n"
                f"{change.old}\nplant it anew in tests/simulation/planted.py"
            )
        file.write_text(text.replace(change.old, change.new))


def look_for(folder: Path, bug: Bug) -> "subprocess.CompletedProcess[str]":
    """Runs the simulation on the copy of the server in a folder."""
    command = [sys.executable, "-m", "tests.simulation", "--seeds", str(bug.seeds)]
    if bug.faults:
        command += ["--faults", ",".join(bug.faults)]
    environment = {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(command, cwd=ROOT, env=environment, check=False, capture_output=True, text=True)
