"""The handlers the real worker of these tests serves."""

from typing import Any

from holdfast import handler


@handler
async def write(topic: str) -> str:
    """Write something to be looked at."""
    return f"# On {topic}\n\nAll of it."


@handler
async def publish(text: Any) -> str:
    """Publish it."""
    return f"published {len(str(text))} characters"
