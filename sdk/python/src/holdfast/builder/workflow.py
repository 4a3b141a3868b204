"""The builder: a workflow in code, which becomes the definition document that servers register."""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, TypedDict, TypeVar, Unpack

from holdfast.builder.expressions import Expression, Reference, steps_in, template
from holdfast.builder.settings import (
    Action,
    Approvers,
    Duration,
    ErrorRule,
    Escalation,
    Fallback,
    Join,
    Retry,
    Timeouts,
    duration,
    given,
    schema,
)
from holdfast.builder.steps import After, Condition, Gate, Step, check_upstream, condition, edges_of
from holdfast.converter import json_value
from holdfast.errors import DefinitionError
from holdfast.handlers import NAME, NO_INPUT, Handler, as_handler

__all__ = ["SignalReference", "StepOptions", "Workflow"]

WORD = re.compile(r"[a-z][a-z0-9_]{0,62}")
StepT = TypeVar("StepT", bound=Step)
AUTO = "auto"
"""Take the schema from the handler's types."""


class StepOptions(TypedDict, total=False):
    """What every kind of step takes.

    after: Steps that must succeed first, or edges that say more; none lets it start with the run.
    when: Condition of the edges that have none of their own.
    join: When a step with several edges starts; INCLUSIVE without.
    cleanup: Whether it is part of the `finally`.
    summary: One line for people.
    """

    after: After
    when: Condition | None
    join: Join | Literal["INCLUSIVE", "ALL", "FIRST"] | None
    cleanup: bool
    summary: str


class SignalReference:
    """A declared signal.

    Attributes:
        name: Its name.
        type: Type or JSON Schema of its payload; None for any.
        received: The signals of this name that nothing has taken yet, as expressions see them.
    """

    def __init__(self, name: str, type: Any) -> None:
        self.name = name
        self.type = type
        self.received = Reference(f"signals.{name}")


class Workflow:
    """A workflow under construction.

    ```python
    wf = Workflow("research-report", input=Question)
    plan = wf.task("plan", plan_queries, input={"question": wf.input.question})
    draft = wf.task("draft", write_draft, after=plan, input={"notes": plan.output})
    wf.output(draft.output)
    ```

    Steps are added in order: what a step comes after is there already, so there are no cycles. Everything is checked as
    it is written, as far as it can be known; the server checks the rest when the workflow is registered.

    Attributes:
        name: Name of the workflow.
        input: Its input, for expressions.
        run: The run, for expressions: `id`, `workflow`, `version`, `start_time`, `attributes`.
    """

    def __init__(
        self,
        name: str,
        *,
        input: Any = None,
        description: str = "",
        timeout: Duration | None = None,
        on_failure: Literal["FAIL_FAST", "FINISH_OTHERS"] | None = None,
        attributes: Mapping[str, Any] | None = None,
        retention: Duration | None = None,
    ) -> None:
        """Begin a workflow.

        Args:
            name: Its name.
            input: Type or JSON Schema of its input; None for any.
            description: What it is for.
            timeout: Longest time from start to end of a run; None for unlimited.
            on_failure: What an unhandled failure does to the other steps; None for FAIL_FAST.
            attributes: Attributes for search every run starts with; templates over `input` and `run`.
            retention: How long closed runs are kept before they are deleted; None for as long as the server says.

        Raises:
            DefinitionError: The name cannot be one.
        """
        if not NAME.fullmatch(name):
            raise DefinitionError(f"{name!r} is no name of a workflow: it does not match {NAME.pattern}")
        self.name = name
        self.input = Reference("input", type_=Any if input is None or isinstance(input, dict) else input)
        self.run = Reference("run")
        self._head = {"name": name, **given(description=description or None, input_schema=schema(input))}
        self._tail = given(
            on_failure=on_failure,
            timeout=duration(timeout),
            attributes=template(attributes) if attributes else None,
            retention=duration(retention),
        )
        self._steps: dict[str, Step] = {}
        self._signals: dict[str, SignalReference] = {}
        self._queries: dict[str, dict[str, Any]] = {}
        self._handlers: dict[Handler[..., Any] | Callable[..., Any], Handler[..., Any]] = {}

    def __repr__(self) -> str:
        return f"<workflow {self.name}, {len(self._steps)} steps>"

    @property
    def steps(self) -> Sequence[Step]:
        """The steps so far, in order."""
        return tuple(self._steps.values())

    @property
    def handlers(self) -> Sequence[Handler[..., Any]]:
        """The handlers that steps and their fallbacks name by function, each once: what a worker must serve."""
        return tuple(self._handlers.values())

    def task(  # noqa: PLR0913 - one for each choice of the contract
        self,
        name: str,
        handler: Handler[..., Any] | Callable[..., Any] | str,
        *,
        input: Any = None,
        queue: str | None = None,
        input_schema: Any = AUTO,
        output_schema: Any = AUTO,
        retry: Retry | None = None,
        timeouts: Timeouts | None = None,
        on_error: Sequence[ErrorRule] = (),
        **options: Unpack[StepOptions],
    ) -> Step:
        """Add a step that a worker does.

        Args:
            name: Name of the step.
            handler: The handler, or its name if its code is elsewhere.
            input: Template of its input.
            queue: Queue; None for the handler's own, else `default`.
            input_schema: Type or JSON Schema of the input; without it, what the handler's signature says; None for any.
            output_schema: Type or JSON Schema of the output, checked before it is committed; likewise.
            retry: Retry policy; None for the defaults.
            timeouts: Time limits; None for the defaults.
            on_error: What to do when the attempts are used up; the first rule that matches counts.
            options: What every kind of step takes; see `StepOptions`.

        Raises:
            DefinitionError: A name is taken or malformed, or an expression names what is not upstream.
        """
        known = None if isinstance(handler, str) else self._known(handler)
        output_type = known.output_type if known is not None else Any
        if input_schema == AUTO:
            input_schema = known.input_schema if known is not None and _takes(known, input) else None
        if output_schema == AUTO:
            output_schema = known.output_schema if known is not None else None
        elif not isinstance(output_schema, (dict, bool)) and output_schema is not None:
            output_type = output_schema
        queue = queue or (known.queue if known is not None else None)
        task = {"handler": known.name if known is not None else handler, **given(queue=queue)}
        body = given(
            input=template(input),
            input_schema=schema(input_schema),
            output_schema=schema(output_schema),
            retry=retry.document() if retry is not None else None,
            timeouts=timeouts.document() if timeouts is not None else None,
            on_error=[rule.document() for rule in on_error] or None,
        )
        step = self._add(Step, name, {"task": task, **body}, output_type, [input, *on_error], options)
        fallbacks = [rule.handler for rule in on_error if isinstance(rule, Fallback)]
        for function in (handler, *fallbacks):
            if not isinstance(function, str):
                self._handlers[function] = self._known(function)
        return step

    def gate(  # noqa: PLR0913 - one for each choice of the contract
        self,
        name: str,
        *,
        title: Any,
        body: Any = None,
        input: Any = None,
        action: Action | None = None,
        decisions: Sequence[Literal["APPROVE", "REJECT", "EDIT", "RESPOND", "DELEGATE"]] = (),
        response: Any = None,
        approvers: Approvers | None = None,
        quorum: int | None = None,
        veto: bool | None = None,
        deadline: Duration | None = None,
        on_deadline: Literal["FAIL", "REJECT", "APPROVE", "ESCALATE"] | None = None,
        escalation: Escalation | None = None,
        fail_on_reject: bool = False,
        **options: Unpack[StepOptions],
    ) -> Gate:
        """Add a step that waits for people.

        Args:
            name: Name of the step.
            title: Title template; an f-string with expressions will do.
            body: Markdown template of what is shown.
            input: Template of what is proposed; with EDIT among the decisions people may change it.
            action: What will be done when it is approved.
            decisions: Decisions allowed; none for APPROVE and REJECT.
            response: Type or JSON Schema of the payload of APPROVE and RESPOND; None for any.
            approvers: Who may decide; None for anyone who may approve.
            quorum: Distinct approvals needed; None for 1.
            veto: Whether a single REJECT rejects; None for yes.
            deadline: Longest time it stays open; None for unlimited.
            on_deadline: What the deadline does; None for FAIL.
            escalation: For ESCALATE: who decides then.
            fail_on_reject: Whether a rejection is the failure `Rejected` instead of an outcome that edges route.
            options: What every kind of step takes; see `StepOptions`.

        Raises:
            DefinitionError: A name is taken or malformed, or an expression names what is not upstream.
        """
        gate = {
            "title": template(title),
            **given(
                body=template(body),
                action=action.document() if action is not None else None,
                decisions=list(decisions) or None,
                response_schema=schema(response),
                approvers=approvers.document() if approvers is not None else None,
                quorum=quorum,
                veto=veto,
                deadline=duration(deadline),
                on_deadline=on_deadline,
                escalation=escalation.document() if escalation is not None else None,
                fail_on_reject=fail_on_reject or None,
            ),
        }
        response_type = Any if response is None or isinstance(response, (dict, bool)) else response
        document = {"gate": gate, **given(input=template(input))}
        # An f-string has turned its expressions into text, which the server checks.
        return self._add(Gate, name, document, response_type, [title, body, input, action], options)

    def wait(
        self,
        name: str,
        signal: SignalReference | str,
        *,
        match: Condition | None = None,
        timeout: Duration | None = None,
        input: Any = None,
        on_error: Sequence[ErrorRule] = (),
        **options: Unpack[StepOptions],
    ) -> Step:
        """Add a step that takes the next matching signal; its output is the signal's payload.

        Args:
            name: Name of the step.
            signal: The signal, declared by `signal`, or its name.
            match: Condition that a signal must meet, in which `holdfast.builder.payload` is its payload.
            timeout: Longest wait; then the failure `Timeout.Wait`.
            input: Template of what readers are shown.
            on_error: What to do when it fails; the first rule that matches counts.
            options: What every kind of step takes; see `StepOptions`.

        Raises:
            DefinitionError: A name is taken or malformed, or an expression names what is not upstream.
        """
        type_ = signal.type if isinstance(signal, SignalReference) else None
        wait = {
            "signal": signal.name if isinstance(signal, SignalReference) else signal,
            **given(when=condition(match) if match is not None else None, timeout=duration(timeout)),
        }
        document = {
            "wait": wait,
            **given(input=template(input), on_error=[rule.document() for rule in on_error] or None),
        }
        output_type = Any if type_ is None or isinstance(type_, (dict, bool)) else type_
        return self._add(Step, name, document, output_type, [match, input, *on_error], options)

    def sleep(self, name: str, until: Duration | Expression | datetime, **options: Unpack[StepOptions]) -> Step:
        """Add a step that lets time pass.

        Args:
            name: Name of the step.
            until: How long, or until when; an expression may say either.
            options: What every kind of step takes; see `StepOptions`.

        Raises:
            DefinitionError: A name is taken or malformed, or an expression names what is not upstream.
        """
        if isinstance(until, Expression):
            sleep = {"until": template(until)}
        elif isinstance(until, datetime):
            if until.tzinfo is None:
                raise DefinitionError(f"{until.isoformat()} has no time zone")
            sleep = {"until": until.isoformat()}
        else:
            sleep = {"for": duration(until)}
        return self._add(Step, name, {"sleep": sleep}, None, [until], options)

    def compute(
        self, name: str, value: Any, *, on_error: Sequence[ErrorRule] = (), **options: Unpack[StepOptions]
    ) -> Step:
        """Add a step whose output is a template, evaluated by the server.

        Args:
            name: Name of the step.
            value: The template.
            on_error: What to do when it fails; the first rule that matches counts.
            options: What every kind of step takes; see `StepOptions`.

        Raises:
            DefinitionError: A name is taken or malformed, or an expression names what is not upstream.
        """
        document = {
            "compute": {},
            "input": template(value),
            **given(on_error=[rule.document() for rule in on_error] or None),
        }
        return self._add(Step, name, document, Any, [value, *on_error], options)

    def signal(self, name: str, type: Any = None) -> SignalReference:
        """Declare a signal; once any is declared, others are refused.

        Args:
            name: Its name.
            type: Type or JSON Schema of its payload; None for any.
        """
        _check_word("signal", name, self._signals)
        self._signals[name] = SignalReference(name, type)
        return self._signals[name]

    def query(self, name: str, expression: Condition, type: Any = None) -> None:
        """Name an expression that readers can ask for at any time.

        Args:
            name: Name of the query.
            expression: The expression, over all steps.
            type: Type or JSON Schema of the answer, for readers.
        """
        _check_word("query", name, self._queries)
        self._check_known(expression)
        self._queries[name] = {"name": name, "expression": condition(expression), **given(schema=schema(type))}

    def output(self, value: Any, type: Any = None) -> None:
        """Say what the run's output is.

        Args:
            value: Its template, over all steps.
            type: Type or JSON Schema of it; None for any.
        """
        self._check_known(value)
        self._tail["output"] = template(value)
        self._tail.update(given(output_schema=schema(type)))

    def document(self) -> dict[str, Any]:
        """Return the definition document.

        Raises:
            DefinitionError: There are no steps.
        """
        if not self._steps:
            raise DefinitionError(f"workflow {self.name!r} has no steps")
        signals = [{"name": s.name, **given(schema=schema(s.type))} for s in self._signals.values()]
        return {
            **self._head,
            **given(signals=signals or None, queries=list(self._queries.values()) or None),
            "steps": [step.document() for step in self._steps.values()],
            **self._tail,
        }

    def json(self) -> str:
        """Return the definition document as JSON text."""
        return json_value(self.document()).json

    def _add(
        self,
        kind: Callable[[str, dict[str, Any], frozenset[str], Any], StepT],
        name: str,
        document: dict[str, Any],
        output_type: Any,
        expressions: Sequence[Any],
        options: StepOptions,
    ) -> StepT:
        _check_word("step", name, self._steps)
        edges = edges_of(name, options.get("after", ()), options.get("when"))
        foreign = [edge.step.name for edge in edges if self._steps.get(edge.step.name) is not edge.step]
        if foreign:
            raise DefinitionError(f"step {name!r} comes after {', '.join(foreign)}, of another workflow")
        upstream = frozenset().union(*({edge.step.name} | edge.step.upstream for edge in edges))
        check_upstream(name, upstream, *expressions)
        join = options.get("join")
        if isinstance(join, str):
            join = Join(join)
        head = given(
            name=name,
            summary=options.get("summary"),
            after=[edge.document() for edge in edges] or None,
            join=join.document() if join is not None else None,
            cleanup=options.get("cleanup") or None,
        )
        step = kind(name, {**head, **document}, upstream, output_type)
        self._steps[name] = step
        return step

    def _known(self, function: Handler[..., Any] | Callable[..., Any]) -> Handler[..., Any]:
        """Return a function as a handler, the same one each time."""
        return self._handlers.get(function) or as_handler(function)

    def _check_known(self, value: Any) -> None:
        unknown = steps_in(value) - self._steps.keys()
        if unknown:
            raise DefinitionError(f"workflow {self.name!r} has no step {', '.join(sorted(unknown))}")


def _takes(handler: Handler[..., Any], input: Any) -> bool:
    """Return whether the handler's schema holds for the input: its own default may stand in for none."""
    return handler.input_type is not NO_INPUT and (input is not None or not handler.has_default)


def _check_word(what: str, name: str, taken: Mapping[str, Any]) -> None:
    if not WORD.fullmatch(name):
        raise DefinitionError(f"{name!r} is no name of a {what}: it does not match {WORD.pattern}")
    if name in taken:
        raise DefinitionError(f"there is a {what} {name!r} already")
