"""From a gate's message to its plan, and the rules that keep a gate from standing where nobody can get past it."""

from typing import Final

from holdfast.v1 import definition_pb2 as pb
from holdfast_server.engine.compile_context import CompileContext
from holdfast_server.engine.expressions import Template, compile_template
from holdfast_server.engine.names import Ref
from holdfast_server.engine.plan import GatePlan
from holdfast_server.engine.scopes import Scope
from holdfast_server.engine.times import duration_us

__all__ = ["compile_gate"]

ALLOWED: Final = (
    pb.DECISION_APPROVE,
    pb.DECISION_REJECT,
    pb.DECISION_EDIT,
    pb.DECISION_RESPOND,
    pb.DECISION_DELEGATE,
)
DEFAULT: Final = (pb.DECISION_APPROVE, pb.DECISION_REJECT)


def compile_gate(context: CompileContext, step: pb.Step, scope: Scope, path: Ref) -> GatePlan:
    """What a gate needs.

    Args:
        context: collects faults.
        step: the message of the step.
        scope: what its expressions may name.
        path: where the gate stands, ending in `gate`.
    """
    gate = step.gate
    if not gate.title:
        context.faults.add((*path, "title"), "a gate needs a `title` that says what is to be decided")
    decisions = _decisions(context, step, path)
    _quorum(context, gate, path)
    _deadline(context, gate, path)
    rejectable = pb.DECISION_REJECT in decisions or gate.on_deadline == pb.ON_DEADLINE_REJECT
    if gate.fail_on_reject and not rejectable:
        message = "nothing can reject this gate: allow REJECT in `decisions`, or leave this out"
        context.faults.add((*path, "fail_on_reject"), message)
    action = gate.action
    action_path: Ref = (*path, "action")
    args = None
    if gate.HasField("action"):
        if not action.name:
            context.faults.add((*action_path, "name"), "an action needs a `name`")
        if action.HasField("args"):
            args = context.json_template(action.args, scope, (*action_path, "args"), opened=True)
        elif action.HasField("args_schema"):
            context.faults.add((*action_path, "args_schema"), "there are no `args` that could fit it")
    response_path: Ref = (*path, "response_schema")
    return GatePlan(
        spec=gate,
        title=context.template(gate.title, scope, (*path, "title"), opened=True) or _nothing(),
        body=context.template(gate.body, scope, (*path, "body"), opened=True) if gate.body else None,
        args=args,
        args_schema=context.schema(action.args_schema, (*action_path, "args_schema"))
        if gate.HasField("action") and action.HasField("args_schema")
        else None,
        response_schema=context.schema(gate.response_schema, response_path)
        if gate.HasField("response_schema")
        else None,
        decisions=decisions,
        quorum=gate.quorum or 1,
        veto=gate.veto if gate.HasField("veto") else True,
        deadline_us=context.duration_us(gate.deadline, (*path, "deadline")) if gate.HasField("deadline") else None,
        on_deadline=gate.on_deadline or pb.ON_DEADLINE_FAIL,
        escalation_us=_escalation_us(context, gate, path),
    )


def _nothing() -> Template:
    """In place of a template that is faulty; the plan is never made."""
    return compile_template("")


def _decisions(context: CompileContext, step: pb.Step, path: Ref) -> tuple[pb.Decision.ValueType, ...]:
    gate = step.gate
    decisions = tuple(gate.decisions) or DEFAULT
    names = [pb.Decision.Name(one).removeprefix("DECISION_") for one in decisions]
    for index, decision in enumerate(gate.decisions):
        where: Ref = (*path, "decisions", index)
        if decision not in ALLOWED:
            message = f"{names[index]} is for reviews; a gate takes APPROVE, REJECT, EDIT, RESPOND, DELEGATE"
            context.faults.add(where, message)
        elif decision in gate.decisions[:index]:
            context.faults.add(where, f"{names[index]} is listed twice")
    if not {pb.DECISION_APPROVE, pb.DECISION_RESPOND} & set(decisions):
        context.faults.add((*path, "decisions"), "nobody could let this gate pass: allow APPROVE or RESPOND")
    if pb.DECISION_EDIT in decisions and not (step.HasField("input") or gate.action.HasField("args")):
        message = "EDIT needs something to change: give the step an `input` or the action `args`"
        context.faults.add((*path, "decisions"), message)
    return decisions


def _quorum(context: CompileContext, gate: pb.GateStep, path: Ref) -> None:
    if gate.quorum < 0:
        context.faults.add((*path, "quorum"), f"`quorum` is at least 1, not {gate.quorum}")
    approvers = gate.approvers
    people = len(set(approvers.principals))
    if people and not approvers.roles and gate.quorum > people:
        message = f"`quorum` is {gate.quorum}, but only {people} may decide"
        context.faults.add((*path, "quorum"), message)


def _deadline(context: CompileContext, gate: pb.GateStep, path: Ref) -> None:
    escalates = gate.on_deadline == pb.ON_DEADLINE_ESCALATE
    if gate.on_deadline and not gate.HasField("deadline"):
        context.faults.add((*path, "on_deadline"), "there is no `deadline` that could pass")
    if gate.HasField("escalation") and not escalates:
        context.faults.add((*path, "escalation"), "it is for `on_deadline: ESCALATE`")
    if not escalates:
        return
    approvers = gate.escalation.approvers
    if not gate.HasField("escalation") or not (approvers.principals or approvers.roles):
        message = "`on_deadline: ESCALATE` needs `escalation.approvers`: who decides then"
        context.faults.add((*path, "escalation"), message)


def _escalation_us(context: CompileContext, gate: pb.GateStep, path: Ref) -> int | None:
    if not gate.HasField("escalation"):
        return None
    if gate.escalation.HasField("deadline"):
        return context.duration_us(gate.escalation.deadline, (*path, "escalation", "deadline"))
    return duration_us(gate.deadline) if gate.HasField("deadline") else None
