"""A server and workers as processes of their own, for tests, demonstrations and measurements on one machine.

    with ServerProcess(folder / "holdfast.db") as server, WorkerProcess("my_handlers", target=server.target):
        ...  # Client(server.target)

In a coroutine use `async with`: it starts and stops them without blocking the loop.
"""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from holdfast.errors import HoldfastError

__all__ = ["ProcessError", "ServerProcess", "WorkerProcess"]

POLL_S = 0.01
LOG_TAIL_CHARACTERS = 4_000


class ProcessError(HoldfastError):
    """A process did not start, or ended before it was asked to; the message holds the end of its log."""


class _Process:
    """One `python -m holdfast …`, whose output goes to a file."""

    what = "process"
    program = "holdfast"
    """The module that is run; one that does something before it becomes the command line may stand in for it."""

    def __init__(
        self,
        arguments: Sequence[str],
        *,
        log: Path | None,
        environment: Mapping[str, str] | None,
        folder: Path | None,
    ) -> None:
        self._arguments = list(arguments)
        self._environment = dict(environment or {})
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self._scratch = tempfile.TemporaryDirectory(prefix="holdfast-process-")
        self.log = log or Path(self._scratch.name) / "log.txt"

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return await asyncio.to_thread(self.__enter__)

    async def __aexit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Shielded: a caller that is cancelled must not leave the process behind.
        await asyncio.shield(asyncio.to_thread(self.close))

    @property
    def pid(self) -> int:
        """Id of the process that runs, or ran last.

        Raises:
            ProcessError: It was never started.
        """
        if self._process is None:
            raise ProcessError(f"{self.what}: not started; call start()")
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process is alive."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> Self:
        """Start the process.

        Raises:
            ProcessError: It runs already.
        """
        if self.running:
            raise ProcessError(f"{self.what}: runs already as process {self.pid}")
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(  # noqa: S603 - this very program
                [sys.executable, "-m", self.program, *self._started_with()],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=self._folder,
                env={**os.environ, "PYTHONUNBUFFERED": "1", **self._environment},
                # A Ctrl-C in the terminal is for the caller, who then ends this process in order.
                process_group=0,
            )
        return self

    def stop(self, timeout_s: float = 20.0) -> int:
        """Ask the process to end in order (SIGTERM), and return its exit code.

        Args:
            timeout_s: How long it may take; after that it is killed.
        """
        if self._process is None:
            return 0
        if self.running:
            self._process.terminate()
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return self.kill()

    def kill(self) -> int:
        """Kill the process at once (SIGKILL), as a crash would, and return its exit code."""
        if self._process is None:
            return 0
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGKILL)
        return self._process.wait()

    def close(self) -> None:
        """Stop the process and forget what it left in its scratch folder; its log too, unless a place was named."""
        self.stop()
        self._scratch.cleanup()

    def log_tail(self) -> str:
        """Return the end of what the process wrote."""
        if not self.log.exists():
            return ""
        return self.log.read_text(encoding="utf-8", errors="replace")[-LOG_TAIL_CHARACTERS:]

    def _started_with(self) -> list[str]:
        return self._arguments


class ServerProcess(_Process):
    """A server on a free port of the loopback, or wherever `listen` says; ready to be called once it is started.

    Attributes:
        database: Its database file.
        target: Its address, `host:port`. It is kept when the process is started again after `stop` or `kill`, so that
            clients and workers find it.
        log: What it wrote.
    """

    what = "server"

    def __init__(
        self,
        database: Path,
        *,
        listen: str = "127.0.0.1:0",
        arguments: Sequence[str] = (),
        log: Path | None = None,
        environment: Mapping[str, str] | None = None,
        folder: Path | None = None,
        start_timeout_s: float = 60.0,
    ) -> None:
        """Describe a server; `start`, `with` or `async with` starts it.

        Args:
            database: File of its database; made if it is not there.
            listen: Address to listen on; port 0 takes a free one.
            arguments: More arguments of `holdfast server`.
            log: File its output is added to; None for one that lives as long as this object.
            environment: Added to this program's environment.
            folder: Folder it runs in; None for this program's.
            start_timeout_s: How long it may take until it can be called.
        """
        super().__init__(arguments, log=log, environment=environment, folder=folder)
        self.database = database
        self.target = ""
        self._listen = listen
        self._start_timeout_s = start_timeout_s
        self._ready_file = Path(self._scratch.name) / "ready"

    def start(self) -> Self:
        """Start the server and wait until it can be called.

        Raises:
            ProcessError: It runs already, ended, or was not ready in time.
        """
        self._ready_file.unlink(missing_ok=True)
        super().start()
        self.target = self._wait_until_ready()
        return self

    def _started_with(self) -> list[str]:
        return [
            "server",
            *("--database", str(self.database)),
            *("--listen", self.target or self._listen),
            *("--ready-file", str(self._ready_file)),
            *self._arguments,
        ]

    def _wait_until_ready(self) -> str:
        assert self._process is not None  # noqa: S101 - for the type checker
        for _ in range(round(self._start_timeout_s / POLL_S)):
            with contextlib.suppress(FileNotFoundError):
                text = self._ready_file.read_text(encoding="utf-8")
                if text.endswith("\n"):
                    return text.strip()
            # The wait is for its end, so that one that cannot start is noticed at once.
            with contextlib.suppress(subprocess.TimeoutExpired):
                code = self._process.wait(POLL_S)
                raise ProcessError(f"server: ended with exit code {code} before it was ready\n{self.log_tail()}")
        self.kill()
        raise ProcessError(f"server: not ready within {self._start_timeout_s:g} s\n{self.log_tail()}")


class WorkerProcess(_Process):
    """A worker that serves the handlers of a module.

    Attributes:
        log: What it wrote.
    """

    what = "worker"

    def __init__(
        self,
        module: str,
        *,
        target: str,
        arguments: Sequence[str] = (),
        log: Path | None = None,
        environment: Mapping[str, str] | None = None,
        folder: Path | None = None,
    ) -> None:
        """Describe a worker; `start`, `with` or `async with` starts it. It keeps on trying until it finds the server.

        Args:
            module: Module with handlers, importable from `folder`.
            target: Address of the server.
            arguments: More arguments of `holdfast worker`, for example `("--slots", "50")`.
            log: File its output is added to; None for one that lives as long as this object.
            environment: Added to this program's environment.
            folder: Folder it runs in; None for this program's.
        """
        super().__init__(
            ["worker", module, "--target", target, *arguments], log=log, environment=environment, folder=folder
        )
