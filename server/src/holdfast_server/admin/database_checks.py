"""What must be true of a database beyond its single runs: a list of checks, each independent of the others.

A check is given the database and a function to say how far it is, and yields a sentence for each fault. To add one,
write it and put it in the table at the end.
"""

from collections.abc import Callable, Iterator, Mapping

from google.protobuf.message import DecodeError

from holdfast.v1.payload_pb2 import Payload
from holdfast.v1.workflow_service_pb2 import DocumentFormat
from holdfast_server.admin.refold import Plans
from holdfast_server.definition import parse
from holdfast_server.engine.payloads import payload_hash
from holdfast_server.store.sqlite.inspection import Inspection, StoredPayload

__all__ = ["DATABASE_CHECKS", "DatabaseCheck"]

DatabaseCheck = Callable[[Inspection], Iterator[str]]

PAGE = 100
"""Payloads read at once."""


def structure(inspection: Inspection) -> Iterator[str]:
    """Pages, indexes and constraints are what SQLite left behind."""
    yield from inspection.structure()


def ownership(inspection: Inspection) -> Iterator[str]:
    """Every row belongs to a run that is there."""
    for table, key in inspection.orphans():
        yield f"table {table} has rows of the run with key {key}, which is not there"


def deleted(inspection: Inspection) -> Iterator[str]:
    """What was deleted is gone, and its key will not be given again."""
    for namespace, run_id in inspection.deleted_and_there():
        yield f"run {run_id!r} of namespace {namespace!r} is there, and said to be deleted"
    floor = inspection.setting("last_run_key")
    if inspection.deleted_count() and not (isinstance(floor, int) and floor > 0):
        yield f"runs were deleted, and the last key of a run is remembered as {floor!r}"


def definitions(inspection: Inspection) -> Iterator[str]:
    """Every version compiles, and is what its text says."""
    plans = Plans(inspection)
    for namespace, name, number in inspection.version_names():
        place = f"version {number} of workflow {name!r} of namespace {namespace!r}"
        try:
            plans.plan(namespace, name, number)
        except Exception as error:  # noqa: BLE001 - a damaged definition can break anything, and that is looked for
            yield f"{place} does not compile: {type(error).__name__}: {error}"
            continue
        row = inspection.version(namespace, name, number)
        if row is None:
            continue
        document = parse(row.source, DocumentFormat.ValueType(row.format))
        # A text that a later version refuses has no hash; its compiled form is what runs go by.
        if document.definition_hash and document.definition_hash != row.definition_hash:
            yield f"{place} has another hash than its text"


def payloads(inspection: Inspection) -> Iterator[str]:
    """Every large payload is what its hash says, and a run refers to it."""
    after = 0
    while page := inspection.payloads(after, PAGE):
        for one in page:
            yield from _payload(one)
        after = page[-1].id


def _payload(stored: StoredPayload) -> Iterator[str]:
    name = stored.sha256.hex()
    if not stored.used:
        yield f"no run refers to payload {name}"
    try:
        found = payload_hash(Payload.FromString(stored.blob))
    except DecodeError as error:
        yield f"payload {name} cannot be read: {error}"
        return
    if found != stored.sha256:
        yield f"payload {name} has the hash {found.hex()}"


DATABASE_CHECKS: Mapping[str, DatabaseCheck] = {
    "structure": structure,
    "ownership": ownership,
    "deleted runs": deleted,
    "definitions": definitions,
    "payloads": payloads,
}
"""All of them by name, in the order in which they are made."""
