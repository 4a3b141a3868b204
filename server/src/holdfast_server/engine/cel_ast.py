"""The syntax tree of a compiled CEL expression, and what can be known from it: the paths it names, how it can grow.

CEL hands its tree out as `cel.expr.CheckedExpr`. Only the fields that are read are declared here, in a pool of their
own, so that they can never clash with another package's copy of those protos.
"""

from dataclasses import dataclass, field
from typing import Any, Final

from google.protobuf import any_pb2, descriptor_pb2, descriptor_pool, message, message_factory

from holdfast_server.engine.cel_work import Loop, Use, Uses
from holdfast_server.engine.names import ROOTS, Ref
from holdfast_server.engine.schema_work import written_out

__all__ = ["ACCUMULATORS", "Anatomy", "CheckedExpr", "anatomy", "read_tree"]

# name of the message: {field: (number, type)}; a type that ends in `*` is repeated.
_MESSAGES: Final[dict[str, dict[str, tuple[int, str]]]] = {
    "CheckedExpr": {"reference_map": (2, "ReferenceEntry*"), "expr": (4, "Expr")},
    "ReferenceEntry": {"key": (1, "int64"), "value": (2, "Reference")},
    "Reference": {"name": (1, "string")},
    "Expr": {
        "id": (2, "int64"),
        "const_expr": (3, "Constant"),
        "ident_expr": (4, "Ident"),
        "select_expr": (5, "Select"),
        "call_expr": (6, "Call"),
        "list_expr": (7, "CreateList"),
        "struct_expr": (8, "CreateStruct"),
        "comprehension_expr": (9, "Comprehension"),
    },
    "Constant": {"string_value": (6, "string")},
    "Ident": {"name": (1, "string")},
    "Select": {"operand": (1, "Expr"), "field": (2, "string"), "test_only": (3, "bool")},
    "Call": {"target": (1, "Expr"), "function": (2, "string"), "args": (3, "Expr*")},
    "CreateList": {"elements": (1, "Expr*")},
    "CreateStruct": {"entries": (2, "Entry*")},
    "Entry": {"id": (1, "int64"), "map_key": (3, "Expr"), "value": (4, "Expr")},
    "Comprehension": {
        "iter_var": (1, "string"),
        "iter_range": (2, "Expr"),
        "accu_var": (3, "string"),
        "accu_init": (4, "Expr"),
        "loop_condition": (5, "Expr"),
        "loop_step": (6, "Expr"),
        "result": (7, "Expr"),
        "iter_var2": (8, "string"),
    },
}
_SCALARS: Final = {
    "bool": descriptor_pb2.FieldDescriptorProto.TYPE_BOOL,
    "int64": descriptor_pb2.FieldDescriptorProto.TYPE_INT64,
    "string": descriptor_pb2.FieldDescriptorProto.TYPE_STRING,
}
_PACKAGE: Final = "holdfast.cel"
_INDEX: Final = frozenset({"_[_]", "_[?_]"})
_OPTIONAL_SELECT: Final = "_?._"
_SEARCH: Final = "matches"
_SEARCH_WORK: Final = 4
"""Searching a text costs so many times the parts of the regular expression what looking at the text does."""
_UNKNOWN_PATTERN: Final = 1_000
"""Parts of a regular expression that is not written out."""
ACCUMULATORS: Final = frozenset({"@result", "__result__"})
"""The variables macros collect in, by version of CEL; no author can write the first."""


def _checked_expr_class() -> type[Any]:
    # proto2 keeps what is set to 0 or "", as the members of CEL's oneofs must be.
    file = descriptor_pb2.FileDescriptorProto(name="holdfast/cel.proto", package=_PACKAGE, syntax="proto2")
    for message_name, fields in _MESSAGES.items():
        declared = file.message_type.add(name=message_name)
        for field_name, (number, kind) in fields.items():
            one = declared.field.add(name=field_name, number=number)
            one.label = one.LABEL_REPEATED if kind.endswith("*") else one.LABEL_OPTIONAL
            kind = kind.rstrip("*")  # noqa: PLW2901 - the star has been read
            if kind in _SCALARS:
                one.type = _SCALARS[kind]
            else:
                one.type = one.TYPE_MESSAGE
                one.type_name = f".{_PACKAGE}.{kind}"
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.CheckedExpr"))


CheckedExpr: Final = _checked_expr_class()


@dataclass(slots=True)
class Anatomy:
    """What the syntax tree says."""

    refs: list[Ref] = field(default_factory=list)
    """Paths named, without those that a shorter one covers, in the order of the text."""
    builds: bool = False
    """A macro collects values (`map`, `filter`, `optMap`), not only a yes or no."""
    expansion: int = 1
    """How often a value can come to stand in the result: the product over all such macros of the uses of their
    variable."""
    nesting: int = 0
    """Macros inside each other."""
    joins: bool = False
    """`+` occurs inside a macro."""
    literal_items: int = 0
    """Length of the longest list or map written out."""
    looks: Uses = field(default_factory=Uses)
    """What it looks at, and in which macros."""


def read_tree(serialized: bytes) -> Any:
    """The tree of a compiled expression in its serialized form.

    Raises:
        ValueError: it is nested too deeply to be read.
    """
    packed = any_pb2.Any.FromString(serialized)
    try:
        return CheckedExpr.FromString(packed.value)
    except message.DecodeError as error:
        raise ValueError("the expression is nested too deeply") from error


def anatomy(serialized: bytes) -> Anatomy:
    """Read the serialized form of a compiled expression.

    Raises:
        ValueError: it is nested too deeply to be read.
    """
    walk = _Walk()
    walk.visit(read_tree(serialized).expr, frozenset(), 0)
    walk.found.refs = _shortest(walk.found.refs)
    return walk.found


def _shortest(refs: list[Ref]) -> list[Ref]:
    unique = list(dict.fromkeys(refs))
    return [ref for ref in unique if not any(ref[:length] in unique for length in range(1, len(ref)))]


class _Walk:
    """One pass over a tree."""

    def __init__(self) -> None:
        self.found = Anatomy()
        self.uses: dict[str, int] = {}
        self.around: int | None = None
        """The macro that is visited."""
        self.loops: dict[str, int] = {}
        """The macros by their variables."""
        self.weight = 1

    def visit(self, node: Any, bound: frozenset[str], depth: int) -> None:
        """Collect from `node`; `bound` are the variables of the macros around it, `depth` their number."""
        path = self._path(node, bound, depth)
        if path is not None:
            self._name(path, bound)
            return
        match _kind(node):
            case "select_expr":
                self.visit(node.select_expr.operand, bound, depth)
            case "call_expr":
                self._call(node.call_expr, bound, depth)
            case "list_expr":
                self.found.literal_items = max(self.found.literal_items, len(node.list_expr.elements))
                for element in node.list_expr.elements:
                    self.visit(element, bound, depth)
            case "struct_expr":
                self.found.literal_items = max(self.found.literal_items, len(node.struct_expr.entries))
                for entry in node.struct_expr.entries:
                    if entry.HasField("map_key"):
                        self.visit(entry.map_key, bound, depth)
                    self.visit(entry.value, bound, depth)
            case "comprehension_expr":
                self._macro(node.comprehension_expr, bound, depth)

    def _name(self, path: Ref, bound: frozenset[str]) -> None:
        root = str(path[0])
        if root in bound:
            self.uses[root] = self.uses.get(root, 0) + 1
            if root in self.loops:
                self.found.looks.uses.append(Use(self.loops[root], self.around, self.weight))
        elif root.removeprefix(".") in ROOTS:
            ref = (root.removeprefix("."), *path[1:])
            self.found.refs.append(ref)
            self.found.looks.uses.append(Use(ref, self.around, self.weight))

    def _call(self, call: Any, bound: frozenset[str], depth: int) -> None:
        if call.function == "_+_" and depth and call.args[0].ident_expr.name not in ACCUMULATORS:
            self.found.joins = True
        weight = self.weight
        if call.function == _SEARCH:
            pattern = call.args[-1].const_expr
            parts = written_out(pattern.string_value) if pattern.HasField("string_value") else _UNKNOWN_PATTERN
            self.weight *= _SEARCH_WORK * max(parts, 1)
        if call.HasField("target"):
            self.visit(call.target, bound, depth)
        for argument in call.args:
            self.visit(argument, bound, depth)
        self.weight = weight

    def _macro(self, macro: Any, bound: frozenset[str], depth: int) -> None:
        self.found.nesting = max(self.found.nesting, depth + 1)
        loops = self.found.looks.loops
        inside, uses = len(loops), len(self.found.looks.uses)
        self.visit(macro.iter_range, bound, depth)
        if self._path(macro.iter_range, bound, depth) is not None:
            del self.found.looks.uses[uses:]  # going through it is what the turns are
        self.visit(macro.accu_init, bound, depth)
        around, outer = self.around, dict(self.loops)
        builds = not macro.accu_init.HasField("const_expr")
        loops.append(Loop(around, self._over(macro.iter_range, bound, depth, inside), _items(macro), builds))
        self.around = len(loops) - 1
        names = {macro.iter_var, macro.iter_var2, macro.accu_var} - {""}
        self.loops.update(dict.fromkeys({macro.iter_var, macro.iter_var2} - {""}, self.around))
        self.loops.pop(macro.accu_var, None)
        inner = bound | names
        before = {name: self.uses.pop(name, 0) for name in names}
        for part in (macro.loop_condition, macro.loop_step, macro.result):
            self.visit(part, inner, depth + 1)
        self.around, self.loops = around, outer
        if not macro.accu_init.HasField(
            "const_expr"
        ):  # else exists, all, exists_one: the result is no bigger than a bool
            self.found.builds = True
            self.found.expansion *= max(1, *(self.uses.get(name, 0) for name in names - ACCUMULATORS))
        self.uses.update(before)

    def _over(self, node: Any, bound: frozenset[str], depth: int, inside: int) -> Ref | int | None:
        """What a macro goes through, see `Loop.over`; `inside` is the first macro in what it goes through."""
        path = self._path(node, bound, depth)
        if path is not None:
            root = str(path[0])
            return self.loops.get(root) if root in bound else (root.removeprefix("."), *path[1:])
        made = node.HasField("comprehension_expr") and len(self.found.looks.loops) > inside
        return -len(self.found.looks.loops) if made else None

    def _path(self, node: Any, bound: frozenset[str], depth: int) -> Ref | None:
        """The path if `node` names one; what a dynamic index leaves open is cut off and visited."""
        if node.HasField("ident_expr"):
            return (node.ident_expr.name,)
        if node.HasField("select_expr"):
            return self._longer(node.select_expr.operand, node.select_expr.field, bound, depth)
        if not node.HasField("call_expr") or len(node.call_expr.args) != 2:  # noqa: PLR2004 - what is indexed, the index
            return None
        call = node.call_expr
        if call.function == _OPTIONAL_SELECT or call.function in _INDEX:
            index = call.args[1].const_expr
            if call.args[1].HasField("const_expr") and index.string_value:
                return self._longer(call.args[0], index.string_value, bound, depth)
        return None

    def _longer(self, operand: Any, part: str, bound: frozenset[str], depth: int) -> Ref | None:
        base = self._path(operand, bound, depth)
        return None if base is None else (*base, part)


def _items(macro: Any) -> int | None:
    return len(macro.iter_range.list_expr.elements) if macro.iter_range.HasField("list_expr") else None


def _kind(node: Any) -> str:
    # Fields come in the order of their numbers: the id, then what the node is.
    fields = node.ListFields()
    return str(fields[-1][0].name) if fields else ""
