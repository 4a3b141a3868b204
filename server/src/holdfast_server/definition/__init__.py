"""Definition documents: read, checked and turned into messages and plans."""

from holdfast_server.definition.document_schema import DOCUMENT_SCHEMA, document_schema_text
from holdfast_server.definition.documents import ParsedDocument, parse

__all__ = ["DOCUMENT_SCHEMA", "ParsedDocument", "document_schema_text", "parse"]
