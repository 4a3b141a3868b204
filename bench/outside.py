"""What a workload asks of the program that started the load process: it alone knows the processes and the disk."""

import asyncio
import json
import sys
from typing import Any


def tell(message: dict[str, Any]) -> None:
    """Write a line for the program that started this one."""
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


class Outside:
    """Questions that go out as a line each, and are answered by one; a workload waits for the answer."""

    async def begin(self) -> None:
        """Say that from here on it counts."""
        await self._ask("begin")

    async def end(self) -> None:
        """Say that it counts no more."""
        await self._ask("end")

    async def server_peak_mb(self) -> float | None:
        """Return the most resident memory the server has had since it was started; None where that is not known."""
        peak: float | None = await self._ask("peak")
        return peak

    async def database_bytes(self) -> int:
        """Return the size of the database after a checkpoint. Nothing may be going on."""
        size: int = await self._ask("database")
        return size

    async def restart_server(self) -> float:
        """Kill the server and start it again; returns the seconds from its start until it can be called."""
        seconds: float = await self._ask("restart")
        return seconds

    @staticmethod
    async def _ask(question: str) -> Any:
        tell({"ask": question})
        line = await asyncio.to_thread(sys.stdin.readline)
        if not line:
            raise SystemExit("the benchmark has ended")
        return json.loads(line)["answer"]
