"""Queues, workers, and the server itself."""

from collections.abc import Iterable

from rich.console import Group
from rich.text import Text

from holdfast.builder.settings import duration
from holdfast.cli.render.columns import Column, Listing
from holdfast.cli.render.json import enum_name
from holdfast.cli.render.payloads import facts, section
from holdfast.cli.render.times import Moments
from holdfast.cli.render.words import safe
from holdfast.v1 import operations_service_pb2
from holdfast.v1.operations_service_pb2 import GetServerInfoResponse, HealthState
from holdfast.v1.task_pb2 import QueueSummary, WorkerSummary

__all__ = ["queue_list", "server_page", "worker_list"]


def queue_list(queues: Iterable[QueueSummary], moments: Moments) -> Listing:
    """Return queues as a list; below each, the handlers that nobody serves."""
    listing = Listing(
        [
            Column("QUEUE"),
            Column("WAITING", right=True),
            Column("RUNNING", right=True),
            Column("OLDEST", right=True),
            Column("WORKERS", right=True),
            Column("FREE SLOTS", right=True),
        ]
    )
    for queue in queues:
        unserved = ", ".join(queue.unserved_handlers)
        listing.add(
            safe(queue.queue),
            f"{queue.queued:,}",
            f"{queue.running:,}",
            moments.ago(queue.oldest_time) if queue.HasField("oldest_time") else "–",
            f"{queue.workers:,}",
            f"{queue.slots_free:,}",
            notes=[safe(f"no worker serves: {unserved}", "bold yellow")] if unserved else [],
        )
    return listing


def worker_list(workers: Iterable[WorkerSummary], moments: Moments) -> Listing:
    """Return workers as a list; below each, what it serves."""
    listing = Listing([Column("WORKER"), Column("BUSY", right=True), Column("SEEN"), Column("SDK", shrinks=True)])
    for one in workers:
        serves = "; ".join(f"{queue.queue}: {', '.join(queue.handlers)}" for queue in one.queues)
        state = Text("DRAINING  ", style="bold yellow") if one.draining else Text()
        listing.add(
            safe(one.worker.id),
            f"{one.slots_used:,} of {one.slots_total:,}",
            moments.ago(one.last_seen_time),
            safe(" ".join(filter(None, (one.worker.language, one.worker.sdk_version, one.worker.build_id)))),
            notes=[Text.assemble(state, safe(serves, "dim")), safe(one.worker.identity, "dim")],
        )
    return listing


def server_page(info: GetServerInfoResponse, target: str, moments: Moments) -> Group:
    """Return what server answers at a target, how it is, and its limits."""
    kept = info.HasField("retention")
    name = enum_name(operations_service_pb2.DESCRIPTOR.enum_types_by_name["HealthState"], info.health)
    style = "green" if info.health == HealthState.HEALTH_STATE_OK else "bold red"
    health = Text.assemble((name, style), safe(f": {info.health_message}" if info.health_message else ""))
    pairs = [
        ("health", health),
        ("version", safe(info.version)),
        ("started", Text(f"{moments.full(info.start_time)}, start {info.server_epoch} on this database")),
        ("store", safe(f"{info.store}, schema {info.schema_version}")),
        ("open runs", Text(f"{info.open_runs:,}, of these {info.hot_runs:,} in memory")),
        ("closed runs", Text(f"kept for {duration(info.retention.ToTimedelta())}" if kept else "kept for ever")),
        ("id", safe(info.server_id)),
    ]
    limits = Listing([Column(), Column(right=True)])
    for limit in info.limits:
        limits.add(safe(f"  {limit.name}"), f"{limit.value:,}")
    head = safe(f"Server at {target}", "bold")
    return Group(head, facts(pairs), *([section("Limits", limits)] if info.limits else []))
