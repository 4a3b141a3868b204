"""How the screens reach a server: a protocol, and its implementation over the client of the SDK."""

from holdfast_tui.client.grpc import GrpcClient
from holdfast_tui.client.port import OnConnection, TuiClient

__all__ = ["GrpcClient", "OnConnection", "TuiClient"]
