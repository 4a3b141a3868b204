"""Random definitions that register: directed acyclic graphs of all kinds of steps with everything a step can say.

One generator for whoever brings chance: Hypothesis, which remembers and shrinks what it drew, or a seed.
"""

import json
from random import Random
from typing import Any

from hypothesis import strategies as some

__all__ = ["definition", "definitions"]

KINDS = ("task", "task", "task", "gate", "wait", "sleep", "compute")
CONDITIONS = ("true", "false", "input.flag", "!input.flag")
BROKEN = "input.missing > 1"
"""A condition that cannot be evaluated."""
MATCHES = (["*"], ["Oops"], ["Lost"], ["Timeout.*"], ["SchemaViolation", "ExpressionError"])
SECONDS = ("1s", "5s", "20s", "100s")
TASK_TIMEOUTS = ("schedule_to_start", "schedule_to_close", "start_to_close", "heartbeat")


def definitions() -> some.SearchStrategy[str]:
    """The text of a definition, drawn by Hypothesis."""
    return some.randoms(use_true_random=False).map(definition)


def definition(chance: Random, name: str = "random", most_steps: int = 8) -> str:
    """The text of a definition."""
    count = chance.randint(1, most_steps)
    document: dict[str, Any] = {"name": name, "steps": [_step(chance, index) for index in range(count)]}
    if _often(chance):
        document["on_failure"] = "FINISH_OTHERS"
    if _rarely(chance):
        document["timeout"] = chance.choice(SECONDS)
    if _often(chance):
        document["output"] = f"${{steps.s{chance.randint(0, count - 1)}.output}}"
    return json.dumps(document)


def _often(chance: Random) -> bool:
    return chance.randint(0, 1) == 1


def _rarely(chance: Random, times: int = 8) -> bool:
    """True about once in so many times."""
    return chance.randint(1, times) == times


def _step(chance: Random, index: int) -> dict[str, Any]:
    kind = chance.choice(KINDS)
    step: dict[str, Any] = {"name": f"s{index}", kind: _kind(chance, kind)}
    # Steps later in the list are mostly joins of some of those before them.
    fewest = 2 if index > 2 else 0
    sources = chance.sample(range(index), chance.randint(fewest, min(index, 4))) if index else []
    if sources:
        step["after"] = [_edge(chance, source) for source in sources]
        join = _join(chance, len(sources))
        if join:
            step["join"] = join
        step["cleanup"] = _rarely(chance, 5)
    if kind in ("task", "compute") and _often(chance):
        step["input"] = "${size(input.missing)}" if _rarely(chance) else chance.choice((1, "${input.flag}"))
    if kind == "task":
        step["retry"] = _retry(chance)
        step["timeouts"] = {name: chance.choice(SECONDS) for name in TASK_TIMEOUTS if _rarely(chance, 4)}
    if kind in ("task", "wait", "compute"):
        rules = [_rule(chance, kind) for _ in range(chance.randint(0, 3))]
        if rules:
            step["on_error"] = rules
        if _rarely(chance, 4):
            step["output_schema"] = {"type": "integer"}
    return step


def _retry(chance: Random) -> dict[str, Any]:
    policy: dict[str, Any] = {}
    if _often(chance):
        policy["max_attempts"] = chance.randint(1, 3)
    if _often(chance):
        policy["initial_interval"] = chance.choice(("0s", "1s", "7s"))
    if _often(chance):
        policy["non_retryable"] = ["Fatal"]
    return policy


def _edge(chance: Random, source: int) -> dict[str, Any]:
    edge: dict[str, Any] = {"step": f"s{source}"}
    edge["on"] = chance.choice(("SUCCEEDED",) * 5 + ("FINISHED", "FINISHED", "FAILED", "SKIPPED"))
    if _rarely(chance, 4):
        edge["when"] = BROKEN if _rarely(chance, 6) else chance.choice(CONDITIONS)
    return edge


def _join(chance: Random, edges: int) -> dict[str, Any]:
    mode = chance.choice(("", "INCLUSIVE", "ALL", "FIRST", "FIRST", "QUORUM", "QUORUM"))
    if not mode:
        return {}
    join: dict[str, Any] = {"mode": mode}
    if mode == "QUORUM":
        join["count"] = chance.randint(1, edges)
    if mode in ("FIRST", "QUORUM"):
        join["cancel_others"] = not _rarely(chance, 3)
    return join


def _rule(chance: Random, kind: str) -> dict[str, Any]:
    rule: dict[str, Any] = {"match": chance.choice(MATCHES)}
    actions = ["value", "fail", "review"] + (["fallback"] if kind == "task" else [])
    match chance.choice(actions):
        case "value":
            rule["value"] = "${size(input.missing)}" if _rarely(chance) else chance.choice((0, "${input.flag}"))
        case "fail":
            rule["fail"] = {}
        case "review":
            rule["review"] = chance.choice(({}, {"deadline": "20s"}))
        case "fallback":
            rule["fallback"] = {"handler": "other", "retry": _retry(chance)}
    return rule


def _kind(chance: Random, kind: str) -> dict[str, Any]:
    match kind:
        case "task":
            return {"handler": "work", "queue": "side"} if _rarely(chance, 5) else {"handler": "work"}
        case "gate":
            gate: dict[str, Any] = {
                "title": "Go on?",
                "decisions": ["APPROVE", "REJECT", "RESPOND", "DELEGATE"],
                "quorum": chance.choice((1, 1, 2)),
                "fail_on_reject": _often(chance),
            }
            if _often(chance):
                gate["deadline"] = chance.choice(SECONDS)
                gate["on_deadline"] = chance.choice(("FAIL", "REJECT", "APPROVE", "ESCALATE"))
            if gate.get("on_deadline") == "ESCALATE":
                gate["escalation"] = {"approvers": {"principals": ["boss", "bob", "cid"]}, "deadline": "5s"}
            return gate
        case "wait":
            wait: dict[str, Any] = {"signal": chance.choice(("go", "stop"))}
            if _often(chance):
                wait["when"] = chance.choice(("payload > 1", "payload.ok"))
            if _often(chance):
                wait["timeout"] = chance.choice(SECONDS)
            return wait
        case "sleep":
            if _rarely(chance):
                return {"until": "${input.missing}"}
            return {"for": chance.choice(("0s", "5s", "20s"))}
    return {}
