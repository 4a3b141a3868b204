"""The handlers of `hello.yaml`: `holdfast worker examples.hello.hello`."""

from pydantic import BaseModel

from holdfast import TaskContext, handler


class Letter(BaseModel):
    """What is sent, and to whom."""

    to: str
    text: str


@handler
async def greet(name: str) -> str:
    """Write the greeting."""
    return f"Hello, {name}!"


@handler
async def send(ctx: TaskContext, letter: Letter) -> str:
    """Send the greeting; the idempotency key is the same however often this step has to be tried."""
    return f"sent to {letter.to} as {ctx.idempotency_key[:8]}: {letter.text}"
