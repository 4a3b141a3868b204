"""The graph of a block: its edges by number, what is upstream of what, cycles, and what leads only to a join.

Sets of steps are integers with a bit per step: a thousand steps cost a thousand additions of 125 bytes.
"""

from collections.abc import Sequence

__all__ = ["Graph"]


class Graph:
    """The edges of a block.

    Args:
        sources: for each step the numbers of the steps its edges come from.

    Attributes:
        sources: as given.
        targets: for each step (target, position of the edge in the target's `after`) of each edge out of it.
        order: a topological order of the steps that are on no cycle and behind none.
    """

    def __init__(self, sources: Sequence[Sequence[int]]) -> None:
        self.sources = tuple(tuple(one) for one in sources)
        targets: list[list[tuple[int, int]]] = [[] for _ in self.sources]
        for step, edges in enumerate(self.sources):
            for position, source in enumerate(edges):
                targets[source].append((step, position))
        self.targets = tuple(tuple(one) for one in targets)
        self.order = self._topological()

    def _topological(self) -> tuple[int, ...]:
        missing = [len(edges) for edges in self.sources]
        ready = [step for step, count in enumerate(missing) if count == 0]
        order: list[int] = []
        while ready:
            after: list[int] = []
            for step in ready:
                order.append(step)
                for target, _ in self.targets[step]:
                    missing[target] -= 1
                    if missing[target] == 0:
                        after.append(target)
            ready = after
        return tuple(order)

    def upstream(self) -> tuple[int, ...]:
        """For each step the set of the steps that are finished before it can start."""
        found = [0] * len(self.sources)
        for step in self.order:
            for source in self.sources[step]:
                found[step] |= found[source] | 1 << source
        if len(self.order) < len(self.sources):  # cycles: walk until nothing grows
            grown = True
            while grown:
                grown = False
                for step, edges in enumerate(self.sources):
                    before = found[step]
                    for source in edges:
                        found[step] |= found[source] | 1 << source
                    grown = grown or found[step] != before
        return tuple(found)

    def cycles(self) -> list[list[int]]:
        """The shortest cycle of each tangle of cycles, as the steps along it."""
        left = sorted(set(range(len(self.sources))) - set(self.order))
        if not left:
            return []
        upstream = self.upstream()
        found: list[list[int]] = []
        seen: set[int] = set()
        for step in left:
            if step in seen or not upstream[step] >> step & 1:
                continue
            tangle = {other for other in left if upstream[step] >> other & 1 and upstream[other] >> step & 1}
            seen |= tangle
            found.append(min((self._circle(one, tangle) for one in sorted(tangle)), key=len))
        return found

    def _circle(self, start: int, tangle: set[int]) -> list[int]:
        """The shortest way from a step back to itself, by breadth."""
        came_from = {start: start}
        level = [start]
        while level:
            following: list[int] = []
            for step in level:
                for target, _ in self.targets[step]:
                    if target == start:
                        way = [step]
                        while way[-1] != start:
                            way.append(came_from[way[-1]])
                        return way[::-1]
                    if target in tangle and target not in came_from:
                        came_from[target] = step
                        following.append(target)
            level = following
        return [start]

    def exclusive(self, join: int) -> frozenset[int]:
        """The steps all of whose paths lead to `join`, without it."""
        found: set[int] = set()
        for step in reversed(self.order):
            edges = self.targets[step]
            if step != join and edges and all(target == join or target in found for target, _ in edges):
                found.add(step)
        return frozenset(found)
