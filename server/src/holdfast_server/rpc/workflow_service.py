"""WorkflowService: registers and shows definitions."""

import asyncio

from holdfast.v1 import workflow_service_pb2 as pb
from holdfast.v1.definition_pb2 import WorkflowDefinition
from holdfast.v1.errors_pb2 import ErrorReason
from holdfast.v1.workflow_service_pb2_grpc import WorkflowServiceServicer
from holdfast_server.definition import parse
from holdfast_server.engine.refusal import Refused
from holdfast_server.engine.times import timestamp
from holdfast_server.rpc import paging
from holdfast_server.rpc.errors import Context, mapped
from holdfast_server.rpc.validation import Validator, invalid, over
from holdfast_server.runtime.runtime import Runtime
from holdfast_server.store.port import VersionRow

__all__ = ["WorkflowService"]


class WorkflowService(WorkflowServiceServicer):
    """Definitions and their versions."""

    def __init__(self, runtime: Runtime, validator: Validator) -> None:
        self._runtime = runtime
        self._validator = validator

    @mapped
    async def RegisterWorkflow(
        self, request: pb.RegisterWorkflowRequest, _context: Context
    ) -> pb.RegisterWorkflowResponse:
        """Makes a new version, or answers the present one if nothing changed."""
        namespace = self._validator.namespace(request.namespace)
        self._validator.request_id(request.request_id)
        self._check_source(request.source, request.format)
        self._runtime.check_writable()
        document = await asyncio.to_thread(parse, request.source, request.format)
        if document.definition is None or document.diagnostics:
            first = document.diagnostics[0]
            where = f"line {first.line}, " if first.line else ""
            count = len(document.diagnostics)
            more = f" (and {count - 1} more)" if count > 1 else ""
            message = f"the definition has {count} fault(s): {where}{first.path}: {first.message}{more}"
            violations = tuple(
                (one.path, f"line {one.line}, column {one.column}: {one.message}" if one.line else one.message)
                for one in document.diagnostics
            )
            raise Refused(ErrorReason.ERROR_REASON_INVALID_DEFINITION, message, {"faults": str(count)}, violations)
        row, created = await self._runtime.catalog.register(
            namespace, document.definition, document.definition_hash, request.source, request.format
        )
        return pb.RegisterWorkflowResponse(workflow=_version(row), created=created)

    @mapped
    async def ValidateWorkflow(
        self, request: pb.ValidateWorkflowRequest, _context: Context
    ) -> pb.ValidateWorkflowResponse:
        """Tells all faults without registering."""
        self._validator.namespace(request.namespace)
        self._check_source(request.source, request.format)
        document = await asyncio.to_thread(parse, request.source, request.format)
        return pb.ValidateWorkflowResponse(diagnostics=document.diagnostics)

    @mapped
    async def GetWorkflow(self, request: pb.GetWorkflowRequest, _context: Context) -> pb.GetWorkflowResponse:
        """Shows one version."""
        namespace = self._validator.namespace(request.namespace)
        name = self._validator.name("name", request.name)
        if request.version < 0:
            raise invalid("version", f"{request.version} is negative; 0 means the latest")
        row = await self._row(namespace, name, request.version)
        return pb.GetWorkflowResponse(
            workflow=_version(row),
            definition=WorkflowDefinition.FromString(row.definition),
            source=row.source,
            format=row.format,  # type: ignore[arg-type]
        )

    @mapped
    async def ListWorkflows(self, request: pb.ListWorkflowsRequest, _context: Context) -> pb.ListWorkflowsResponse:
        """Lists workflows by name."""
        namespace = self._validator.namespace(request.namespace)
        size = self._validator.page_size(request.page_size)
        position = paging.decode("workflows", request.page_token, str)
        after = str(position[0]) if position else ""
        rows = await self._runtime.catalog.latest_versions(namespace, after, size + 1)
        token = paging.encode("workflows", rows[size - 1].name) if len(rows) > size else ""
        return pb.ListWorkflowsResponse(workflows=[_version(row) for row in rows[:size]], next_page_token=token)

    @mapped
    async def ListWorkflowVersions(
        self, request: pb.ListWorkflowVersionsRequest, _context: Context
    ) -> pb.ListWorkflowVersionsResponse:
        """Lists the versions of a workflow, newest first."""
        namespace = self._validator.namespace(request.namespace)
        name = self._validator.name("name", request.name)
        size = self._validator.page_size(request.page_size)
        position = paging.decode("versions", request.page_token, int)
        if position is None:
            await self._row(namespace, name, 0)
        before = int(position[0]) if position else 0
        rows = await self._runtime.catalog.versions(namespace, name, before, size + 1)
        token = paging.encode("versions", rows[size - 1].version) if len(rows) > size else ""
        return pb.ListWorkflowVersionsResponse(versions=[_version(row) for row in rows[:size]], next_page_token=token)

    async def _row(self, namespace: str, name: str, version: int) -> VersionRow:
        try:
            return await self._runtime.catalog.row(namespace, name, version)
        except Refused as refused:
            # Requests for runs call it `workflow`; here it is the name.
            field = "version" if version else "name"
            raise Refused(refused.reason, refused.message, refused.metadata, ((field, refused.message),)) from refused

    def _check_source(self, source: str, document_format: int) -> None:
        self._validator.member("format", document_format, pb.DocumentFormat)
        size = len(source.encode())
        if size > self._validator.limits.source_bytes:
            raise over("source", "source_bytes", self._validator.limits.source_bytes, size)


def _version(row: VersionRow) -> pb.WorkflowVersion:
    definition = WorkflowDefinition.FromString(row.definition)
    return pb.WorkflowVersion(
        namespace=row.namespace,
        name=row.name,
        version=row.version,
        definition_hash=row.definition_hash,
        register_time=timestamp(row.register_time_us),
        description=definition.description,
        steps=len(definition.block.steps),
    )
