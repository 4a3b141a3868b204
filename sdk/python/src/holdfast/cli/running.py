"""Runs a command's body and turns every way it can end into lines on stderr and an exit code."""

import inspect
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from holdfast.cli.exits import ExitCode
from holdfast.cli.faults import Refusal, UsageFault

if TYPE_CHECKING:
    from holdfast.cli.context import Cli
    from holdfast.errors import ServerError

__all__ = ["carry_out"]

_CODES = {
    "NOT_FOUND": ExitCode.NOT_FOUND,
    "UNAVAILABLE": ExitCode.UNREACHABLE,
    "DEADLINE_EXCEEDED": ExitCode.UNREACHABLE,
}


def carry_out(cli: "Cli", work: Callable[[], Any]) -> int:
    """Run a body, tell its errors, and return the exit code."""
    try:
        result = work()
        if inspect.iscoroutine(result):
            result = cli.environment.run(result)
        sys.stdout.flush()
        return ExitCode.OK if result is None else int(result)
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        # Whoever read the output has enough. What is left in the buffer must not be written when Python ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.REFUSED
    except UsageFault as fault:
        cli.fail(fault.message, *fault.details, hint=fault.hint)
        return ExitCode.USAGE
    except Refusal as refusal:
        cli.fail(refusal.message, hint=refusal.hint)
        return ExitCode.REFUSED
    except Exception as fault:  # noqa: BLE001 - whatever is not the client's passes on; its classes are costly to load
        return _tell(cli, fault)


def _tell(cli: "Cli", fault: Exception) -> int:
    """Tell an error of the client, or let one that nobody expects pass."""
    from holdfast import errors  # only now: it brings the messages

    if isinstance(fault, errors.ServerError):
        return _tell_server_error(cli, fault)
    if isinstance(fault, errors.ResultTimeoutError):
        cli.fail(f"run {fault.run_id} is still open after {fault.timeout_s:g} s; it goes on", hint=cli.hint("WAIT"))
        return ExitCode.STILL_OPEN
    if isinstance(fault, errors.HoldfastError):
        cli.fail(str(fault))
        return ExitCode.REFUSED
    raise fault


def _tell_server_error(cli: "Cli", fault: "ServerError") -> int:
    told = {name: value for name, value in fault.metadata.items() if value}
    message = f"{fault.message or 'the server gave no reason'} ({fault.reason or fault.code})"
    # A single violation often says what the message says.
    details = [f"{v.field}: {v.description}" for v in fault.violations if v.description not in fault.message]
    if not fault.reason and fault.code == "UNAVAILABLE":
        message = f"no server answers at {cli.settings.target}"
    elif "detail" in told:
        details.append(told["detail"])
    cli.fail(message, *details, hint=cli.hint(fault.reason or fault.code, told))
    return _CODES.get(fault.code, ExitCode.REFUSED)
