"""An event loop whose time is virtual and whose order is fixed, and the processes that live and die on it.

Nothing here waits: when nothing is ready, time jumps to the next timer. What is ready runs in the order in which it
became ready, as on asyncio's own loops, because the server may rely on that; chance comes in by how long things take.
"""

import asyncio
import contextvars
import signal
import sys
from asyncio import events
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from heapq import heappop, heappush
from types import FrameType
from typing import Any, TypeVar, TypeVarTuple, Unpack

__all__ = ["Process", "SimulatedLoop", "Violation"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

STEPS_MAX = 2_000_000
"""More than any simulation takes: one that takes more goes round in circles."""
STEP_S = 5.0
"""More processor time than any step takes."""


class Violation(AssertionError):
    """Something happened that must never happen."""


class EndlessStepError(BaseException):
    """Ends a step that would not end by itself."""


class Process:
    """What dies as a whole: once it was killed, nothing that belongs to it runs any more, and no clean-up either.

    Attributes:
        name: for the trace.
        alive: whether it was not killed.
        steps: callbacks it has run.
        doomed_at: the number of steps after which it dies; None for never.
        on_doom: kills it.
    """

    __slots__ = ("_context", "_loop", "alive", "doomed_at", "name", "on_doom", "steps")

    def __init__(self, loop: "SimulatedLoop", name: str) -> None:
        self._loop = loop
        self.name = name
        self.alive = True
        self.steps = 0
        self.doomed_at: int | None = None
        self.on_doom: Callable[[], None] = self.kill
        self._context = contextvars.Context()
        self._context.run(PROCESS.set, self)

    def spawn(self, work: Coroutine[Any, Any, T], name: str = "") -> "asyncio.Task[T]":
        """Begins to run something in this process."""
        return self._loop.create_task(work, name=name or None, context=self._context.copy())

    def later(self, delay_s: float, call: Callable[..., object], *arguments: Any) -> asyncio.TimerHandle:
        """Calls something in this process after a while."""
        return self._loop.call_later(delay_s, call, *arguments, context=self._context)

    def kill(self) -> None:
        """Ends it, in the middle of whatever it does."""
        self.alive = False


PROCESS: contextvars.ContextVar[Process | None] = contextvars.ContextVar("process", default=None)


class SimulatedLoop(asyncio.BaseEventLoop):
    """The loop.

    Args:
        thread_delay_s: how long work on other threads takes.

    Attributes:
        violation: what went wrong first; the loop stops there.
        steps: callbacks it has run.
    """

    def __init__(self, thread_delay_s: Callable[[], float] = lambda: 0.0) -> None:
        super().__init__()
        self.violation: Violation | None = None
        self.thread_delay_s = thread_delay_s
        self.steps = 0
        self._now_us = 0
        self._ready: deque[asyncio.Handle] = deque()
        self._timers: list[tuple[int, int, asyncio.TimerHandle]] = []
        self._number = 0
        self._tasks: list[asyncio.Task[Any]] = []
        self._closed = False

    # -- what asyncio asks of a loop ---------------------------------------------------------------------------------

    def time(self) -> float:
        return self._now_us / 1e6

    def get_debug(self) -> bool:
        return False

    def is_closed(self) -> bool:
        return self._closed

    def call_soon(
        self, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def call_later(
        self,
        delay: float,
        callback: Callable[[Unpack[Ts]], object],
        *args: *Ts,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        when_us = self._now_us
        if delay > 0:
            when_us = max(round(when_us + delay * 1e6), when_us + 1)  # however short, a wait ends later than it began
        return self._schedule(when_us, callback, args, context)

    def call_at(
        self,
        when: float,
        callback: Callable[[Unpack[Ts]], object],
        *args: *Ts,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        return self._schedule(round(when * 1e6), callback, args, context)

    def _schedule(
        self, when_us: int, callback: Callable[..., object], args: Any, context: contextvars.Context | None
    ) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(when_us / 1e6, callback, args, self, context)
        self._number += 1
        heappush(self._timers, (when_us, self._number, handle))
        return handle

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """It stays in the heap and is passed over there."""

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(  # type: ignore[override]
        self,
        coro: Coroutine[Any, Any, T],
        *,
        name: str | None = None,
        context: contextvars.Context | None = None,
    ) -> asyncio.Task[T]:
        task = asyncio.Task(coro, loop=self, name=name, context=context)
        self._tasks.append(task)
        return task

    def run_in_executor(  # type: ignore[override]
        self, executor: Any, func: Callable[..., T], *args: Any
    ) -> asyncio.Future[T]:
        """Does the work at once, and says so after a while."""
        future: asyncio.Future[T] = self.create_future()
        try:
            result = func(*args)
        except Exception as error:  # noqa: BLE001 - it is the caller's
            self.call_later(self.thread_delay_s(), _fail, future, error)
        else:
            self.call_later(self.thread_delay_s(), _answer, future, result)
        return future

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """An exception nobody caught is a violation; what asyncio says of things it collects is not."""
        error = context.get("exception")
        if error is not None and "never retrieved" not in context["message"]:
            self.fail(f"{context['message']}: {type(error).__name__}: {error}", error)

    # -- running -----------------------------------------------------------------------------------------------------

    def fail(self, message: str, cause: BaseException | None = None) -> None:
        """Notes a violation, unless there is one already; the loop stops after this step."""
        if self.violation is None:
            self.violation = cause if isinstance(cause, Violation) else Violation(message)
            if self.violation is not cause:
                self.violation.__cause__ = cause

    def run(self, main: "asyncio.Task[T]") -> T:
        """Runs until a task is done.

        Raises:
            Violation: something went wrong.
        """
        hooks = sys.get_asyncgen_hooks()
        # What is left of a generator when it is collected does nothing: its process is dead, or the simulation over.
        sys.set_asyncgen_hooks(finalizer=lambda _generator: None)
        events._set_running_loop(self)
        try:
            with self._watched():
                while not main.done():
                    self._step()
                    if self.violation is not None:
                        raise self.violation
        finally:
            events._set_running_loop(None)
            sys.set_asyncgen_hooks(*hooks)
        return main.result()

    @contextmanager
    def _watched(self) -> Iterator[None]:
        """A step that does not end is a violation."""
        seen = -1

        def look(_signal: int, frame: FrameType | None) -> None:
            nonlocal seen
            if self.steps == seen and frame is not None:
                self.fail(f"a step does not end: it is in {frame.f_code.co_filename}:{frame.f_lineno}")
                raise EndlessStepError
            seen = self.steps

        before = signal.signal(signal.SIGVTALRM, look)
        signal.setitimer(signal.ITIMER_VIRTUAL, STEP_S, STEP_S)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
            signal.signal(signal.SIGVTALRM, before)

    def _step(self) -> None:
        if not self._ready:
            self._advance()
        handle = self._ready.popleft()
        if handle.cancelled():
            return
        process = handle._context.get(PROCESS)  # type: ignore[attr-defined]
        if process is not None:
            if not process.alive:
                return
            if process.steps == process.doomed_at:
                process.on_doom()
                return
            process.steps += 1
        self.steps += 1
        if self.steps > STEPS_MAX:
            raise Violation(f"the simulation is not over after {STEPS_MAX} steps")
        handle._run()

    def _advance(self) -> None:
        """Lets time pass until something is ready."""
        timers = self._timers
        while timers and timers[0][2].cancelled():
            heappop(timers)
        if not timers:
            raise Violation("nothing will ever happen any more")
        self._now_us = max(self._now_us, timers[0][0])
        while timers and timers[0][0] <= self._now_us:
            self._ready.append(heappop(timers)[2])

    def close(self) -> None:
        """Lets go of what is left, in order, so that nothing of it runs when the interpreter collects it."""
        self._closed = True
        for task in self._tasks:
            if not task.done():
                work: Any = task.get_coro()
                try:
                    work.close()
                except RuntimeError:
                    continue  # it awaits while it is ended; so be it
        self._tasks.clear()
        self._ready.clear()
        self._timers.clear()


def _answer(future: "asyncio.Future[T]", result: T) -> None:
    if not future.done():
        future.set_result(result)


def _fail(future: "asyncio.Future[Any]", error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
