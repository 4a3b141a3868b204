"""The load process: `python -m bench.load TARGET` does one workload per line of its input and answers in lines.

In: `{"workload": "W1", …the fields of its load}`. Out: `{"mark": "begin"}`, `{"mark": "end"}`, then `{"result": …}`.
"""

import asyncio
import json
import sys
from typing import Any

from bench.workloads import w1, w2
from bench.workloads.chain import DEFINITION
from holdfast import Client


def _tell(message: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def _mark(name: str) -> None:
    _tell({"mark": name})


async def _work(client: Client, order: dict[str, Any]) -> dict[str, Any]:
    workload = order.pop("workload")
    if workload == "W1":
        return (await w1.measure(client, w1.Load(**order), _mark)).as_json()
    if workload == "W2":
        return (await w2.measure(client, w2.Runs(**order), _mark)).as_json()
    raise ValueError(f"workload: {workload!r} is none of W1, W2")


async def main(target: str) -> None:
    """Do what the lines of the standard input say, until it ends."""
    async with Client(target) as client:
        await client.register(DEFINITION)
        while line := await asyncio.to_thread(sys.stdin.readline):
            _tell({"result": await _work(client, json.loads(line))})


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
