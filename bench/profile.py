"""Where the time of a step goes: py-spy on one of the processes, read back as tables."""

import asyncio
import json
import re
import signal
import sysconfig
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from bench.machine import BenchError

RATE_HZ = 200
TOP = 25
# The part of a path by which a place is named: what follows the folder of packages or of sources.
PLACE = re.compile(r".*(?:site-packages|\bsrc|/lib/python3\.\d+)/(.+)$")
THREAD = re.compile(r'Thread \S+ "(.+)"$')
MAIN = "MainThread"
# Modules that only start the loop: what runs directly above them is the loop itself and gRPC.
FRAME = re.compile(r"(holdfast|holdfast_server)/(cli|__main__|worker/module)\b|bench/load\.py")
LOOP = "(event loop and gRPC)"
SHARE_MIN = 0.005
OWN = re.compile(r"^(holdfast_server|holdfast|bench)(?:/|\.py$)")


@dataclass(frozen=True, slots=True)
class Profile:
    """Where a process was when it was looked at, 200 times a second.

    All but `threads` is about the main thread, where the event loop is, as shares of its samples. Threads that wait for
    a lock or a queue are now and then taken for busy: they are for comparison only.

    Attributes:
        threads: By thread: number of samples in which it was on a CPU.
        rooms: By folder of ours (the server's layers): in which share it was the innermost of ours on the stack.
        own: By module of ours: in which share it was the innermost of our modules on the stack.
        packages: By package or standard module: in which share it was at the very top of the stack.
        functions: By function: in which share it was at the very top of the stack.
        inclusive: By function of ours: in which share it was on the stack at all.
    """

    threads: list[tuple[str, int]]
    rooms: list[tuple[str, float]]
    own: list[tuple[str, float]]
    packages: list[tuple[str, float]]
    functions: list[tuple[str, float]]
    inclusive: list[tuple[str, float]]


class Recorder:
    """py-spy, recording one process into a speedscope file."""

    def __init__(self, pid: int, file: Path) -> None:
        self._pid = pid
        self._file = file
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Begin to record; returns once it does.

        Raises:
            BenchError: py-spy is not installed.
        """
        program = Path(sysconfig.get_path("scripts")) / "py-spy"
        if not program.exists():
            raise BenchError("--profile needs py-spy: run `make setup`")
        self._file.parent.mkdir(parents=True, exist_ok=True)
        self._process = await asyncio.create_subprocess_exec(
            program,
            *("record", "--pid", str(self._pid), "--threads", "--rate", str(RATE_HZ)),
            *("--format", "speedscope", "--output", str(self._file)),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        assert self._process.stdout is not None  # noqa: S101 - for the type checker
        await self._process.stdout.readline()  # it says so when it has found its way into the process

    async def stop(self) -> Profile:
        """End the recording and read it.

        Raises:
            BenchError: Nothing was recorded; the message says why.
        """
        if self._process is None:
            raise BenchError("--profile: nothing was recorded")
        if self._process.returncode is None:
            self._process.send_signal(signal.SIGINT)
        output, _ = await self._process.communicate()
        if self._process.returncode or not self._file.exists():
            said = output.decode(errors="replace").strip()
            raise BenchError(f"py-spy could not record process {self._pid} (it may need root):\n{said}")
        return read_profile(self._file)


def read_profile(file: Path) -> Profile:
    """Return the shares in a speedscope file of sampled stacks."""
    data = json.loads(file.read_text(encoding="utf-8"))
    frames = [
        (_place(frame.get("file") or ""), frame["name"], frame.get("line") or 0) for frame in data["shared"]["frames"]
    ]
    rooms: Counter[str] = Counter()
    own: Counter[str] = Counter()
    packages: Counter[str] = Counter()
    functions: Counter[str] = Counter()
    inclusive: Counter[str] = Counter()
    threads = {_thread(thread["name"]): [stack for stack in thread["samples"] if stack] for thread in data["profiles"]}
    samples = threads.get(MAIN, [])
    for stack in samples:
        places = [frames[index] for index in stack]
        innermost = next((p for p, _, _ in reversed(places) if OWN.match(p) and not FRAME.match(p)), LOOP)
        own[innermost] += 1
        rooms["/".join(innermost.split("/")[:2])] += 1
        packages[_package(places[-1][0])] += 1
        functions[f"{places[-1][1]} ({places[-1][0]})"] += 1
        inclusive.update({f"{name} ({place})" for place, name, _ in places if OWN.match(place)})
    counted = sorted(((name, len(stacks)) for name, stacks in threads.items()), key=lambda entry: -entry[1])
    return Profile(
        counted, *(_shares(counter, len(samples)) for counter in (rooms, own, packages, functions, inclusive))
    )


def _thread(name: str) -> str:
    match = THREAD.match(name)
    return match.group(1) if match else name


def _shares(counter: Counter[str], samples: int) -> list[tuple[str, float]]:
    return [(name, count / max(1, samples)) for name, count in counter.most_common(TOP)]


def _place(file: str) -> str:
    match = PLACE.search(file)
    return match.group(1) if match else file.removeprefix("./")


def _package(place: str) -> str:
    return place if OWN.match(place) else place.partition("/")[0].removesuffix(".py")


def text_of(profile: Profile, role: str) -> str:
    """Return the tables of a profile."""
    parts = [f"profile of the {role}", "", "  by thread, samples on a CPU (200 a second)"]
    parts += [f"  {count:6,}  {name}" for name, count in profile.threads]
    for title, entries in (
        ("main thread, by room of ours, innermost on the stack", profile.rooms),
        ("main thread, by module of ours, innermost on the stack", profile.own),
        ("main thread, by package, at the top of the stack", profile.packages),
        ("main thread, by function, at the top of the stack", profile.functions),
        ("main thread, by function of ours, anywhere on the stack", profile.inclusive),
    ):
        parts += ["", f"  {title}", *(f"  {share:6.1%}  {name}" for name, share in entries if share >= SHARE_MIN)]
    return "\n".join(parts)
