"""What the fixture `provider` hands out: a made-up model's server, and what it was asked."""

from dataclasses import dataclass, field
from typing import Any


@dataclass
class Provider:
    """A server that answers every question the same way and remembers what it was asked."""

    status: int = 200
    body: bytes = b'{"choices": [{"message": {"content": " A text. "}}]}'
    headers: dict[str, str] = field(default_factory=dict)
    asked: list[tuple[str, str | None, Any]] = field(default_factory=list)
    url: str = ""
