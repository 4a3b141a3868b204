"""The handler of all workloads: it does nothing, so that what is measured is the engine."""

from holdfast import handler


@handler
async def echo(value: str) -> str:
    """Return what came."""
    return value
