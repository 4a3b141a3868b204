"""From the message of a definition to the plan the engine walks, or to all of the definition's faults at once."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final

from holdfast.v1 import definition_pb2 as pb
from holdfast.v1.payload_pb2 import JsonValue
from holdfast_server.engine.compile_context import CompileContext
from holdfast_server.engine.compile_gate import compile_gate
from holdfast_server.engine.compile_steps import (
    DEFAULT_QUEUE,
    KINDS,
    StepParts,
    check_fields,
    compile_parts,
    compile_sleep,
    compile_wait,
)
from holdfast_server.engine.expressions import Expression, ExpressionError, Template, compile_expression
from holdfast_server.engine.faults import DefinitionFaultsError, Fault, did_you_mean
from holdfast_server.engine.graph_checks import Graph
from holdfast_server.engine.names import ROOTS, Ref
from holdfast_server.engine.number_types import NumberType, as_members, number_type
from holdfast_server.engine.plan import RUN, BlockPlan, EdgePlan, Plan, StepPlan
from holdfast_server.engine.schemas import Schema
from holdfast_server.engine.scopes import Scope, reference_faults

__all__ = ["EDGES_MAX", "STEPS_MAX", "DefinitionFaultsError", "Fault", "compile_plan", "compile_query"]

STEPS_MAX: Final = 1_000
EDGES_MAX: Final = 256
RESERVED: Final = frozenset({"in", "null", "true", "false"})
"""Words CEL refuses as names of members."""
_STEP_ROOTS: Final = frozenset(ROOTS) - {"payload"}
_START_ROOTS: Final = frozenset({"input", "run"})


def compile_plan(definition: pb.WorkflowDefinition, version: int, definition_hash: bytes) -> Plan:
    """Compile a definition.

    Args:
        definition: the message; names are known to be well-formed.
        version: number of the version.
        definition_hash: SHA-256 of the canonical document.

    Raises:
        DefinitionFaultsError: with all faults.
    """
    return _Compilation(definition).plan(version, definition_hash)


def compile_query(plan: Plan, text: str) -> Expression:
    """Compile a query that the definition does not name.

    Raises:
        ExpressionError: it does not compile, or names something the workflow does not have.
    """
    compiled = compile_expression(text, plan.numbers)
    faults = reference_faults(compiled.refs, plan.scope)
    if faults:
        raise ExpressionError(text, "; ".join(faults))
    return compiled


class _Compilation:
    """One definition on its way to a plan."""

    def __init__(self, definition: pb.WorkflowDefinition) -> None:
        self._definition = definition
        self._steps: Sequence[pb.Step] = definition.block.steps
        self._context = CompileContext()
        self._faults = self._context.faults
        self._schemas: dict[Ref, Schema] = {}
        self._by_name: dict[str, int] = {}
        self._uncertain = 0
        """Steps with a faulty edge: what is upstream of them is not known."""

    def plan(self, version: int, definition_hash: bytes) -> Plan:
        definition, context = self._definition, self._context
        self._count()
        self._name_steps()
        input_schema = self._schema(definition, "input_schema", ("input_schema",))
        output_schema = self._schema(definition, "output_schema", ("output_schema",))
        if input_schema is not None:
            self._schemas[("input",)] = input_schema
            self._type(("input",), number_type(input_schema))
        signals = self._signals()
        schemas = [self._step_schemas(index, step) for index, step in enumerate(self._steps)]
        scope = self._run_scope(frozenset(signals))
        edges, graph = self._graph()
        block = self._block(scope, edges, graph, schemas)
        context.readers = (RUN,)
        output = self._optional(definition, "output", scope, opened=output_schema is not None)
        context.readers = ()  # what attributes look into is at hand when a run starts
        plan = Plan(
            workflow=definition.name,
            version=version,
            definition_hash=definition_hash,
            input_schema=input_schema,
            block=block,
            output=output,
            output_schema=output_schema,
            queries=self._queries(scope),
            signals=signals,
            timeout_us=context.duration_us(definition.timeout, ("timeout",))
            if definition.HasField("timeout")
            else None,
            retention_us=context.duration_us(definition.retention, ("retention",))
            if definition.HasField("retention")
            else 0,
            attributes=self._attributes(scope),
            deep_refs=self._deep_refs(),
            looks_into_signals=any(("signals",) in heads for heads in context.heads.values())
            or any(self._opens_signal(step) for step in self._steps),
            scope=scope,
            numbers=context.numbers,
        )
        self._faults.raise_any()
        return plan

    def _count(self) -> None:
        if not self._steps:
            self._faults.add(("steps",), "a workflow needs at least one step")
        if len(self._steps) > STEPS_MAX:
            message = f"there are {len(self._steps):,} steps, the limit is {STEPS_MAX:,}; split the workflow"
            self._faults.add(("steps",), message)

    def _name_steps(self) -> None:
        for index, step in enumerate(self._steps):
            self._check_name(step.name, self._by_name, ("steps", index, "name"), "step")
            self._by_name.setdefault(step.name, index)

    def _check_name(self, name: str, taken: Iterable[str], path: Ref, what: str) -> None:
        if name in RESERVED:
            self._faults.add(path, f"'{name}' is a word of CEL and cannot name a {what}")
        elif name in taken:
            self._faults.add(path, f"there is another {what} '{name}'; names are unique")

    def _schema(self, owner: pb.WorkflowDefinition | pb.Step, name: str, path: Ref) -> Schema | None:
        value: JsonValue = getattr(owner, name)
        return self._context.schema(value, path) if owner.HasField(name) else None  # type: ignore[arg-type] # a field

    def _type(self, head: Ref, typed: NumberType | None) -> None:
        if typed is not None:
            self._context.numbers[head] = typed

    def _signals(self) -> dict[str, Schema | None]:
        found: dict[str, Schema | None] = {}
        for index, signal in enumerate(self._definition.signals):
            path: Ref = ("signals", index)
            self._check_name(signal.name, found, (*path, "name"), "signal")
            schema = self._context.schema(signal.schema, (*path, "schema")) if signal.HasField("schema") else None
            found[signal.name] = schema
            if schema is not None:
                self._schemas[("signals", signal.name)] = schema
                typed = number_type(schema)
                self._type(("signals", signal.name), None if typed is None else NumberType(items=typed))
        return found

    def _step_schemas(self, index: int, step: pb.Step) -> tuple[Schema | None, Schema | None]:
        """The schemas of a step's input and output; the latter also tells what expressions find in its output."""
        path: Ref = ("steps", index)
        given = self._schema(step, "input_schema", (*path, "input_schema"))
        made = self._schema(step, "output_schema", (*path, "output_schema"))
        head: Ref = ("steps", step.name, "output")
        if step.HasField("gate"):
            # The schema is that of the decision's payload, one member of a gate's output.
            self._type(head, as_members({"payload": number_type(made)}))
            return given, made
        seen = made
        if seen is None and step.HasField("wait"):
            seen = self._schemas.get(("signals", step.wait.signal))
        if seen is not None:
            self._schemas[head] = seen
            self._type(head, number_type(seen))
        return given, made

    def _run_scope(self, signals: frozenset[str]) -> Scope:
        kinds = {step.name: step.WhichOneof("kind") or "" for step in self._steps}
        return Scope(kinds, self._by_name, None, "", "the run", _STEP_ROOTS, signals, self._schemas)

    def _graph(self) -> tuple[list[list[tuple[int, int]]], Graph]:
        """For each step (position in `after`, source) of its sound edges, and the graph they make."""
        edges = [self._edges(index, step) for index, step in enumerate(self._steps)]
        graph = Graph([[source for _, source in one] for one in edges])
        for circle in graph.cycles():
            names = [self._steps[step].name for step in circle]
            first = circle[0]
            position = next(place for place, source in edges[first] if source == circle[-1])
            message = f"the edges make a cycle: {' → '.join([*names, names[0]])}; steps of a block must have an order"
            self._faults.add(("steps", first, "after", position), message)
        return edges, graph

    def _edges(self, index: int, step: pb.Step) -> list[tuple[int, int]]:
        path: Ref = ("steps", index, "after")
        if len(step.after) > EDGES_MAX:
            self._faults.add(path, f"there are {len(step.after):,} edges, the limit is {EDGES_MAX}")
        sound: list[tuple[int, int]] = []
        listed: set[tuple[str, int, str]] = set()
        for position, edge in enumerate(step.after):
            where: Ref = (*path, position, "step")
            source = self._by_name.get(edge.step)
            written = (edge.step, edge.on, edge.when)
            if written in listed:
                self._faults.add((*path, position), f"the same edge from '{edge.step}' is listed twice")
            elif source is None:
                others = [name for name in self._by_name if name != step.name]
                self._faults.add(where, f"unknown step '{edge.step}'{did_you_mean(edge.step, others)}")
                self._uncertain |= 1 << index
            elif source == index:
                self._faults.add(where, f"step '{step.name}' cannot come after itself")
            else:
                sound.append((position, source))
            listed.add(written)
        self._join(step, ("steps", index, "join"))
        return sound

    def _join(self, step: pb.Step, path: Ref) -> None:
        if not step.HasField("join"):
            return
        join, edges = step.join, len(step.after)
        if not edges:
            self._faults.add(path, "there is nothing to join: the step has no `after`")
            return
        if join.mode == pb.JOIN_MODE_QUORUM:
            if not join.count:
                self._faults.add(path, f"`mode: QUORUM` needs a `count`, from 1 to the number of edges, {edges}")
            elif not 1 <= join.count <= edges:
                message = f"`count` is from 1 to the number of edges, {edges}, not {join.count}"
                self._faults.add((*path, "count"), message)
        elif join.count:
            self._faults.add((*path, "count"), "it is for `mode: QUORUM`")
        if join.cancel_others and join.mode not in (pb.JOIN_MODE_FIRST, pb.JOIN_MODE_QUORUM):
            self._faults.add((*path, "cancel_others"), "it is for `mode: FIRST` and `mode: QUORUM`")

    def _block(
        self,
        scope: Scope,
        edges: list[list[tuple[int, int]]],
        graph: Graph,
        schemas: list[tuple[Schema | None, Schema | None]],
    ) -> BlockPlan:
        upstream = graph.upstream()
        exclusive = {
            index: graph.exclusive(index)
            for index in graph.order
            if self._steps[index].join.mode in (pb.JOIN_MODE_FIRST, pb.JOIN_MODE_QUORUM)
        }
        covering: list[list[int]] = [[] for _ in self._steps]
        for join, sources in exclusive.items():
            for source in sources:
                covering[source].append(join)
        seen = [self._scope(scope, index, upstream[index]) for index in range(len(self._steps))]
        after = [self._edge_plans(index, edges[index], seen, upstream) for index in range(len(self._steps))]
        steps = tuple(
            self._step(
                index,
                seen[index],
                after[index],
                graph.targets[index],
                exclusive.get(index, frozenset()),
                tuple(covering[index]),
                schemas[index],
            )
            for index in range(len(self._steps))
        )
        return BlockPlan(
            steps=steps,
            by_name=self._by_name,
            entries=tuple(index for index, step in enumerate(self._steps) if not step.after),
            order=graph.order,
            fail_fast=self._definition.block.on_failure != pb.ON_FAILURE_FINISH_OTHERS,
        )

    def _scope(self, scope: Scope, index: int, upstream: int, *, itself: bool = False) -> Scope:
        """What a step may name; everything when an edge on the way is faulty, so that one fault does not make more."""
        step = self._steps[index]
        reach = upstream | 1 << index
        visible = None if reach & self._uncertain else reach if itself else upstream
        place = f"'{step.name}', from which this edge comes" if itself else f"'{step.name}'"
        return replace(scope, visible=visible, reader="" if itself else step.name, place=place)

    def _edge_plans(
        self, index: int, edges: list[tuple[int, int]], seen: list[Scope], upstream: tuple[int, ...]
    ) -> tuple[EdgePlan, ...]:
        plans: list[EdgePlan] = []
        for position, source in edges:
            edge = self._steps[index].after[position]
            when = None
            if edge.when:
                # An edge is judged when its source is finished: it knows the source and what is upstream of that.
                scope = self._scope(seen[source], source, upstream[source], itself=True)
                path: Ref = ("steps", index, "after", position, "when")
                self._context.readers = (source, index)
                when = self._context.condition(edge.when, scope, path)
            plans.append(EdgePlan(source, edge.on or pb.EDGE_ON_SUCCEEDED, when))
        return tuple(plans)

    def _step(
        self,
        index: int,
        scope: Scope,
        after: tuple[EdgePlan, ...],
        out: tuple[tuple[int, int], ...],
        exclusive: frozenset[int],
        covering: tuple[int, ...],
        schemas: tuple[Schema | None, Schema | None],
    ) -> StepPlan:
        step, context = self._steps[index], self._context
        context.readers = (index,)
        path: Ref = ("steps", index)
        kind = step.WhichOneof("kind")
        parts = StepParts()
        if kind is None:
            self._faults.add(path, f"a step needs exactly one of {', '.join(KINDS)}")
        else:
            check_fields(context, step, kind, path)
            parts = compile_parts(context, step, scope, path, schemas[0], checked=schemas[1] is not None)
        mode = step.join.mode or pb.JOIN_MODE_INCLUSIVE
        counts = {pb.JOIN_MODE_FIRST: 1, pb.JOIN_MODE_QUORUM: step.join.count}
        return StepPlan(
            index=index,
            name=step.name,
            kind=kind or "",
            summary=step.summary,
            after=after,
            out=out,
            join_mode=mode,
            join_count=counts.get(mode, 0),
            cancel_others=step.join.cancel_others,
            cleanup=step.cleanup,
            input=parts.input,
            input_schema=schemas[0],
            output_schema=schemas[1],
            on_error=parts.on_error,
            exclusive_sources=exclusive,
            covering_joins=covering,
            handler=step.task.handler,
            queue=(step.task.queue or DEFAULT_QUEUE) if kind == "task" else "",
            retry=parts.retry,
            schedule_to_start_us=parts.schedule_to_start_us,
            start_to_close_us=parts.start_to_close_us,
            schedule_to_close_us=parts.schedule_to_close_us,
            heartbeat_us=parts.heartbeat_us,
            gate=compile_gate(context, step, scope, (*path, "gate")) if kind == "gate" else None,
            wait=compile_wait(context, step.wait, scope, (*path, "wait")) if kind == "wait" else None,
            sleep=compile_sleep(context, step.sleep, scope, (*path, "sleep")) if kind == "sleep" else None,
            looks_into=tuple(context.heads[index]),
        )

    def _deep_refs(self) -> dict[tuple[str, ...], tuple[int, ...]]:
        found: dict[tuple[str, ...], tuple[int, ...]] = {}
        for reader, heads in self._context.heads.items():
            for head in heads:
                if head[0] != "signals":
                    found[head] = (*found.get(head, ()), reader)
        return found

    def _optional(self, definition: pb.WorkflowDefinition, name: str, scope: Scope, *, opened: bool) -> Template | None:
        if not definition.HasField(name):  # type: ignore[arg-type] # a field
            return None
        return self._context.json_template(getattr(definition, name), scope, (name,), opened=opened)

    def _queries(self, scope: Scope) -> dict[str, Expression]:
        found: dict[str, Expression] = {}
        for index, query in enumerate(self._definition.queries):
            path: Ref = ("queries", index)
            self._check_name(query.name, found, (*path, "name"), "query")
            if query.HasField("schema"):
                self._context.schema(query.schema, (*path, "schema"))
            compiled = self._context.expression(query.expression, scope, (*path, "expression"))
            if compiled is not None:
                found[query.name] = compiled
        return found

    def _attributes(self, scope: Scope) -> dict[str, Template]:
        found: dict[str, Template] = {}
        for name, value in self._definition.attributes.items():
            path: Ref = ("attributes", name)
            self._check_name(name, (), path, "attribute")
            template = self._context.json_template(value, replace(scope, roots=_START_ROOTS), path, opened=True)
            if template is not None:
                found[name] = template
        return found

    @staticmethod
    def _opens_signal(step: pb.Step) -> bool:
        return step.HasField("wait") and bool(step.wait.when or step.HasField("output_schema"))
