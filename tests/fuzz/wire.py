"""HTTP/2 by hand, so that it can be wrong: cut frames, lengths that lie, other content types, floods of headers."""

import asyncio
import contextlib
import random
from collections.abc import Callable
from typing import Final

from holdfast.v1.run_service_pb2 import GetRunRequest

__all__ = ["ATTACKS", "attack"]

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
END_STREAM, END_HEADERS = 1, 4
PATIENCE_S: Final = 0.5
GET_RUN: Final = GetRunRequest(run_id="nobody").SerializeToString()


def frame(kind: int, flags: int, stream: int, body: bytes, length: int | None = None) -> bytes:
    """A frame; `length` is what it says, if that is a lie."""
    return (
        (len(body) if length is None else length).to_bytes(3, "big")
        + bytes((kind, flags))
        + stream.to_bytes(4, "big")
        + body
    )


def headers(**given: str) -> bytes:
    """A block of headers, none compressed. A leading underscore stands for a colon, others for dashes."""
    block = b""
    for name, value in given.items():
        key = (f":{name[1:]}" if name.startswith("_") else name.replace("_", "-")).encode()
        block += b"\x10" + _text(key) + _text(value.encode("utf-8", "surrogateescape"))
    return block


def _text(text: bytes) -> bytes:
    if len(text) < 127:
        return bytes((len(text),)) + text
    rest, made = len(text) - 127, bytearray((127,))
    while rest >= 128:
        made.append(rest % 128 + 128)
        rest //= 128
    made.append(rest)
    return bytes(made) + text


def call(**changed: str) -> bytes:
    """The headers of a call, some of them changed."""
    sound = {
        "_method": "POST",
        "_scheme": "http",
        "_path": "/holdfast.v1.RunService/GetRun",
        "_authority": "localhost",
        "content_type": "application/grpc",
        "te": "trailers",
    }
    return frame(HEADERS, END_HEADERS, 1, headers(**sound | changed))


def message(data: bytes, length: int | None = None, flag: int = 0) -> bytes:
    """A message inside of a stream; `length` is what it says, if that is a lie."""
    return bytes((flag,)) + (len(data) if length is None else length).to_bytes(4, "big") + data


def _end(body: bytes) -> bytes:
    return frame(DATA, END_STREAM, 1, body)


ATTACKS: Final[dict[str, Callable[[random.Random], bytes]]] = {
    "a sound call": lambda _: call() + _end(message(GET_RUN)),
    "another content type": lambda _: call(content_type="application/json") + _end(b"{}"),
    "no content type": lambda _: call(content_type="") + _end(message(GET_RUN)),
    "a coding nobody knows": lambda _: call(content_type="application/grpc+xml") + _end(message(GET_RUN)),
    "GET": lambda _: call(_method="GET") + _end(message(GET_RUN)),
    "a path that is none": lambda _: call(_path="/../../etc/passwd") + _end(message(GET_RUN)),
    "an empty path": lambda _: call(_path="") + _end(message(GET_RUN)),
    "a method nobody has": lambda _: call(_path="/holdfast.v1.RunService/Nothing") + _end(message(GET_RUN)),
    "a timeout that is none": lambda _: call(grpc_timeout="soon") + _end(message(GET_RUN)),
    "a timeout of no time": lambda _: call(grpc_timeout="0n") + _end(message(GET_RUN)),
    "a coding of messages": lambda _: call(grpc_encoding="gzip") + _end(message(b"\x1f\x8b no gzip", flag=1)),
    "compressed without a word": lambda _: call() + _end(message(GET_RUN, flag=1)),
    "a flag nobody knows": lambda _: call() + _end(message(GET_RUN, flag=255)),
    "a message cut short": lambda _: call() + _end(message(GET_RUN, length=1_000)),
    "a message of four gigabytes": lambda _: call() + frame(DATA, 0, 1, message(GET_RUN, length=2**32 - 1)),
    "two messages": lambda _: call() + _end(message(GET_RUN) * 2),
    "no message": lambda _: call() + _end(b""),
    "half a frame": lambda _: call() + frame(DATA, 0, 1, b"xx", length=10_000),
    "a frame over all limits": lambda _: call() + frame(DATA, 0, 1, b"x" * 20_000, length=2**24 - 1),
    "data of no stream": lambda _: frame(DATA, END_STREAM, 7, message(GET_RUN)),
    "an even stream": lambda _: frame(HEADERS, END_HEADERS, 2, headers(_method="POST")),
    "headers without an end": lambda _: frame(HEADERS, 0, 1, headers(_method="POST")) * 3,
    "headers that cannot be read": lambda chance: frame(HEADERS, END_HEADERS, 1, chance.randbytes(200)),
    "a flood of headers": lambda _: (
        call(**{f"x_{number}": "y" * 100 for number in range(500)}) + _end(message(GET_RUN))
    ),
    "one huge header": lambda _: call(x_huge="y" * 200_000) + _end(message(GET_RUN)),
    "a header name that is none": lambda _: call(**{"x y\0": "z", "X_Upper": "z"}) + _end(message(GET_RUN)),
    "a header of bytes": lambda _: call(holdfast_actor="\udcff\udcfe") + _end(message(GET_RUN)),
    "a binary header that is none": lambda _: call(x_bin="***") + _end(message(GET_RUN)),
    "continuations without end": lambda _: frame(HEADERS, 0, 1, b"") + frame(CONTINUATION, 0, 1, b"") * 200,
    "a reset in the middle": lambda _: call() + frame(RST_STREAM, 0, 1, b"\0\0\0\x08"),
    "resets, fast": lambda _: b"".join(
        frame(HEADERS, END_HEADERS, number, headers(_method="POST", _path="/x"))
        + frame(RST_STREAM, 0, number, b"\0\0\0\x08")
        for number in range(1, 400, 2)
    ),
    "a flood of pings": lambda _: frame(PING, 0, 0, b"12345678") * 500,
    "a flood of settings": lambda _: frame(SETTINGS, 0, 0, b"") * 500,
    "settings that are none": lambda _: frame(SETTINGS, 0, 0, b"xxxxx"),
    "a window of nothing": lambda _: call() + frame(WINDOW_UPDATE, 0, 1, b"\0\0\0\0"),
    "a window over all limits": lambda _: frame(WINDOW_UPDATE, 0, 0, b"\x7f\xff\xff\xff") * 3,
    "goodbye at once": lambda _: frame(GOAWAY, 0, 0, b"\0" * 8) + call() + _end(message(GET_RUN)),
    "a frame nobody knows": lambda _: frame(200, 255, 1, b"x") + call() + _end(message(GET_RUN)),
    "noise": lambda chance: chance.randbytes(5_000),
}


async def attack(target: str, name: str, chance: random.Random) -> int:
    """Sends one attack on a connection of its own; answers how many bytes came back within a while."""
    host, _, port = target.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    got = 0
    try:
        writer.write(b"GET / HTTP/1.1\r\n\r\n" if chance.randrange(50) == 0 else PREFACE + frame(SETTINGS, 0, 0, b""))
        writer.write(ATTACKS[name](chance))
        with contextlib.suppress(ConnectionError):
            await writer.drain()
        async with asyncio.timeout(PATIENCE_S):
            while more := await reader.read(65_536):
                got += len(more)
    except (TimeoutError, ConnectionError):
        pass
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError, TimeoutError):
            await asyncio.wait_for(writer.wait_closed(), PATIENCE_S)
    return got
