"""What to type next after each reason a server gives: the one table of it.

`{run}`, `{step}`, `{workflow}`, `{key}` and `{target}` are filled in from the command line and the error; what neither
knows is written in capitals, as in the help.
"""

import shlex
from collections import defaultdict
from collections.abc import Mapping

from holdfast.scrub import scrub

__all__ = ["HINTS", "hint"]

_SEE_RUN = "see where it stands: holdfast run show {run}"
_SEE_GATE = "see what it shows and takes: holdfast gate show {run} {step}"
_SEE_WORKFLOW = "see what it takes: holdfast workflow show {workflow}"
_SEE_LIMITS = "see the limits in force: holdfast info"
_AGAIN = "try again in a moment; see how the server is: holdfast info"

HINTS: dict[str, str] = {
    "WORKFLOW_NOT_FOUND": "see what is there: holdfast workflow list; add one: holdfast workflow register FILE",
    "INVALID_DEFINITION": "mend these places, then check: holdfast workflow validate FILE",
    "RUN_NOT_FOUND": "see the runs: holdfast run list",
    "RUN_EXISTS": "a run id is never used twice; see that run: holdfast run show {run}",
    "RUN_CLOSED": "see how it ended: holdfast run show {run}; "
    "if it did not succeed, let it go on: holdfast run retry {run}",
    "KEY_IN_USE": "see the open run: holdfast run list --workflow {workflow} --key {key}; "
    "take it, or end it first: --on-conflict USE_EXISTING or TERMINATE_EXISTING",
    "REQUEST_ID_REUSED": "leave out --request-id, or name another; without it each command makes its own",
    "INPUT_SCHEMA": "see which input it takes: holdfast workflow show {workflow}",
    "SIGNAL_UNDECLARED": "see which signals it declares: holdfast workflow show {workflow}",
    "SIGNAL_SCHEMA": "see which payload the signal takes: holdfast workflow show {workflow}",
    "QUERY_NOT_FOUND": "see its queries: holdfast workflow show {workflow}; "
    "or ask freely: holdfast run query {run} --expression 'input'",
    "QUERY_FAILED": "see what the run has so far: holdfast run show {run}",
    "GATE_NOT_FOUND": "see the gates of the run: holdfast gate list --run {run}",
    "GATE_RESOLVED": "see what was decided: holdfast gate show {run} {step}",
    "GATE_REVISION": "it shows something else by now; look again: holdfast gate show {run} {step}",
    "GATE_HASH": "it shows something else by now; look again: holdfast gate show {run} {step}",
    "DECISION_NOT_ALLOWED": _SEE_GATE,
    "DECISION_SCHEMA": "the gate stays open; see which payload it takes: holdfast gate show {run} {step}",
    "NOT_AN_APPROVER": "see who may decide: holdfast gate show {run} {step}",
    "DECIDED_ALREADY": "see who else must decide: holdfast gate show {run} {step}",
    "TOKEN_STALE": "another worker has the attempt or it is settled; nothing is lost: holdfast run show {run}",
    "TOKEN_INVALID": "the worker talks to another server than the one that gave it the task; see: holdfast worker list",
    "ILLEGAL_STATE": _SEE_RUN,
    "LIMIT_EXCEEDED": _SEE_LIMITS,
    "PAYLOAD_TOO_LARGE": "keep the data elsewhere and pass where it is; " + _SEE_LIMITS,
    "NAMESPACE_NOT_FOUND": "leave out --namespace to use the namespace default",
    "UNAUTHENTICATED": "ask whoever runs the server at {target} for credentials",
    "NOT_PERMITTED": "ask whoever runs the server at {target} for the role",
    "STORE_UNAVAILABLE": _AGAIN,
    "DRAINING": "the server is going down; try again when it is back: holdfast info",
    "INTERNAL": "a fault of the server; its log tells more. See how it is: holdfast info",
    "INVALID_REQUEST": "see what the command takes: {command} --help",
    "PAGE_TOKEN_INVALID": "the list changed under the command; repeat it",
    "RUN_QUARANTINED": "see the fault: holdfast run show {run}; its events: holdfast run history {run}",
    "OUTPUT_SCHEMA": "see the step's output schema: holdfast workflow show {workflow} --source",
    "STEP_NOT_FOUND": "see its steps: holdfast run show {run}",
    # Not reasons of a server: what the transport or the command line itself found.
    "UNAVAILABLE": "start one with: holdfast server (or holdfast dev); or name another: --target HOST:PORT",
    "DEADLINE_EXCEEDED": _AGAIN,
    "RESOURCE_EXHAUSTED": "keep the data elsewhere and pass where it is; " + _SEE_LIMITS,
    "UNIMPLEMENTED": "the server at {target} is older or no Holdfast server; see: holdfast info",
    "WAIT": "wait again: holdfast run wait {run}; or see what it waits for: holdfast run show {run}",
}


class _Facts(defaultdict[str, str]):
    def __missing__(self, name: str) -> str:
        return name.upper()


def hint(reason: str, facts: Mapping[str, str]) -> str:
    """Return what to type next after an error; empty where nothing helps.

    Args:
        reason: Reason of the server, or the gRPC code where there is none.
        facts: What is known: `run`, `step`, `workflow`, `key`, `target`, `command`; missing ones become placeholders.
    """
    plain = {name: value if name == "command" else shlex.quote(scrub(value)) for name, value in facts.items() if value}
    # Without a path the only open gate of a run is meant; the placeholder would not be typed.
    return HINTS.get(reason, "").format_map(_Facts(None, {"step": "", **plain})).replace("  ", " ").strip()
