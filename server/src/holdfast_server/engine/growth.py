"""What a run may not do any more once its history is over the limit: nothing that would let it grow without end.

What has begun goes on: results are taken, decisions that resolve a gate too, steps whose turn comes get their first
attempt, and a run can always be cancelled or terminated. So a run that is too large comes to its end.
"""

from holdfast.v1.definition_pb2 import Decision
from holdfast.v1.failure_pb2 import Failure
from holdfast_server.engine import commands as c, failures
from holdfast_server.engine.refusal import Refused, limit_exceeded
from holdfast_server.engine.settings import EngineSettings
from holdfast_server.engine.state import RunState

__all__ = ["check_command", "no_more_attempts"]

GROWING = (c.SendSignal, c.Pause, c.Retry, c.RetryStep)
AGAIN = frozenset({Decision.DECISION_EDIT, Decision.DECISION_DELEGATE, Decision.DECISION_RETRY})
"""Decisions after which a gate or a step begins anew."""


def check_command(run: RunState, command: c.Command, settings: EngineSettings) -> None:
    """Refuses what would only add to a history over the limit.

    Raises:
        Refused: LIMIT_EXCEEDED.
    """
    if run.history_bytes <= settings.history_bytes:
        return
    if isinstance(command, GROWING) or (isinstance(command, c.DecideGate) and command.decision in AGAIN):
        raise _exceeded(run, settings)


def no_more_attempts(run: RunState, settings: EngineSettings, failure: Failure) -> Failure | None:
    """The failure that ends a step in place of another attempt; None if there may be one."""
    if run.history_bytes <= settings.history_bytes:
        return None
    message = f"there is no other attempt: {_exceeded(run, settings)}"
    return failures.failure(failures.LIMIT_EXCEEDED, message, cause=failure)


def _exceeded(run: RunState, settings: EngineSettings) -> Refused:
    what = f"the history of run {run.run_id!r}"
    return limit_exceeded(what, "history_bytes", settings.history_bytes, run.history_bytes)
