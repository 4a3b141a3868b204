"""The load process: `python -m bench.load TARGET` does one workload per line of its input and answers in lines.

In: `{"workload": "W1", …the fields of its order}`. Out: questions, `{"ask": "begin"}`, each answered by a line that
comes in, `{"answer": null}`; at last `{"result": …}`.
"""

import asyncio
import json
import sys
from dataclasses import asdict
from typing import Any

from bench.outside import Outside, tell
from bench.workloads import WORKLOADS
from holdfast import Client


async def _work(client: Client, order: dict[str, Any]) -> dict[str, Any]:
    workload = WORKLOADS[order.pop("workload")]
    return asdict(await workload.measure(client, workload.order(**order), Outside()))


async def main(target: str) -> None:
    """Do what the lines of the standard input say, until it ends."""
    async with Client(target) as client:
        while line := await asyncio.to_thread(sys.stdin.readline):
            tell({"result": await _work(client, json.loads(line))})


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
