"""The server's log during a simulation: what it reports as a fault of its own must not happen."""

from collections.abc import Callable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from typing import Any

import structlog

from tests.simulation.witness import Witness

__all__ = ["captured"]

EXPECTED = frozenset(
    {
        "the database refuses writes; changes are refused until it takes them again",
        "a run is quarantined",  # whether it may be is seen by what its callers are told
    }
)


@contextmanager
def captured(witness: Witness, note: Callable[[str, str], None]) -> Iterator[None]:
    """Turns errors in the log into violations, and nothing else into anything."""

    def judge(_logger: Any, _name: str, event: MutableMapping[str, Any]) -> Mapping[str, Any]:
        text = str(event.get("event"))
        note("log", f"{text} {event.get('error', '')}")
        if text not in EXPECTED:
            cause = event.get("exc_info")
            told = f"the server logs a fault: {text} {event.get('error', '')} {cause if cause is not True else ''}"
            witness.fail(told, cause if isinstance(cause, BaseException) else None)
        raise structlog.DropEvent

    before = structlog.get_config()
    structlog.configure(
        processors=[judge],
        wrapper_class=structlog.make_filtering_bound_logger("error"),
        cache_logger_on_first_use=False,
    )
    try:
        yield
    finally:
        structlog.configure(**before)
