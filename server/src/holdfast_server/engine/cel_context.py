"""The values a CEL expression is given: the paths it names and nothing else, measured before CEL sees them.

Copying all of a run into CEL is what would make it slow, and CEL has no memory bound of its own. What is null at the
edge of the run (`output` of a step that has not succeeded, `failure`) is left out, so that `has()` and optionals work;
nulls inside user data stay, because they were said.
"""

from dataclasses import dataclass
from typing import Final

from holdfast_server.engine.json_values import JSON_DEPTH_MAX, shown
from holdfast_server.engine.names import ExpressionError, Names, Ref, head_of
from holdfast_server.engine.number_types import NumberTypes, typed

__all__ = ["CONTEXT_CHARS_MAX", "CONTEXT_VALUES_MAX", "Context", "Measure"]

CONTEXT_VALUES_MAX: Final = 100_000
"""Most JSON values one evaluation sees."""
CONTEXT_CHARS_MAX: Final = 16 * 1024 * 1024
"""Most characters of text one evaluation sees."""
INT64: Final = range(-(2**63), 2**63)

_Tree = dict[str, "_Tree | None"]
"""Members that are named, by key; None means all of the value."""


@dataclass(slots=True)
class Measure:
    """How much an evaluation sees."""

    values: int = 0
    chars: int = 0
    longest: int = 0
    """Length of the longest list or object."""


class Context:
    """Builds the variables of one expression.

    Args:
        text: the expression, for errors.
        refs: paths it names, none of which covers another.
        numbers: how numbers are typed, by head.
    """

    __slots__ = ("_heads", "_text")

    def __init__(self, text: str, refs: tuple[Ref, ...], numbers: NumberTypes) -> None:
        self._text = text
        trees: dict[Ref, _Tree | None] = {}
        for ref in refs:
            head = head_of(ref)
            _plant(trees, head, ref[len(head) :])
        self._heads = tuple((head, tree, numbers.get(head)) for head, tree in trees.items())

    def build(self, names: Names) -> tuple[dict[str, object], Measure]:
        """The variables, and how large they are.

        Raises:
            ExpressionError: they go over a limit.
        """
        variables: dict[str, object] = {}
        measure = Measure()
        for head, tree, number in self._heads:
            value = names.lookup(head)
            if tree is not None:
                value = _pick(value, tree)
            if number is not None:
                value = typed(value, number)
            self._measure(value, measure)
            self._place(variables, head, value, whole=tree is None)
        return variables, measure

    @staticmethod
    def _place(variables: dict[str, object], head: Ref, value: object, *, whole: bool) -> None:
        root = str(head[0])
        if len(head) == 1:
            # A null root stays null where all of it is named, and is empty where members are, so that has() works.
            variables[root] = value if value is not None or whole else {}
            return
        inner = variables.setdefault(root, {})
        for part in head[1:-1]:
            inner = inner.setdefault(part, {})  # type: ignore[attr-defined] # only dicts are put there
        if value is not None:
            inner[head[-1]] = value  # type: ignore[index] # see above
        elif root == "signals":
            inner[head[-1]] = []  # type: ignore[index] # no signal of that name is an empty list

    def _measure(self, value: object, measure: Measure) -> None:
        measure.values += 1
        level = [value]
        depth = 0
        while level:
            deeper: list[object] = []
            for one in level:
                kind = type(one)
                if kind is str:
                    measure.chars += len(one)  # type: ignore[arg-type] # it is a str
                elif kind is int:
                    if one not in INT64:
                        raise ExpressionError(self._text, "an integer does not fit into 64 bits", value=shown(one))
                elif kind is dict:
                    self._grow(measure, len(one))  # type: ignore[arg-type] # it is a dict
                    measure.chars += sum(map(len, one))  # type: ignore[call-overload] # keys are text
                    deeper.extend(one.values())  # type: ignore[attr-defined] # it is a dict
                elif kind is list:
                    self._grow(measure, len(one))  # type: ignore[arg-type] # it is a list
                    deeper.extend(one)  # type: ignore[arg-type] # it is a list
            depth += 1
            if depth > JSON_DEPTH_MAX + 1:
                raise ExpressionError(self._text, f"a value is nested deeper than {JSON_DEPTH_MAX} levels")
            level = deeper
        if measure.chars > CONTEXT_CHARS_MAX:
            raise ExpressionError(
                self._text, f"it sees {measure.chars:,} characters, the limit is {CONTEXT_CHARS_MAX:,}; name less"
            )

    def _grow(self, measure: Measure, length: int) -> None:
        measure.values += length
        measure.longest = max(measure.longest, length)
        if measure.values > CONTEXT_VALUES_MAX:
            raise ExpressionError(
                self._text, f"it sees more than {CONTEXT_VALUES_MAX:,} values; name the members it needs"
            )


def _plant(trees: dict[Ref, _Tree | None], head: Ref, tail: Ref) -> None:
    if not tail:
        trees[head] = None
        return
    tree = trees.setdefault(head, {})
    for part in tail[:-1]:
        if tree is None:
            return
        tree = tree.setdefault(str(part), {})
    if tree is not None:
        tree[str(tail[-1])] = None


def _pick(value: object, tree: _Tree) -> object:
    if type(value) is not dict:
        return value
    picked: dict[str, object] = {}
    for key, inner in tree.items():
        if key in value:
            picked[key] = value[key] if inner is None else _pick(value[key], inner)
    return picked
