"""The client of a Holdfast server."""

from holdfast.client.client import DEFAULT_TARGET, Client, Named
from holdfast.client.connection import Connection, OnConnection
from holdfast.client.gates import Gates
from holdfast.client.handle import RunHandle
from holdfast.client.operations import Operations
from holdfast.client.requests import OnConflictName, run_filter
from holdfast.client.runs import Runs
from holdfast.client.workflows import Buildable, Definition, Workflows

__all__ = [
    "DEFAULT_TARGET",
    "Buildable",
    "Client",
    "Connection",
    "Definition",
    "Gates",
    "Named",
    "OnConflictName",
    "OnConnection",
    "Operations",
    "RunHandle",
    "Runs",
    "Workflows",
    "run_filter",
]
