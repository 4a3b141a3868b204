"""Random definitions that register: directed acyclic graphs of all kinds of steps with everything a step can say."""

import json
from typing import Any

from hypothesis import strategies as some

__all__ = ["definitions"]

KINDS = ("task", "task", "task", "gate", "wait", "sleep", "compute")
CONDITIONS = ("true", "false", "input.flag", "!input.flag")
BROKEN = "input.missing > 1"
"""A condition that cannot be evaluated."""
MATCHES = (["*"], ["Oops"], ["Lost"], ["Timeout.*"], ["SchemaViolation", "ExpressionError"])
SECONDS = ("1s", "5s", "20s", "100s")
RETRY = some.fixed_dictionaries(
    {},
    optional={
        "max_attempts": some.sampled_from((1, 2, 3)),
        "initial_interval": some.sampled_from(("0s", "1s", "7s")),
        "non_retryable": some.just(["Fatal"]),
    },
)


def _rarely(draw: some.DrawFn, times: int = 8) -> bool:
    """True about once in so many times."""
    return draw(some.integers(1, times)) == times


@some.composite
def definitions(draw: some.DrawFn) -> str:
    """The text of a definition."""
    count = draw(some.integers(1, 8))
    steps = [draw(_steps(index)) for index in range(count)]
    document: dict[str, Any] = {"name": "random", "steps": steps}
    if draw(some.booleans()):
        document["on_failure"] = "FINISH_OTHERS"
    if _rarely(draw):
        document["timeout"] = draw(some.sampled_from(SECONDS))
    if draw(some.booleans()):
        document["output"] = f"${{steps.s{draw(some.integers(0, count - 1))}.output}}"
    return json.dumps(document)


@some.composite
def _steps(draw: some.DrawFn, index: int) -> dict[str, Any]:
    kind = draw(some.sampled_from(KINDS))
    step: dict[str, Any] = {"name": f"s{index}", kind: draw(_kind(kind))}
    # Steps later in the list are mostly joins of some of those before them.
    fewest = 2 if index > 2 else 0
    sources = draw(some.lists(some.integers(0, index - 1), unique=True, min_size=fewest, max_size=4)) if index else []
    if sources:
        step["after"] = [draw(_edges(source)) for source in sources]
        join = draw(_joins(len(sources)))
        if join:
            step["join"] = join
        step["cleanup"] = draw(some.integers(0, 4)) == 0
    if kind in ("task", "compute") and draw(some.booleans()):
        step["input"] = "${size(input.missing)}" if _rarely(draw) else draw(some.sampled_from((1, "${input.flag}")))
    if kind == "task":
        step["retry"] = draw(RETRY)
        step["timeouts"] = {
            name: draw(some.sampled_from(SECONDS))
            for name in ("schedule_to_start", "schedule_to_close")
            if _rarely(draw, 4)
        }
    if kind in ("task", "wait", "compute"):
        rules = draw(some.lists(_rules(kind), max_size=3))
        if rules:
            step["on_error"] = rules
        if _rarely(draw, 4):
            step["output_schema"] = {"type": "integer"}
    return step


@some.composite
def _edges(draw: some.DrawFn, source: int) -> dict[str, Any]:
    edge: dict[str, Any] = {"step": f"s{source}"}
    edge["on"] = draw(some.sampled_from(("SUCCEEDED",) * 5 + ("FINISHED", "FINISHED", "FAILED", "SKIPPED")))
    if _rarely(draw, 4):
        edge["when"] = BROKEN if _rarely(draw, 6) else draw(some.sampled_from(CONDITIONS))
    return edge


@some.composite
def _joins(draw: some.DrawFn, edges: int) -> dict[str, Any]:
    mode = draw(some.sampled_from(("", "INCLUSIVE", "ALL", "FIRST", "FIRST", "QUORUM", "QUORUM")))
    if not mode:
        return {}
    join: dict[str, Any] = {"mode": mode}
    if mode == "QUORUM":
        join["count"] = draw(some.integers(1, edges))
    if mode in ("FIRST", "QUORUM"):
        join["cancel_others"] = not _rarely(draw, 3)
    return join


@some.composite
def _rules(draw: some.DrawFn, kind: str) -> dict[str, Any]:
    rule: dict[str, Any] = {"match": draw(some.sampled_from(MATCHES))}
    actions = ["value", "fail", "review"] + (["fallback"] if kind == "task" else [])
    match draw(some.sampled_from(actions)):
        case "value":
            rule["value"] = "${size(input.missing)}" if _rarely(draw) else draw(some.sampled_from((0, "${input.flag}")))
        case "fail":
            rule["fail"] = {}
        case "review":
            rule["review"] = draw(some.sampled_from(({}, {"deadline": "20s"})))
        case "fallback":
            rule["fallback"] = {"handler": "other", "retry": draw(RETRY)}
    return rule


@some.composite
def _kind(draw: some.DrawFn, kind: str) -> dict[str, Any]:
    match kind:
        case "task":
            return {"handler": "work"}
        case "gate":
            gate: dict[str, Any] = {
                "title": "Go on?",
                "decisions": ["APPROVE", "REJECT", "RESPOND", "DELEGATE"],
                "quorum": draw(some.sampled_from((1, 1, 2))),
                "fail_on_reject": draw(some.booleans()),
            }
            if draw(some.booleans()):
                gate["deadline"] = draw(some.sampled_from(SECONDS))
                gate["on_deadline"] = draw(some.sampled_from(("FAIL", "REJECT", "APPROVE", "ESCALATE")))
            if gate.get("on_deadline") == "ESCALATE":
                gate["escalation"] = {"approvers": {"principals": ["boss", "bob", "cid"]}, "deadline": "5s"}
            return gate
        case "wait":
            wait: dict[str, Any] = {"signal": draw(some.sampled_from(("go", "stop")))}
            if draw(some.booleans()):
                wait["when"] = draw(some.sampled_from(("payload > 1", "payload.ok")))
            if draw(some.booleans()):
                wait["timeout"] = draw(some.sampled_from(SECONDS))
            return wait
        case "sleep":
            return (
                {"until": "${input.missing}"}
                if _rarely(draw)
                else {"for": draw(some.sampled_from(("0s", "5s", "20s")))}
            )
    return {}
