"""Workflows: their versions in the store, their plans in memory."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Sequence

from holdfast.v1.definition_pb2 import WorkflowDefinition
from holdfast.v1.errors_pb2 import ErrorReason
from holdfast_server.engine.compile import compile_plan
from holdfast_server.engine.plan import Plan
from holdfast_server.engine.refusal import Refused
from holdfast_server.engine.times import duration_us
from holdfast_server.journal.group_commit import Journal
from holdfast_server.store.port import Store, VersionRow

__all__ = ["Catalog"]


class Catalog:
    """Versions of workflows.

    Args:
        store: where they are.
        journal: writes new ones.
        clock_us: the time.
        limit: plans kept in memory; runs keep their own.
    """

    def __init__(self, store: Store, journal: Journal, clock_us: Callable[[], int], limit: int = 1_000) -> None:
        self._store = store
        self._journal = journal
        self._clock_us = clock_us
        self._limit = limit
        self._plans: OrderedDict[tuple[str, str, int], Plan] = OrderedDict()
        self._latest: dict[tuple[str, str], int] = {}
        self._registering = asyncio.Lock()

    async def register(
        self, namespace: str, definition: WorkflowDefinition, definition_hash: bytes, source: str, source_format: int
    ) -> tuple[VersionRow, bool]:
        """The version with this content, and whether it is new. The definition has no faults.

        Raises:
            StoreError: the disk does not answer.
        """
        name = definition.name
        async with self._registering:
            latest = await self._store.version(namespace, name, 0)
            known = await self._store.version_by_hash(namespace, name, definition_hash)
            if known is not None:
                return known, False
            row = VersionRow(
                namespace,
                name,
                (latest.version if latest is not None else 0) + 1,
                definition_hash,
                definition.SerializeToString(deterministic=True),
                source,
                source_format,
                self._clock_us(),
                duration_us(definition.retention),
            )
            self._journal.version(row)
            await self._journal.durable()
            self._latest[namespace, name] = row.version
            return row, True

    def cached(self, namespace: str, name: str, version: int) -> Plan | None:
        """A plan if it is in memory; version 0 means the latest."""
        number = version or self._latest.get((namespace, name), 0)
        return self._plans.get((namespace, name, number))

    async def plan(self, namespace: str, name: str, version: int) -> Plan:
        """A plan; version 0 means the latest.

        Raises:
            Refused: WORKFLOW_NOT_FOUND.
            StoreError: the disk does not answer.
        """
        found = self.cached(namespace, name, version)
        if found is not None:
            return found
        row = await self.row(namespace, name, version)
        if not version:
            # A newer one may have been registered while the disk was read.
            self._latest[namespace, name] = max(row.version, self._latest.get((namespace, name), 0))
        key = (namespace, name, row.version)
        if key not in self._plans:
            definition = WorkflowDefinition.FromString(row.definition)
            # The largest take a second.
            plan = await asyncio.to_thread(compile_plan, definition, row.version, row.definition_hash)
            self._plans.setdefault(key, plan)
            if len(self._plans) > self._limit:
                self._plans.popitem(last=False)
        return self._plans[key]

    async def row(self, namespace: str, name: str, version: int) -> VersionRow:
        """A version as stored; 0 means the latest.

        Raises:
            Refused: WORKFLOW_NOT_FOUND.
            StoreError: the disk does not answer.
        """
        row = await self._store.version(namespace, name, version)
        if row is None:
            which = f"version {version} of workflow {name!r}" if version else f"workflow {name!r}"
            message = f"there is no {which}; register it first"
            raise Refused(ErrorReason.ERROR_REASON_WORKFLOW_NOT_FOUND, message, {"workflow": name})
        return row

    async def latest_versions(self, namespace: str, after_name: str, limit: int) -> Sequence[VersionRow]:
        """A page of workflows by name, each with its latest version."""
        return await self._store.latest_versions(namespace, after_name, limit)

    async def versions(self, namespace: str, name: str, before_version: int, limit: int) -> Sequence[VersionRow]:
        """A page of versions, newest first."""
        return await self._store.versions(namespace, name, before_version, limit)
