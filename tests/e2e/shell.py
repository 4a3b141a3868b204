"""Runs the commands of a document as its reader would: in one shell, in a folder of their own, in order."""

import contextlib
import os
import pty
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.e2e.documents import ROOT, Command, missing_line

SENTINEL = "--- this command ended with "
WAIT_S = 40.0
LINKED = (
    *("Makefile", "README.md", "bench", "constraints.txt", "docs", "examples", "proto", "pyproject.toml"),
    *("sdk", "server", "tests", "tui"),
)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def scratch_checkout(folder: Path) -> None:
    """Make a folder look like the checkout; what commands write lands in it, not in the checkout."""
    for name in LINKED:
        (folder / name).symlink_to(ROOT / name)
    (folder / ".venv").symlink_to(sys.prefix)


class BackgroundCommand:
    """A command with a terminal of its own, which a reader would leave running in another window."""

    def __init__(self, command: Command, folder: Path, environment: Mapping[str, str]) -> None:
        self.command = command
        self._seen = threading.Condition()
        self._printed = b""
        self._over = False
        ours, theirs = pty.openpty()
        try:
            self._process = subprocess.Popen(
                ["bash", "-c", f"exec {command.text}"],
                cwd=folder,
                env=environment,
                stdin=theirs,
                stdout=theirs,
                stderr=theirs,
                process_group=0,
            )
        finally:
            os.close(theirs)
        self._reader = threading.Thread(target=self._read, args=(ours,), name=command.text)
        self._reader.start()

    @property
    def printed(self) -> str:
        return self._printed.decode(errors="replace")

    def _read(self, terminal: int) -> None:
        # A terminal whose other side is gone answers with an error instead of an end.
        with open(terminal, "rb", buffering=0) as output, contextlib.suppress(OSError):
            while data := output.read(65_536):
                with self._seen:
                    self._printed += data
                    self._seen.notify_all()
        with self._seen:
            self._over = True
            self._seen.notify_all()

    def wait_for_documented_output(self) -> None:
        """Wait until everything the document shows has been printed."""

        def shown() -> bool:
            return missing_line(self.command.output, self.printed) is None

        with self._seen:
            self._seen.wait_for(lambda: shown() or self._over, WAIT_S)
        missing = missing_line(self.command.output, self.printed)
        assert missing is None, f"{self.command.place}: not printed: {missing!r}\n{self.printed}"

    def end(self) -> None:
        """Let it end: by itself if the document says so, else as by `kill`; both have to be in good order."""
        if self.command.keeps_running:
            self._process.terminate()
        try:
            code = self._process.wait(WAIT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise
        finally:
            self._reader.join()
        assert code == self.command.exit_code, f"{self.command.place}: exit code {code}\n{self.printed}"

    def kill(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        self._reader.join()


class Shell:
    """One shell for the commands of a document."""

    def __init__(self, folder: Path, port: int) -> None:
        self.target = f"127.0.0.1:{port}"
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("HOLDFAST_", "DEMO_", "OPENAI_", "MAKE", "MFLAGS", "PYTEST_"))
        }
        self._environment = {
            **kept,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "HOLDFAST_LISTEN": self.target,
            "HOLDFAST_TARGET": self.target,
            "COLUMNS": "100",
            "LINES": "50",
            "NO_COLOR": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
            "TERM": "xterm",
        }
        self._folder = folder
        self._background: list[BackgroundCommand] = []
        self._bash = subprocess.Popen(
            ["bash", "--noprofile", "--norc"],
            cwd=folder,
            env=self._environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            process_group=0,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if fault is None:
                for command in reversed(self._background):
                    command.end()
        finally:
            for command in self._background:
                command.kill()
            self._kill()
            self._bash.communicate()

    def run(self, command: Command) -> None:
        """Run a command and check what it prints and how it ends."""
        if command.in_background:
            started = BackgroundCommand(command, self._folder, self._environment)
            self._background.append(started)
            started.wait_for_documented_output()
            return
        code, printed = self._foreground(command.text)
        assert code == command.exit_code, f"{command.place}: `{command.text}` ended with exit code {code}\n{printed}"
        missing = missing_line(command.output, printed)
        assert missing is None, f"{command.place}: `{command.text}` did not print {missing!r} but\n{printed}"

    def _foreground(self, text: str) -> tuple[int, str]:
        assert self._bash.stdin is not None
        assert self._bash.stdout is not None
        # No terminal, no input: a command that would ask somebody ends instead.
        self._bash.stdin.write(f"{{ {text}\n}} </dev/null; printf '\\n%s%s\\n' '{SENTINEL}' $?\n")
        self._bash.stdin.flush()
        lines: list[str] = []
        too_long = threading.Timer(WAIT_S, self._kill)
        too_long.start()
        try:
            for line in self._bash.stdout:
                if line.startswith(SENTINEL):
                    return int(line.removeprefix(SENTINEL)), "".join(lines)
                lines.append(line)
        finally:
            too_long.cancel()
            too_long.join()
        raise AssertionError(f"the shell ended in `{text}`, or that took longer than {WAIT_S:g} s\n{''.join(lines)}")

    def _kill(self) -> None:
        """Kill the shell with the command it waits for."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._bash.pid, signal.SIGKILL)
