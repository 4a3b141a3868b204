"""How much work evaluating a CEL expression can be, known from its tree and the sizes of what it sees.

CEL bounds the turns of macros, not what a turn costs: looking through a long text in each of them, or collecting many
values, which it does by copying all it has for each one more. So uses and collections are counted before anything is
evaluated. Nothing here looks at a clock.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from holdfast_server.engine.cel_context import Measure
from holdfast_server.engine.names import ExpressionError, Ref

__all__ = ["COLLECTED_MAX", "ITERATIONS_MAX", "LOOKED_AT_MAX", "Loop", "Use", "Uses"]

ITERATIONS_MAX: Final = 10_000
"""Turns of all macros in one evaluation; CEL's own bound."""
LOOKED_AT_MAX: Final = 64 * 1024 * 1024
"""Most characters that one evaluation looks at, each counted as often as it may be looked at."""
COLLECTED_MAX: Final = 2_000_000
"""Most values that `map` and `filter` copy in one evaluation: half the square of what one of them collects."""
VALUE_CHARS: Final = 16
"""Looking at a value costs what looking at so many characters does."""


@dataclass(frozen=True, slots=True)
class Loop:
    """A macro.

    Attributes:
        around: the macro around it; None if there is none.
        over: what it goes through: a path, the variable of the macro with that number, a collection that the macro
            with that number makes (as a negative number, from -1), or None for anything else.
        items: number of items where they are written out.
        builds: it collects values.
    """

    around: int | None
    over: Ref | int | None
    items: int | None
    builds: bool


@dataclass(frozen=True, slots=True)
class Use:
    """A place where a path, or the variable of a macro, is looked at; by the macro around it."""

    what: Ref | int
    around: int | None
    weight: int = 1


@dataclass(slots=True)
class _Size:
    length: int = 0
    values: int = 0
    chars: int = 0
    longest: int = 0

    @property
    def work(self) -> int:
        return self.chars + VALUE_CHARS * self.values


@dataclass(slots=True)
class _Pass:
    """How a macro runs: over what, how often through it, with how many turns in all, and the most at once."""

    base: _Size
    times: int
    turns: int
    length: int


@dataclass(slots=True)
class Uses:
    """What an expression looks at, and how often."""

    loops: list[Loop] = field(default_factory=list)
    uses: list[Use] = field(default_factory=list)

    def check(self, text: str, variables: Mapping[str, object], seen: Measure) -> None:
        """Refuse to evaluate what may take too long.

        Raises:
            ExpressionError: it is over a limit.
        """
        whole = seen.chars + VALUE_CHARS * seen.values
        most = ITERATIONS_MAX if self.loops else 1
        if whole * most * sum(use.weight for use in self.uses) <= LOOKED_AT_MAX and not self.loops:
            return
        sizes = _Sizes(variables, _Size(seen.longest, seen.values, seen.chars, seen.longest))
        passes: list[_Pass] = []
        collected = 0
        for loop in self.loops:
            one = self._pass(loop, passes, sizes)
            passes.append(one)
            if loop.builds:
                collected += one.turns * min(one.length, ITERATIONS_MAX) // 2
        if collected > COLLECTED_MAX:
            raise ExpressionError(
                text,
                f"its macros could copy {collected:,} values to collect what they do, the limit is {COLLECTED_MAX:,}; "
                "go through less, or let a step do it",
            )
        looked_at = sum(self._looked_at(use, passes, sizes) for use in self.uses)
        if looked_at > LOOKED_AT_MAX:
            raise ExpressionError(
                text,
                f"it could look at {looked_at:,} characters, counted as often as it looks, "
                f"the limit is {LOOKED_AT_MAX:,}; name less, or let a step do it",
            )

    @staticmethod
    def _pass(loop: Loop, passes: list[_Pass], sizes: "_Sizes") -> _Pass:
        around = 1 if loop.around is None else passes[loop.around].turns
        if loop.items is not None:
            return _Pass(sizes.whole, around, min(ITERATIONS_MAX, around * loop.items), loop.items)
        if isinstance(loop.over, tuple):
            base = sizes.of(loop.over)
            turns = min(ITERATIONS_MAX, around * base.length)
            return _Pass(base, -(-turns // max(1, base.length)), turns, base.length)
        if loop.over is None:
            length = sizes.whole.longest
            return _Pass(sizes.whole, around, min(ITERATIONS_MAX, around * length), length)
        if loop.over < 0:
            made = passes[-loop.over - 1]
            return _Pass(made.base, around, min(ITERATIONS_MAX, around * made.length), made.length)
        outer = passes[loop.over]
        times = outer.times * max(1, around // max(1, outer.turns))
        turns = min(ITERATIONS_MAX, times * outer.base.values)
        return _Pass(outer.base, times, turns, outer.base.longest)

    @staticmethod
    def _looked_at(use: Use, passes: list[_Pass], sizes: "_Sizes") -> int:
        around = 1 if use.around is None else passes[use.around].turns
        if isinstance(use.what, tuple):
            return around * sizes.of(use.what).work * use.weight
        bound = passes[use.what]
        return bound.times * max(1, around // max(1, bound.turns)) * bound.base.work * use.weight


class _Sizes:
    """How large the values at paths are, each measured once."""

    def __init__(self, variables: Mapping[str, object], whole: _Size) -> None:
        self._variables = variables
        self._found: dict[Ref, _Size] = {}
        self.whole = whole

    def of(self, ref: Ref) -> _Size:
        """The value at a path."""
        size = self._found.get(ref)
        if size is None:
            value: object = self._variables
            for part in ref:
                value = value.get(part) if isinstance(value, Mapping) else None
            size = self._found[ref] = _measured(value)
        return size


def _measured(value: object) -> _Size:
    size = _Size(length=len(value) if isinstance(value, list | dict) else 0)
    level = [value]
    while level:
        deeper: list[object] = []
        size.values += len(level)
        for one in level:
            if isinstance(one, str):
                size.chars += len(one)
            elif isinstance(one, dict):
                size.longest = max(size.longest, len(one))
                size.chars += sum(map(len, one))
                deeper.extend(one.values())
            elif isinstance(one, list):
                size.longest = max(size.longest, len(one))
                deeper.extend(one)
        level = deeper
    return size
