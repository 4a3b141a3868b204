"""The command line `holdfast`.

`main` is the program. Distributions that add commands declare an entry point in the group `holdfast.commands`: a
callable that takes the typer app and adds to it, best with `command`, which brings the options that all commands share.
"""

import importlib
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from holdfast.cli.context import Cli
    from holdfast.cli.declaring import command, group

__all__ = ["Cli", "command", "group", "main"]

_HOMES = {"Cli": "context", "command": "declaring", "group": "declaring"}


def main() -> None:
    """Run the program with the arguments of the process, and exit."""
    try:
        import rich  # noqa: F401 - used by every command, so missed at once

        from holdfast.cli.app import program
    except ModuleNotFoundError as missing:
        if missing.name not in {"typer", "rich"}:
            raise
        sys.stderr.write(f"error: the command line needs {missing.name}\n  next: pip install 'holdfast[cli]'\n")
        sys.exit(2)
    program()


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'holdfast.cli' has no attribute {name!r}")
    return getattr(importlib.import_module(f"holdfast.cli.{home}"), name)
