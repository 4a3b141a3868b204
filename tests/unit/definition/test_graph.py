"""The graph of a block against the plainest way to compute the same."""

from hypothesis import given, settings, strategies as st

from holdfast_server.engine.graph_checks import Graph


@st.composite
def graphs(draw: st.DrawFn) -> list[list[int]]:
    """Sources of each step; any edges but those of a step to itself."""
    size = draw(st.integers(1, 8))
    return [
        draw(st.lists(st.sampled_from([n for n in range(size) if n != step] or [0]), max_size=3)) if size > 1 else []
        for step in range(size)
    ]


@st.composite
def ordered_graphs(draw: st.DrawFn) -> list[list[int]]:
    """Sources of each step, all of them before it."""
    size = draw(st.integers(1, 9))
    return [draw(st.lists(st.integers(0, step - 1), max_size=3, unique=True)) if step else [] for step in range(size)]


def reach(sources: list[list[int]], step: int) -> set[int]:
    found: set[int] = set()
    left = list(sources[step])
    while left:
        one = left.pop()
        if one not in found:
            found.add(one)
            left += sources[one]
    return found


def paths(graph: Graph, step: int) -> list[list[int]]:
    if not graph.targets[step]:
        return [[step]]
    return [[step, *path] for target, _ in graph.targets[step] for path in paths(graph, target)]


@settings(deadline=None)
@given(graphs())
def test_upstream(sources: list[list[int]]) -> None:
    upstream = Graph(sources).upstream()

    for step in range(len(sources)):
        assert {other for other in range(len(sources)) if upstream[step] >> other & 1} == reach(sources, step)


@settings(deadline=None)
@given(graphs())
def test_cycles(sources: list[list[int]]) -> None:
    cycles = Graph(sources).cycles()
    on_cycles = {step for step in range(len(sources)) if step in reach(sources, step)}

    for circle in cycles:
        for step, following in zip(circle, [*circle[1:], circle[0]], strict=True):
            assert step in sources[following]
    tangles = {
        frozenset(other for other in on_cycles if other in reach(sources, step) and step in reach(sources, other))
        for step in on_cycles
    }
    assert len(cycles) == len(tangles)
    assert all(any(set(circle) <= tangle for circle in cycles) for tangle in tangles)


@settings(deadline=None)
@given(ordered_graphs())
def test_order(sources: list[list[int]]) -> None:
    order = Graph(sources).order

    assert sorted(order) == list(range(len(sources)))
    assert all(order.index(source) < order.index(step) for step, edges in enumerate(sources) for source in edges)


@settings(deadline=None)
@given(ordered_graphs())
def test_exclusive(sources: list[list[int]]) -> None:
    graph = Graph(sources)

    for join in range(len(sources)):
        expected = {
            step for step in range(len(sources)) if step != join and all(join in path for path in paths(graph, step))
        }
        assert graph.exclusive(join) == expected
