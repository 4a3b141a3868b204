"""A server that watches its own event loop: `python -m tests.fuzz.probed_server DATABASE READY_FILE REPORT`.

Every tick that comes late by more than a tenth of a second is a line of REPORT, in JSON: how late it was, how much of
that the loop's own thread was computing, and where. Time in which the machine did something else is not the server's.
"""

import asyncio
import contextlib
import gc
import json
import signal
import sys
import threading
import time
import traceback
from pathlib import Path

from holdfast_server.app import Server, run_until_signal
from holdfast_server.cli import GC_THRESHOLDS, SWITCH_INTERVAL_S
from holdfast_server.config import ServerConfig
from holdfast_server.logs import configure

__all__ = ["STALL_S"]

TICK_S = 0.01
STALL_S = 0.1
SUSPECT_S = 0.06
"""After so long without a tick the loop's stack is looked at."""


class Probe:
    """Measures how late the event loop is."""

    def __init__(self, report: Path) -> None:
        self._report = report.open("a", buffering=1, encoding="utf-8")
        self._loop_thread = threading.get_ident()
        self._ticked = time.monotonic()
        self._stack: list[str] = []
        self._over = threading.Event()
        threading.Thread(target=self._watch, name="probe", daemon=True).start()

    async def run(self) -> None:
        """Ticks for ever."""
        while True:
            computed = time.thread_time()
            await asyncio.sleep(TICK_S)
            now = time.monotonic()
            late_s, busy_s = now - self._ticked - TICK_S, time.thread_time() - computed
            if min(late_s, busy_s) > STALL_S:
                where, self._stack = self._stack, []
                line = {"late_s": round(late_s, 3), "busy_s": round(busy_s, 3), "where": where}
                self._report.write(f"{json.dumps(line)}\n")
            self._ticked, self._stack = now, []

    def _watch(self) -> None:
        while not self._over.wait(TICK_S):
            if time.monotonic() - self._ticked > SUSPECT_S and not self._stack:
                frame = sys._current_frames().get(self._loop_thread)
                found = traceback.extract_stack(frame) if frame is not None else []
                own = [one for one in found if "holdfast" in one.filename]
                self._stack = [f"{Path(one.filename).name}:{one.lineno} {one.name}" for one in own[-8:]]


async def _serve(database: str, ready: Path, report: Path) -> None:
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    gc.set_threshold(*GC_THRESHOLDS)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    server = Server(ServerConfig(listen="127.0.0.1:0", database=database))
    await server.start()
    probing = asyncio.get_running_loop().create_task(Probe(report).run())
    ready.write_text(f"127.0.0.1:{server.port}\n", encoding="utf-8")  # noqa: ASYNC240 - nothing else runs yet
    await run_until_signal(server, stop)
    probing.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await probing


if __name__ == "__main__":
    configure("console", "info")
    asyncio.run(_serve(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])))
