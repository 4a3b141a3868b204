"""Whether the server can do its work: refuses changes while the database does, and finds out when it does again."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from holdfast.v1.errors_pb2 import ErrorReason
from holdfast.v1.operations_service_pb2 import HealthState
from holdfast_server.engine.refusal import Refused
from holdfast_server.store.port import Commit, StoreError

__all__ = ["Health"]

log = structlog.get_logger("holdfast.health")

SLOW_COMMIT_S = 1.0
"""A commit that takes longer is worth to be told of."""


class Health:
    """The state of the server.

    Args:
        probe: writes something durably; raises StoreError while the database refuses.
        retry_s: seconds between two probes.
    """

    def __init__(self, probe: Callable[[], Awaitable[None]], retry_s: float = 0.5) -> None:
        self._probe = probe
        self._retry_s = retry_s
        self._task: asyncio.Task[None] | None = None
        self._listeners: list[Callable[[], None]] = []
        self._sleepers: dict[asyncio.Event, None] = {}  # no set: those who wait longest wake first
        self.state = HealthState.HEALTH_STATE_OK
        self._message = ""
        self._slow_since_s: float | None = None

    def watched(self, commit: Callable[[Commit], Awaitable[None]]) -> Callable[[Commit], Awaitable[None]]:
        """The same, and the server says that it is slow while one takes long."""

        async def watched(what: Commit) -> None:
            loop = asyncio.get_running_loop()
            timer = loop.call_later(SLOW_COMMIT_S, self._slow, loop.time())
            try:
                await commit(what)
            finally:
                timer.cancel()
                self._over()

        return watched

    @property
    def commit_age_s(self) -> float | None:
        """For how long the commit under way has waited for the disk; None if that is not long."""
        return None if self._slow_since_s is None else asyncio.get_running_loop().time() - self._slow_since_s

    @property
    def message(self) -> str:
        """One sentence on its state; empty when all is well."""
        age_s = self.commit_age_s
        if self.state == HealthState.HEALTH_STATE_SLOW and age_s is not None:
            return f"the disk is slow: a commit has waited for it for {age_s:.1f} s, and changes wait with it"
        return self._message

    def listen(self, listener: Callable[[], None]) -> None:
        """Calls back at every change."""
        self._listeners.append(listener)

    @property
    def writable(self) -> bool:
        """Whether changes are taken."""
        return self.state != HealthState.HEALTH_STATE_READ_ONLY

    def store_failed(self, error: StoreError) -> None:
        """The database refused a write."""
        log.error("the database refuses writes; changes are refused until it takes them again", error=str(error))
        if self.state in {HealthState.HEALTH_STATE_OK, HealthState.HEALTH_STATE_SLOW}:
            self._set(HealthState.HEALTH_STATE_READ_ONLY, f"the database refuses writes: {error}")
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._probe_until_well(), name="health-probe")

    def draining(self) -> None:
        """The server is going down."""
        self._set(HealthState.HEALTH_STATE_DRAINING, "the server is going down")
        for wake in self._sleepers:
            wake.set()

    async def sleep(self, wake: asyncio.Event) -> None:
        """Waits for an event on behalf of a call that lasts: such calls end when the server goes down.

        Raises:
            Refused: DRAINING.
        """
        if self.state != HealthState.HEALTH_STATE_DRAINING:
            self._sleepers[wake] = None
            try:
                await wake.wait()
            finally:
                self._sleepers.pop(wake, None)
        if self.state == HealthState.HEALTH_STATE_DRAINING:
            raise Refused(ErrorReason.ERROR_REASON_DRAINING, "the server is going down; try again")

    async def close(self) -> None:
        """Stops probing."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def _set(self, state: HealthState.ValueType, message: str) -> None:
        self.state = state
        self._message = message
        for listener in self._listeners:
            listener()

    def _slow(self, since_s: float) -> None:
        log.warning("a commit waits for the disk")
        self._slow_since_s = since_s
        if self.state == HealthState.HEALTH_STATE_OK:
            self._set(HealthState.HEALTH_STATE_SLOW, "")

    def _over(self) -> None:
        age_s, self._slow_since_s = self.commit_age_s, None
        if age_s is None:
            return
        log.info("the commit that waited for the disk is over", took_s=round(age_s, 3))
        if self.state == HealthState.HEALTH_STATE_SLOW:
            self._set(HealthState.HEALTH_STATE_OK, "")

    async def _probe_until_well(self) -> None:
        while True:
            try:
                await self._probe()
            except StoreError as error:
                log.warning("the database still refuses writes", error=str(error))
                await asyncio.sleep(self._retry_s)
                continue
            break
        log.info("the database takes writes again")
        if self.state == HealthState.HEALTH_STATE_READ_ONLY:
            self._set(HealthState.HEALTH_STATE_OK, "")
