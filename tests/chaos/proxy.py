"""A TCP proxy on the loopback that does to connections what networks do: reset, half-open, slow, cut for a while."""

import asyncio
import contextlib
import socket
import struct
from dataclasses import dataclass
from types import TracebackType
from typing import Self

__all__ = ["Link"]

CHUNK_BYTES = 16 * 1024
_RESET_AT_CLOSE = struct.pack("ii", 1, 0)


@dataclass(eq=False)
class _Connection:
    """One connection through the proxy: two ends, and a pump for each direction."""

    ends: tuple[asyncio.StreamWriter, asyncio.StreamWriter]
    half_open: bool = False
    """What comes is read and goes nowhere, as when something in between has forgotten the connection."""

    def reset(self) -> None:
        """End it without a word of goodbye."""
        for end in self.ends:
            raw = end.get_extra_info("socket")
            with contextlib.suppress(OSError):  # it may be closed already
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_AT_CLOSE)
            end.transport.abort()


class Link:
    """The way of one process to the server.

    Attributes:
        delay_s: Time each piece takes on its way.
        bytes_per_s: Most that gets through in each direction; None for as much as there is.
    """

    def __init__(self, target: str) -> None:
        """Describe it; `async with` opens it.

        Args:
            target: The address it leads to, `host:port`.
        """
        self._host, _, port = target.rpartition(":")
        self._port = int(port)
        self._connections: set[_Connection] = set()
        self._pumps: set[asyncio.Task[None]] = set()
        self._through = asyncio.Event()
        self._through.set()
        self._server: asyncio.Server
        self.delay_s = 0.0
        self.bytes_per_s: float | None = None

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        self.reset()
        for pump in self._pumps:
            pump.cancel()
        await asyncio.gather(*self._pumps, return_exceptions=True)

    @property
    def address(self) -> str:
        """Where it begins."""
        host, port = self._server.sockets[0].getsockname()[:2]
        return f"{host}:{port}"

    # -- what networks do --------------------------------------------------------------------------------------------

    def reset(self) -> None:
        """End all connections by a reset."""
        for connection in list(self._connections):
            connection.reset()

    def forget(self) -> None:
        """Leave all connections half-open: what is sent from now on goes nowhere, and nobody is told."""
        for connection in self._connections:
            connection.half_open = True

    def cut(self) -> None:
        """Let nothing through; what is sent arrives once the link is mended, as TCP sends it again and again."""
        self._through.clear()

    def mend(self) -> None:
        """Let everything through again, at once."""
        self.delay_s, self.bytes_per_s = 0.0, None
        self._through.set()

    # -- how ---------------------------------------------------------------------------------------------------------

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._through.wait()
        try:
            there_reader, there = await asyncio.open_connection(self._host, self._port)
        except OSError:
            writer.transport.abort()
            return
        connection = _Connection((writer, there))
        self._connections.add(connection)
        pumps = [
            asyncio.create_task(self._pump(connection, reader, there)),
            asyncio.create_task(self._pump(connection, there_reader, writer)),
        ]
        self._pumps.update(pumps)
        await asyncio.wait(pumps)
        self._pumps.difference_update(pumps)
        self._connections.discard(connection)
        for end in connection.ends:
            end.transport.abort()

    async def _pump(self, connection: _Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one direction until its end, or the end of the connection."""
        try:
            while data := await reader.read(CHUNK_BYTES):
                await self._through.wait()
                if self.delay_s:
                    await asyncio.sleep(self.delay_s)
                if self.bytes_per_s is not None:
                    await asyncio.sleep(len(data) / self.bytes_per_s)
                if connection.half_open:
                    continue
                writer.write(data)
                await writer.drain()
            if not connection.half_open and writer.can_write_eof():
                writer.write_eof()
        except OSError:
            # One end is gone: so is the other. Who is half-open hears nothing of it.
            if not connection.half_open:
                connection.reset()
