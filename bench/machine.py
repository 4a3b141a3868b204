"""What the machine says: itself, the CPU time and memory of a process, and the disk that is written to."""

import os
import platform
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any, Self

FSYNCS = 40
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


class BenchError(Exception):
    """The measurement cannot be made, or is void."""


@dataclass(frozen=True, slots=True)
class Cpu:
    """CPU time of one process, in seconds: its own code, and the kernel's on its behalf."""

    user_s: float
    system_s: float

    def __sub__(self, other: Self) -> "Cpu":
        return Cpu(self.user_s - other.user_s, self.system_s - other.system_s)


def cpu_of(pid: int) -> Cpu | None:
    """Return the CPU time a process has taken so far with all its threads; None where there is no `/proc`."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    fields = stat.rpartition(")")[2].split()  # the name before may hold anything
    return Cpu(int(fields[11]) / _TICKS_PER_S, int(fields[12]) / _TICKS_PER_S)


def peak_mb_of(pid: int) -> float | None:
    """Return the most resident memory a process has had so far, in MB; None where there is no `/proc`."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    kib = next((line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:")), None)
    return None if kib is None else int(kib) * 1024 / 1e6


@dataclass(frozen=True, slots=True)
class Disk:
    """The disk of the database.

    Attributes:
        kind: Its file system.
        fsync_ms: Median time to append 4 KiB and have it on disk, with nothing else going on.
    """

    kind: str
    fsync_ms: float


def disk_of(folder: Path) -> Disk:
    """Look at the disk a folder is on.

    Raises:
        BenchError: It is no disk but memory, so nothing measured there says anything about durability.
    """
    kind = _file_system(folder)
    if kind in {"tmpfs", "ramfs"}:
        raise BenchError(f"{folder} is {kind}, that is memory; name a folder on a disk with --folder")
    probe = folder / "fsync-probe"
    times = []
    with probe.open("wb", buffering=0) as file:
        for _ in range(FSYNCS):
            begun = time.perf_counter()
            file.write(bytes(4096))
            os.fsync(file.fileno())
            times.append(time.perf_counter() - begun)
    probe.unlink()
    return Disk(kind=kind, fsync_ms=median(times) * 1e3)


def _file_system(folder: Path) -> str:
    try:
        mounts = Path("/proc/mounts").read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return "unknown"
    place = str(folder.resolve())
    fitting = [
        (len(point), kind)
        for _, point, kind, *_ in map(str.split, mounts)
        if place == point or place.startswith(point.rstrip("/") + "/")
    ]
    return max(fitting)[1] if fitting else "unknown"


def description(disk: Disk) -> dict[str, Any]:
    """Return what the figures depend on."""
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "cores": os.cpu_count(),
        "load_before": round(os.getloadavg()[0], 2),
        "processor": _processor(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "file_system": disk.kind,
        "fsync_ms": round(disk.fsync_ms, 3),
    }


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:  # noqa: PTH123 - read line by line
            return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")
    except FileNotFoundError:
        return platform.processor() or "unknown"
