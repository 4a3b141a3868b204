"""`python -m tests.chaos.clocked_server …`: `holdfast`, with a clock that somebody else sets while it runs.

The file named by CHAOS_CLOCK holds by how many microseconds the clock is ahead.
"""

import os
import struct
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any

from holdfast.cli import main
from holdfast.testing.processes import ServerProcess
from holdfast_server import app
from holdfast_server.clock import Clocks, wall_clock_us

__all__ = ["CLOCK", "AheadFile", "ClockedServer"]

CLOCK = "CHAOS_CLOCK"
_AHEAD_US = struct.Struct("=q")


class AheadFile:
    """By how much a server's clock is ahead of the machine's."""

    def __init__(self, file: Path) -> None:
        self._file = file
        file.parent.mkdir(parents=True, exist_ok=True)
        self.set(0)

    def set(self, ahead_us: int) -> None:
        """Set the clock; a server that runs notices at its next look at it."""
        descriptor = os.open(self._file, os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            os.pwrite(descriptor, _AHEAD_US.pack(ahead_us), 0)
        finally:
            os.close(descriptor)


class ClockedServer(ServerProcess):
    """A server with such a clock; the environment names the file."""

    program = "tests.chaos.clocked_server"


def _clocked(file: Path) -> type[app.Server]:
    with file.open("rb") as opened:
        ahead = mmap(opened.fileno(), _AHEAD_US.size, access=ACCESS_READ)

    def clock_us() -> int:
        ahead_us: int = _AHEAD_US.unpack_from(ahead)[0]
        return wall_clock_us() + ahead_us

    class Clocked(app.Server):
        def __init__(self, config: Any) -> None:
            super().__init__(config, clocks=Clocks.system(clock_us))

    return Clocked


if __name__ == "__main__":
    app.Server = _clocked(Path(os.environ[CLOCK]))  # type: ignore[misc]  # the command line makes one of these
    main()
