"""Verifies a database: all checks of the database, then every run folded again and held against all checks of runs.

Nothing is written, and a server may be at work meanwhile: each run is read of one moment.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from holdfast_server.admin.database_checks import DATABASE_CHECKS
from holdfast_server.admin.refold import Plans, refold
from holdfast_server.admin.run_checks import RUN_CHECKS
from holdfast_server.store.port import RunRow, StoreCorruptError
from holdfast_server.store.sqlite.driver import Driver
from holdfast_server.store.sqlite.inspection import Inspection, inspecting

__all__ = ["Fault", "Report", "Steps", "verify"]

PAGE = 500
"""Runs listed at once."""

Steps = Callable[[str, int, int], None]
"""Told what is being done, how far it is, and how far it goes (0: unknown)."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that is not as it must be."""

    check: str
    namespace: str
    """Empty if it is not about one run."""
    run_id: str
    message: str


@dataclass(slots=True)
class Report:
    """What was looked at, and what was found."""

    runs: int = 0
    events: int = 0
    faults: list[Fault] = field(default_factory=list)


def verify(path: Path, driver: Driver, progress: Steps) -> Report:
    """Makes all checks.

    Args:
        path: the database.
        driver: the SQLite library.
        progress: told how far it is.

    Raises:
        StoreError: it cannot be read, or is of another version.
        StoreCorruptError: it is no database of ours, or too damaged to be opened.
    """
    report = Report()
    with inspecting(path, driver) as inspection:
        for name, check in DATABASE_CHECKS.items():
            progress(f"checking {name}", 0, 0)
            report.faults += _found(name, check(inspection), "", "")
        plans = Plans(inspection)
        total = inspection.run_count()
        for row in _runs(inspection, report):
            progress("checking runs", report.runs, max(total, report.runs))
            _verify_run(inspection, row, plans, report)
    return report


def _runs(inspection: Inspection, report: Report) -> Iterator[RunRow]:
    after = 0
    while True:
        try:
            page = inspection.runs(after, PAGE)
        except StoreCorruptError as error:
            report.faults.append(Fault("structure", "", "", f"runs after key {after} cannot be read: {error}"))
            return
        if not page:
            return
        yield from page
        after = page[-1].key


def _verify_run(inspection: Inspection, row: RunRow, plans: Plans, report: Report) -> None:
    try:
        with inspection.run(row.key) as found:
            if found is None:
                return  # deleted meanwhile
            folded = refold(*found, plans)
    except StoreCorruptError as error:
        report.faults.append(Fault("structure", row.namespace, row.run_id, str(error)))
        return
    report.runs += 1
    report.events += folded.events
    for name, check in RUN_CHECKS.items():
        report.faults += _found(name, check(folded), row.namespace, row.run_id)


def _found(name: str, messages: Iterator[str], namespace: str, run_id: str) -> Iterator[Fault]:
    try:
        for message in messages:
            yield Fault(name, namespace, run_id, message)
    except StoreCorruptError as error:
        # The damage ends this check; the others may find more.
        yield Fault(name, namespace, run_id, str(error))
