"""A file system of a few MiB that only one process and the servers it is given to can see."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

__all__ = ["TinyDisk", "tiny_disk"]


class TinyDisk:
    """A mounted file system.

    Attributes:
        folder: where servers find it.
    """

    def __init__(self, holder: "subprocess.Popen[str]", folder: Path) -> None:
        self._inside = ["nsenter", f"--target={holder.pid}", "--user", "--mount", "--preserve-credentials", "--"]
        self._filler = folder / "filler"
        self.folder = folder

    def program(self, path: Path) -> Path:
        """Write a program that stands for this Python, and sees the file system."""
        path.write_text(f'#!/bin/sh\nexec {" ".join(self._inside)} {sys.executable} "$@"\n')
        path.chmod(0o700)
        return path

    def fill(self) -> None:
        """Leave no room."""
        self._run("dd", "if=/dev/zero", f"of={self._filler}", "bs=4k", fails=True)

    def free(self) -> None:
        """Give the room back."""
        self._run("rm", str(self._filler))

    def make_read_only(self) -> None:
        """Take no writes."""
        self._run("mount", "-o", "remount,ro", str(self.folder))

    def make_writable(self) -> None:
        """Take writes."""
        self._run("mount", "-o", "remount,rw", str(self.folder))

    def _run(self, *command: str, fails: bool = False) -> None:
        done = subprocess.run([*self._inside, *command], check=not fails, capture_output=True, text=True)
        assert (done.returncode != 0) is fails, done.stderr


@contextmanager
def tiny_disk(folder: Path, size_kib: int) -> Iterator[TinyDisk]:
    """A file system of that size, mounted on a folder where nobody else sees it."""
    mount = f'mount -t tmpfs -o size={size_kib}k none "$1" && echo mounted && exec cat'
    command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mount, "sh", str(folder)]
    try:
        holder = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
    except FileNotFoundError:
        pytest.skip("there are no namespaces here")
    with holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        if holder.stdout.readline() != "mounted\n":
            _, why = holder.communicate()
            pytest.skip(f"a namespace may not be made here: {why}")
        try:
            yield TinyDisk(holder, folder)
        finally:
            holder.stdin.close()
