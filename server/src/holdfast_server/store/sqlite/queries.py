"""Reads the statements of `queries.sql` and `inspection.sql` by their names."""

import re
from collections.abc import Mapping
from importlib.resources import files
from types import MappingProxyType

__all__ = ["INSPECTIONS", "QUERIES"]

_HEADING = re.compile(r"^-- name: ([a-z_]+)$", re.MULTILINE)


def _load(file: str) -> Mapping[str, str]:
    text = files(__package__).joinpath(file).read_text(encoding="utf-8")
    parts = _HEADING.split(text)
    statements = {name: sql.strip().rstrip(";") for name, sql in zip(parts[1::2], parts[2::2], strict=True)}
    if len(statements) * 2 + 1 != len(parts):
        raise ValueError(f"a name occurs twice in {file}")
    # A name such as `runs_where_open` completes the statement `runs`.
    for name in list(statements):
        base, where, _ = name.partition("_where_")
        if where:
            statements[name] = f"{statements[base]}\n{statements[name]}"
    return MappingProxyType(statements)


QUERIES: Mapping[str, str] = _load("queries.sql")
"""SQL of the server by name."""
INSPECTIONS: Mapping[str, str] = _load("inspection.sql")
"""SQL of inspections by name."""
