"""Compute steps: the rendered input is the output."""

from holdfast_server.engine import on_error as rules, outcomes, rendering
from holdfast_server.engine.plan import StepPlan
from holdfast_server.engine.state import Scope
from holdfast_server.engine.turn import Turn

__all__ = ["start"]


def start(turn: Turn, scope: Scope, step: StepPlan) -> None:
    """Evaluates and ends at once."""
    try:
        payload = rendering.render_input(turn, scope, step)
        failure = outcomes.check_output(turn, step, payload)
    except rendering.StepFault as fault:
        failure = fault.failure
        payload = None
    if failure is not None:
        rules.give_up(turn, scope, step, failure)
    else:
        outcomes.succeed(turn, scope, step, payload)
