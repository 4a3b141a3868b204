"""What the exit code of a command says."""

from enum import IntEnum

__all__ = ["ExitCode"]


class ExitCode(IntEnum):
    """Exit codes; `docs/cli.md` lists them for scripts."""

    OK = 0
    """Done; where a run was waited for, it SUCCEEDED."""
    REFUSED = 1
    """The server refused, the run that was waited for ended other than SUCCEEDED, or a database has faults."""
    USAGE = 2
    """The command line, a file or a JSON text is not right; nothing was sent."""
    NOT_FOUND = 3
    """No such run, workflow, gate, query or namespace."""
    UNREACHABLE = 4
    """No server answers, or it cannot do it at present."""
    STILL_OPEN = 5
    """The time to wait was over and the run goes on."""
    INTERRUPTED = 130
    """Ended by Ctrl-C."""
