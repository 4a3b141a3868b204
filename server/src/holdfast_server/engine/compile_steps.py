"""From a step's message to its plan: which kind takes which field, defaults filled in, expressions compiled.

The table of fields and the defaults are those of the graph language (`docs/semantics.md`).
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from holdfast.v1 import definition_pb2 as pb
from holdfast_server.engine.compile_context import CompileContext
from holdfast_server.engine.durations import DurationError, parse_duration_us
from holdfast_server.engine.expressions import Template
from holdfast_server.engine.faults import did_you_mean
from holdfast_server.engine.names import Ref
from holdfast_server.engine.number_types import NumberTypes, number_type
from holdfast_server.engine.plan import ErrorRulePlan, RetryPlan, SleepPlan, WaitPlan
from holdfast_server.engine.schemas import Schema
from holdfast_server.engine.scopes import Scope

__all__ = ["DEFAULT_QUEUE", "KINDS", "StepParts", "check_fields", "compile_parts", "compile_sleep", "compile_wait"]

KINDS: Final = ("task", "gate", "wait", "sleep", "compute")
SECOND_US: Final = 1_000_000
ATTEMPTS_MAX: Final = 1_000_000
START_TO_CLOSE_US: Final = 600 * SECOND_US
DEFAULT_QUEUE: Final = "default"
DEFAULT_RETRY: Final = RetryPlan(5, SECOND_US, 2.0, 60 * SECOND_US, 0.2, ())

_FIELDS: Final[dict[str, frozenset[str]]] = {
    "task": frozenset({"input", "input_schema", "output_schema", "retry", "timeouts", "on_error"}),
    "gate": frozenset({"input", "input_schema", "output_schema"}),
    "wait": frozenset({"input", "input_schema", "output_schema", "on_error"}),
    "sleep": frozenset(),
    "compute": frozenset({"input", "input_schema", "output_schema", "on_error"}),
}
"""Fields that not every kind takes, by the kinds that take them."""
_INSTEAD: Final = {
    ("gate", "timeouts"): "; a gate has a `deadline` of its own",
    (
        "gate",
        "on_error",
    ): "; a gate has `on_deadline` and `fail_on_reject`, and edges with `on: FAILED` route a failure",
    ("wait", "timeouts"): "; a wait has a `timeout` of its own",
    ("sleep", "input"): "; what it waits for stands in `for` or `until`",
}


@dataclass(slots=True)
class StepParts:
    """The parts of a step's plan that come from the step alone, not from the graph."""

    input: Template | None = None
    on_error: tuple[ErrorRulePlan, ...] = ()
    retry: RetryPlan | None = None
    schedule_to_start_us: int | None = None
    start_to_close_us: int | None = None
    schedule_to_close_us: int | None = None
    heartbeat_us: int | None = None


def check_fields(context: CompileContext, step: pb.Step, kind: str, path: Ref) -> None:
    """Note every field that the kind of the step does not take."""
    present = {field.name for field, _ in step.ListFields()}
    for name in ("input", "input_schema", "output_schema", "retry", "timeouts", "on_error"):
        if name in present and name not in _FIELDS[kind]:
            takers = [other for other in KINDS if name in _FIELDS[other]]
            instead = _INSTEAD.get((kind, name), f"; it is for {', '.join(takers)}")
            context.faults.add((*path, name), f"a {kind} takes no `{name}`{instead}")


def compile_parts(
    context: CompileContext, step: pb.Step, scope: Scope, path: Ref, input_schema: Schema | None, *, checked: bool
) -> StepParts:
    """Compile what a step says about itself.

    Args:
        context: collects faults.
        step: the message.
        scope: what its expressions may name.
        path: where it stands.
        input_schema: the compiled schema of its input.
        checked: whether its output is checked against a schema.
    """
    parts = StepParts()
    if step.HasField("input"):
        # A compute passes its input on as its output, so a schema of either looks into it; a gate shows it to people.
        opened = input_schema is not None or step.HasField("gate") or (checked and step.HasField("compute"))
        parts.input = context.json_template(step.input, scope, (*path, "input"), opened=opened)
    parts.on_error = tuple(
        _error_rule(context, step, rule, scope, (*path, "on_error", index), checked=checked)
        for index, rule in enumerate(step.on_error)
    )
    if step.HasField("task"):
        parts.retry = compile_retry(context, step.retry, (*path, "retry")) if step.HasField("retry") else DEFAULT_RETRY
        _timeouts(context, step.timeouts, parts, (*path, "timeouts"))
    return parts


def _timeouts(context: CompileContext, timeouts: pb.Timeouts, parts: StepParts, path: Ref) -> None:
    given = {
        name: context.duration_us(getattr(timeouts, name), (*path, name))
        for name in ("schedule_to_start", "start_to_close", "schedule_to_close", "heartbeat")
        if timeouts.HasField(name)
    }
    parts.schedule_to_start_us = given.get("schedule_to_start")
    parts.start_to_close_us = given.get("start_to_close", START_TO_CLOSE_US)
    parts.schedule_to_close_us = given.get("schedule_to_close")
    parts.heartbeat_us = given.get("heartbeat")


def compile_retry(context: CompileContext, retry: pb.Retry, path: Ref) -> RetryPlan:
    """A retry policy with its defaults."""
    add = context.faults.add
    if not 0 <= retry.max_attempts <= ATTEMPTS_MAX:
        add((*path, "max_attempts"), f"`max_attempts` is from 1 to {ATTEMPTS_MAX:,}, not {retry.max_attempts}")
    backoff = retry.backoff or DEFAULT_RETRY.backoff
    if not 1 <= backoff <= 1_000:  # noqa: PLR2004 - said in the message
        add((*path, "backoff"), f"`backoff` is from 1 to 1,000, not {backoff}")
    jitter = retry.jitter if retry.HasField("jitter") else DEFAULT_RETRY.jitter
    if not 0 <= jitter <= 1:
        add((*path, "jitter"), f"`jitter` is a share from 0 to 1, not {jitter}")
    return RetryPlan(
        max_attempts=retry.max_attempts or DEFAULT_RETRY.max_attempts,
        initial_us=context.duration_us(retry.initial_interval, (*path, "initial_interval"), zero=True)
        if retry.HasField("initial_interval")
        else DEFAULT_RETRY.initial_us,
        backoff=backoff,
        max_interval_us=context.duration_us(retry.max_interval, (*path, "max_interval"), zero=True)
        if retry.HasField("max_interval")
        else DEFAULT_RETRY.max_interval_us,
        jitter=jitter,
        non_retryable=tuple(retry.non_retryable),
    )


def _error_rule(
    context: CompileContext, step: pb.Step, rule: pb.ErrorRule, scope: Scope, path: Ref, *, checked: bool
) -> ErrorRulePlan:
    match = tuple(rule.match)
    if not match:
        context.faults.add((*path, "match"), "`match` needs at least one failure type; `*` is any")
    action = rule.WhichOneof("action")
    match action:
        case "fallback":
            if not step.HasField("task"):
                context.faults.add((*path, "fallback"), "only a task can fall back to another handler")
            fallback = rule.fallback
            retry_path: Ref = (*path, "fallback", "retry")
            return ErrorRulePlan(
                match,
                action,
                handler=fallback.handler,
                queue=fallback.queue or step.task.queue or DEFAULT_QUEUE,
                retry=compile_retry(context, fallback.retry, retry_path)
                if fallback.HasField("retry")
                else DEFAULT_RETRY,
            )
        case "value":
            value = context.json_template(rule.value, scope, (*path, "value"), opened=checked)
            return ErrorRulePlan(match, action, value=value)
        case "review":
            review = rule.review
            deadline_path: Ref = (*path, "review", "deadline")
            return ErrorRulePlan(
                match,
                action,
                title=context.template(review.title, scope, (*path, "review", "title"), opened=True)
                if review.title
                else None,
                body=context.template(review.body, scope, (*path, "review", "body"), opened=True)
                if review.body
                else None,
                approvers=review.approvers if review.HasField("approvers") else None,
                deadline_us=context.duration_us(review.deadline, deadline_path)
                if review.HasField("deadline")
                else None,
            )
        case "fail":
            return ErrorRulePlan(match, action)
    context.faults.add(path, "a rule needs exactly one of fallback, value, review, fail")
    return ErrorRulePlan(match, "fail")


def compile_wait(context: CompileContext, wait: pb.WaitStep, scope: Scope, path: Ref) -> WaitPlan:
    """What a wait needs."""
    if scope.signals and wait.signal not in scope.signals:
        message = f"signal '{wait.signal}' is not declared in `signals`{did_you_mean(wait.signal, scope.signals)}"
        context.faults.add((*path, "signal"), message)
    schema = scope.schemas.get(("signals", wait.signal))
    numbers: NumberTypes = context.numbers
    typed = number_type(schema)
    if typed is not None:
        numbers = {**context.numbers, ("payload",): typed}
    return WaitPlan(
        signal=wait.signal,
        when=context.condition(wait.when, scope.with_payload(schema), (*path, "when"), numbers),
        timeout_us=context.duration_us(wait.timeout, (*path, "timeout")) if wait.HasField("timeout") else None,
    )


def compile_sleep(context: CompileContext, sleep: pb.SleepStep, scope: Scope, path: Ref) -> SleepPlan:
    """What a sleep needs."""
    match sleep.WhichOneof("until"):
        case "duration":
            return SleepPlan(context.duration_us(sleep.duration, (*path, "for"), zero=True), None)
        case "expression":
            until = context.template(sleep.expression, scope, (*path, "until"), opened=True)
            if until is not None and until.constant and not _is_moment(sleep.expression):
                message = (
                    f"'{sleep.expression[:60]}' is neither an RFC 3339 timestamp nor a duration; "
                    "an expression is written `${…}`"
                )
                context.faults.add((*path, "until"), message)
            return SleepPlan(None, until)
    context.faults.add(path, "a sleep needs exactly one of `for` and `until`")
    return SleepPlan(0, None)


def _is_moment(text: str) -> bool:
    try:
        parse_duration_us(text)
    except DurationError:
        try:
            return datetime.fromisoformat(text).tzinfo is not None
        except ValueError:
            return False
    return True
