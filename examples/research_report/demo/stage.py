"""The processes of the demonstration: a server on a database of its own, and a worker; killed and started at will."""

import asyncio
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from examples.research_report.demo.settings import ROOT
from holdfast.testing import ProcessError, ServerProcess, WorkerProcess

SUPERVISED_EVERY_S = 0.25
HANDLERS = "examples.research_report.handlers"


class Stage:
    """Server and worker, each a process of its own, on a database in a folder that goes with them.

    Attributes:
        server: The server.
        worker: The worker; there once the stage is entered.
    """

    worker: WorkerProcess

    def __init__(self, step_s: float) -> None:
        self._step_s = step_s
        self._down = False
        self._exit = AsyncExitStack()

    async def __aenter__(self) -> Self:
        folder = Path(self._exit.enter_context(tempfile.TemporaryDirectory(prefix="holdfast-demo-")))
        try:
            self.server = ServerProcess(folder / "demo.db", log=folder / "server.log", folder=ROOT)
            await self._exit.enter_async_context(self.server)
            self.worker = WorkerProcess(
                HANDLERS,
                target=self.server.target,
                # Who ends the demonstration is not to wait for a step whose result nobody will see.
                arguments=("--grace", "1s"),
                log=folder / "worker.log",
                environment={"RESEARCH_STEP_S": str(self._step_s)},
                folder=ROOT,
            )
            await self._exit.enter_async_context(self.worker)
        except BaseException:
            await self._exit.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._exit.aclose()

    def kill(self) -> tuple[int, int]:
        """Kill both with SIGKILL, as a power cut would, and return their process ids: server, worker."""
        pids = self.server.pid, self.worker.pid
        self._down = True
        self.worker.kill()
        self.server.kill()
        return pids

    def start_again(self) -> tuple[int, int]:
        """Start both again, on the same database and the same address, and return their process ids."""
        self.server.start()
        self.worker.start()
        self._down = False
        return self.server.pid, self.worker.pid

    async def supervise(self) -> None:
        """Look after both processes, for ever.

        Raises:
            ProcessError: One of them ended although nobody killed it; without it the run would wait for nothing.
        """
        while True:
            await asyncio.sleep(SUPERVISED_EVERY_S)
            for process in (self.server, self.worker):
                if not self._down and not process.running:
                    raise ProcessError(f"the {process.what} ended by itself\n{self.logs()}")

    def logs(self) -> str:
        """Return what server and worker wrote last."""
        return f"--- server ---\n{self.server.log_tail()}\n--- worker ---\n{self.worker.log_tail()}"
