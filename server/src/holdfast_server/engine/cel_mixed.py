"""Arithmetic between int and double, by rewriting the tree of an expression.

CEL has no `1 * 0.5`. JSON does not tell 1 from 1.0, so with CEL alone an expression would work or fail by how a
producer happened to write a number. CEL could be given functions for it, but those of the binding lose memory at every
call. So an expression that met such a pair is rewritten once: every `l + r` becomes the same with both made double
where one is an int and the other a double.
"""

from functools import cache
from typing import Any, Final

from cel_expr_python import cel
from google.protobuf import any_pb2

from holdfast_server.engine.cel_ast import ACCUMULATORS, CheckedExpr, read_tree

__all__ = ["allow_mixed"]

_TYPE_URL: Final = "type.googleapis.com/cel.expr.CheckedExpr"
_OPERATORS: Final = {"_+_": "+", "_-_": "-", "_*_": "*", "_/_": "/"}
_CONFIG: Final = """
extensions:
  - name: bindings
variables:
  - {name: LEFT, type_name: dyn}
  - {name: RIGHT, type_name: dyn}
"""
_FORM: Final = (
    "cel.bind(__left, LEFT, cel.bind(__right, RIGHT,"
    " (type(__left) == int && type(__right) == double) || (type(__left) == double && type(__right) == int)"
    " ? double(__left) {0} double(__right) : __left {0} __right))"
)


@cache
def _form(operator: str) -> Any:
    """The tree of one operator, with the names LEFT and RIGHT where its operands go."""
    environment = cel.NewEnv(config=cel.NewEnvConfigFromYaml(_CONFIG))
    return read_tree(environment.compile(_FORM.format(_OPERATORS[operator])).serialize())


def allow_mixed(serialized: bytes) -> bytes:
    """The serialized form of an expression whose arithmetic takes an int and a double.

    Raises:
        ValueError: it is nested too deeply to be rewritten.
    """
    tree = read_tree(serialized)
    _Rewrite(tree).visit(tree.expr)
    return any_pb2.Any(type_url=_TYPE_URL, value=tree.SerializeToString()).SerializeToString()


class _Rewrite:
    """Rewrites one tree in place."""

    def __init__(self, tree: Any) -> None:
        self._tree = tree
        self._next_id = 1 + max(_ids(tree.expr))

    def visit(self, node: Any) -> None:
        for inner in _children(node):
            self.visit(inner)
        if not hasattr(node, "call_expr") or not node.HasField("call_expr"):
            return
        call = node.call_expr
        if call.function in _OPERATORS and len(call.args) == 2 and not _collects(call):  # noqa: PLR2004 - left, right
            self._replace(node, call.function)

    def _replace(self, node: Any, operator: str) -> None:
        form = _form(operator)
        made = CheckedExpr()
        made.expr.CopyFrom(form.expr)
        outer = made.expr.comprehension_expr
        inner = outer.result.comprehension_expr
        base = self._next_id
        self._next_id = base + 1 + _renumber(made.expr, base)
        outer.accu_init.CopyFrom(node.call_expr.args[0])
        inner.accu_init.CopyFrom(node.call_expr.args[1])
        for entry in form.reference_map:
            added = self._tree.reference_map.add()
            added.CopyFrom(entry)
            added.key += base
        node.CopyFrom(made.expr)


def _collects(call: Any) -> bool:
    return call.args[0].ident_expr.name in ACCUMULATORS


def _children(node: Any) -> list[Any]:
    """The messages right inside of a message."""
    found: list[Any] = []
    for field, value in node.ListFields():
        if field.message_type is not None:
            found.extend(value if field.is_repeated else [value])
    return found


def _ids(node: Any) -> list[int]:
    found = [getattr(node, "id", 0)]
    for inner in _children(node):
        found += _ids(inner)
    return found


def _renumber(node: Any, base: int) -> int:
    """Add `base` to all ids; the largest id there was before."""
    largest = 0
    if getattr(node, "id", 0):
        largest = node.id
        node.id += base
    return max([largest, *(_renumber(inner, base) for inner in _children(node))])
