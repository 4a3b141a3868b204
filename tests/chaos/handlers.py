"""What the workers serve: handlers that echo, are slow, fail, hang, and make large outputs."""

import asyncio
import hashlib
import time
from collections.abc import Callable
from typing import Any

from holdfast import Failure, NonRetryable, TaskContext

__all__ = ["HANDLERS", "swollen"]

SLOW_S = 0.2


async def echo(_ctx: TaskContext, value: Any) -> Any:
    return value


def echo_in_thread(_ctx: TaskContext, value: Any) -> Any:
    return value


async def slow(_ctx: TaskContext, value: Any) -> Any:
    await asyncio.sleep(SLOW_S)
    return value


def slow_in_thread(_ctx: TaskContext, value: Any) -> Any:
    time.sleep(SLOW_S)
    return value


async def flaky(ctx: TaskContext, value: Any) -> Any:
    if ctx.attempt < 3:
        raise Failure(f"attempt {ctx.attempt} fails on purpose", type="Flaky")
    return value


async def fatal_once(ctx: TaskContext, value: Any) -> Any:
    if ctx.attempt == 1:
        raise NonRetryable("the first attempt fails for good, on purpose")
    return value


async def hang_once(ctx: TaskContext, value: Any) -> Any:
    if ctx.attempt == 1:
        await asyncio.Event().wait()
    return value


async def patient(ctx: TaskContext, _value: Any) -> None:
    while True:
        ctx.heartbeat({"attempt": ctx.attempt})
        await asyncio.sleep(SLOW_S)


async def swell(_ctx: TaskContext, value: Any) -> dict[str, Any]:
    number = value["number"] + 1
    return {"number": number, "text": swollen(number, len(value["text"]))}


HANDLERS: tuple[Callable[[TaskContext, Any], Any], ...] = (
    *(echo, echo_in_thread, slow, slow_in_thread),
    *(flaky, fatal_once, hang_once, patient, swell),
)


def swollen(number: int, length: int) -> str:
    """Return a text of a length, another one for each number."""
    piece = hashlib.sha256(str(number).encode()).hexdigest()
    return (piece * (length // len(piece) + 1))[:length]
