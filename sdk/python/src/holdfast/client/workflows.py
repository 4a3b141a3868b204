"""Definitions: register, check, show."""

import os
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from holdfast.client.connection import Connection
from holdfast.client.requests import new_request_id
from holdfast.converter import json_value
from holdfast.v1.workflow_service_pb2 import (
    Diagnostic,
    DocumentFormat,
    GetWorkflowRequest,
    GetWorkflowResponse,
    ListWorkflowsRequest,
    ListWorkflowVersionsRequest,
    RegisterWorkflowRequest,
    RegisterWorkflowResponse,
    ValidateWorkflowRequest,
    WorkflowVersion,
)

__all__ = ["Buildable", "Definition", "Workflows"]


class Buildable(Protocol):
    """What can give its definition document, for example `holdfast.builder.Workflow`."""

    def document(self) -> Mapping[str, Any]:
        """Return the definition document."""


Definition = Mapping[str, Any] | Buildable | os.PathLike[str] | str
"""A definition: a document as a mapping, a builder, the path of a file (`pathlib.Path`), or the document's text."""


class Workflows:
    """Workflows of the client's namespace."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def register(self, definition: Definition) -> RegisterWorkflowResponse:
        """Make a new version, or find the present one if nothing changed (`created` tells).

        Args:
            definition: A mapping, a builder, the path of a YAML or JSON file, or the text of a document. A plain
                string is always the text.

        Raises:
            InvalidDefinitionError: It has faults; `violations` lists all of them.
            OSError: The file cannot be read.
        """
        connection = self._connection
        source, format_ = _source(definition)
        request = RegisterWorkflowRequest(
            namespace=connection.namespace, source=source, format=format_, request_id=new_request_id()
        )
        return await connection.call(connection.workflows.RegisterWorkflow, request)

    async def validate(self, definition: Definition) -> list[Diagnostic]:
        """Return all faults of a definition, in its order, without registering it; none means it is valid."""
        connection = self._connection
        source, format_ = _source(definition)
        request = ValidateWorkflowRequest(namespace=connection.namespace, source=source, format=format_)
        return list((await connection.call(connection.workflows.ValidateWorkflow, request)).diagnostics)

    async def get(self, name: str, version: int = 0) -> GetWorkflowResponse:
        """Return one version with its source and compiled form; version 0 is the latest.

        Raises:
            WorkflowNotFoundError: There is no such workflow or version.
        """
        connection = self._connection
        request = GetWorkflowRequest(namespace=connection.namespace, name=name, version=version)
        return await connection.call(connection.workflows.GetWorkflow, request)

    async def list(self, *, page_size: int = 100) -> AsyncIterator[WorkflowVersion]:
        """Yield the latest version of each workflow, by name."""
        connection = self._connection
        request = ListWorkflowsRequest(namespace=connection.namespace, page_size=page_size)
        while True:
            response = await connection.call(connection.workflows.ListWorkflows, request)
            for workflow in response.workflows:
                yield workflow
            if not response.next_page_token:
                return
            request.page_token = response.next_page_token

    async def versions(self, name: str, *, page_size: int = 100) -> AsyncIterator[WorkflowVersion]:
        """Yield the versions of a workflow, newest first.

        Raises:
            WorkflowNotFoundError: There is no such workflow.
        """
        connection = self._connection
        request = ListWorkflowVersionsRequest(namespace=connection.namespace, name=name, page_size=page_size)
        while True:
            response = await connection.call(connection.workflows.ListWorkflowVersions, request)
            for version in response.versions:
                yield version
            if not response.next_page_token:
                return
            request.page_token = response.next_page_token


def _source(definition: Definition) -> tuple[str, DocumentFormat.ValueType]:
    if isinstance(definition, str):
        return definition, DocumentFormat.DOCUMENT_FORMAT_YAML  # YAML includes JSON
    if isinstance(definition, os.PathLike):
        path = Path(definition)
        is_json = path.suffix.lower() == ".json"
        format_ = DocumentFormat.DOCUMENT_FORMAT_JSON if is_json else DocumentFormat.DOCUMENT_FORMAT_YAML
        return path.read_text(encoding="utf-8"), format_
    document = definition if isinstance(definition, Mapping) else definition.document()
    return json_value(document).json, DocumentFormat.DOCUMENT_FORMAT_JSON
