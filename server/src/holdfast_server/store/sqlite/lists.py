"""Builds the statements that list and count runs: conditions come and go, so that SQLite sees which index fits."""

from holdfast_server.store.port import RunQuery
from holdfast_server.store.sqlite.queries import QUERIES

__all__ = ["count_statement", "page_statement"]

# A partial index is used only if its own condition stands in the statement word for word.
_INDEXED_STATES = ((frozenset({1, 2}), "state IN (1, 2)"), (frozenset({4, 5, 6, 7}), "state IN (4, 5, 6, 7)"))


def page_statement(query: RunQuery) -> tuple[str, list[object]]:
    """Return the statement for one page, and its parameters."""
    where, parameters = _where(query)
    if query.before is not None:
        where += " AND (start_time_us, key) < (?, ?)"
        parameters += query.before
    sql = f"{QUERIES['runs']} WHERE {where} ORDER BY start_time_us DESC, key DESC LIMIT ?"
    return sql, [*parameters, query.limit]


def count_statement(query: RunQuery) -> tuple[str, list[object]]:
    """Return the statement that counts all pages by state, and its parameters."""
    where, parameters = _where(query)
    return f"{QUERIES['count_runs']} WHERE {where} GROUP BY state", parameters


def _where(query: RunQuery) -> tuple[str, list[object]]:
    conditions = ["namespace = ?"]
    parameters: list[object] = [query.namespace]

    def add(condition: str, *values: object) -> None:
        conditions.append(condition)
        parameters.extend(values)

    if query.workflow:
        add("workflow = ?", query.workflow)
    if query.business_key:
        add("business_key <> ''")
        add("business_key = ?", query.business_key)
    if query.start_after_us is not None:
        add("start_time_us >= ?", query.start_after_us)
    if query.start_before_us is not None:
        add("start_time_us < ?", query.start_before_us)
    if query.states:
        for states, condition in _INDEXED_STATES:
            if states.issuperset(query.states):
                add(condition)
        add(f"state IN ({_marks(len(query.states))})", *query.states)
    if query.waiting_reasons:
        add("hot = 0 AND state IN (1, 2)")
        add(f"waiting_reason IN ({_marks(len(query.waiting_reasons))})", *query.waiting_reasons)
    return " AND ".join(conditions), parameters


def _marks(count: int) -> str:
    return ", ".join("?" * count)
