"""Keeping leases: renewed, adopted after a restart, returned unused, or lost."""

from holdfast.v1.worker_service_pb2 import HeldState, HeldTask
from holdfast_server.clock import Clocks
from holdfast_server.matching.details import HeartbeatDetails
from holdfast_server.matching.handing import Handing
from holdfast_server.matching.leases import Lease, Limits, QueuedTask
from holdfast_server.matching.owner import Owner
from holdfast_server.matching.returns import Returns
from holdfast_server.matching.settings import MatchingSettings
from holdfast_server.matching.tokens import TokenInvalidError, TokenStaleError
from holdfast_server.matching.workers import Worker

__all__ = ["Keeping"]

SECOND_US = 1_000_000


class Keeping:
    """What becomes of leases between being given and being settled.

    Attributes:
        returns: how often open attempts went back.
    """

    def __init__(
        self,
        owner: Owner,
        handing: Handing,
        details: HeartbeatDetails,
        server_epoch: int,
        clocks: Clocks,
        settings: MatchingSettings,
    ) -> None:
        self.returns = Returns(settings.returns)
        self._owner = owner
        self._handing = handing
        self._details = details
        self._server_epoch = server_epoch
        self._now_us = clocks.workers.now_us
        self._attempts_us = clocks.attempts.now_us
        self._settings = settings
        self._grace_end_us = 0  # by the clock of attempts

    # -- from an earlier server --------------------------------------------------------------------------------------

    def grant_grace(self, leases: list[Lease]) -> None:
        """From now on workers have the grace to come back for what they had."""
        self._grace_end_us = self._attempts_us() + self._settings.adoption_grace_us
        end_us = self._now_us() + self._settings.adoption_grace_us
        for lease in leases:
            lease.renew_us = end_us - self._settings.lease_us

    def inherit(self, task: QueuedTask, worker: Worker, number: int) -> None:
        """A worker had this attempt, and has the grace to come back for it."""
        now_us = self._now_us()
        lease = self._handing.lease(task, worker, number, b"", now_us)
        lease.renew_us = now_us + self._settings.adoption_grace_us - self._settings.lease_us
        self._handing.deadlines.watch(lease, lease.due_us())

    def adopt(self, worker: Worker, token: bytes) -> Lease:
        """Lets a worker keep what an earlier server gave it and nobody has now.

        Raises:
            TokenInvalidError: The token was not given to this worker.
            TokenStaleError: Its lease is over.
        """
        content = worker.seal.read(token)
        task = self._handing.find(content.run_key, content.path)
        if task is None or task.attempt != content.attempt or not worker.open:
            raise TokenStaleError(content)
        known = task.lease
        if known is None:
            if content.server_epoch == self._server_epoch:
                raise TokenStaleError(content)  # the attempt went back to its queue
        elif not known.inherited or known.worker is not worker or known.number != content.lease:
            raise TokenStaleError(content)  # somebody has it, or may still come back for it
        adopted = self._owner.adopt(task, worker.info, content.lease)
        if adopted is None:
            raise TokenStaleError(content)
        self._handing.drop(task)
        lease = self._handing.lease(task, worker, content.lease, token, self._now_us())
        lease.claimed = True
        lease.cancel_requested = known is not None and known.cancel_requested
        self._handing.deadlines.watch(lease, lease.due_us())
        now_us, deadline_us = self._attempts_us(), None
        if adopted.start_to_close_us is not None:
            # A start after now was noted before the clock was set back.
            start_us = min(adopted.start_us, now_us)
            deadline_us = max(start_us + adopted.start_to_close_us, self._grace_end_us)
        self._handing.limit(lease, deadline_us, adopted.heartbeat_us, now_us)
        return lease

    # -- heartbeats --------------------------------------------------------------------------------------------------

    def beat(self, worker: Worker, held: HeldTask, listed: set[Lease], now_us: int) -> HeldState.ValueType:
        """Renews a lease that a heartbeat lists and adds it to `listed`."""
        lease = worker.leases.get(held.token)
        if lease is None:
            try:
                lease = self.adopt(worker, held.token)
            except (TokenInvalidError, TokenStaleError):
                return HeldState.HELD_STATE_LOST
        listed.add(lease)
        lease.renew_us = now_us
        lease.claimed = True
        if held.HasField("details"):
            self._details.put(lease.task.run_key, lease.task.path, held.details)
        if lease.limits is not None and (held.alive or held.HasField("details")):
            lease.limits.beat_us = self._attempts_us()
        return HeldState.HELD_STATE_CANCEL_REQUESTED if lease.cancel_requested else HeldState.HELD_STATE_HELD

    # -- ends --------------------------------------------------------------------------------------------------------

    def over(self, limits: Limits, now_us: int) -> None:
        """One of the limits of an attempt is reached."""
        lease = limits.lease
        if limits.deadline_us is not None and limits.deadline_us <= now_us:
            self._lose(lease, "start_to_close", f"attempt {lease.task.attempt} took longer than its start_to_close")
        elif limits.silence_us is not None:
            silence_s = limits.silence_us / SECOND_US
            self._lose(lease, "heartbeat", f"the handler sent no heartbeat for {silence_s:g} s")

    def due(self, lease: Lease, now_us: int) -> None:
        """The time of an open lease has come."""
        worker = lease.worker
        if lease.inherited:
            self.give_back(lease)
        elif lease.claimed or worker.due_us() <= now_us:
            silence_s = self._settings.lease_us / SECOND_US
            self._lose(lease, "lost", f"worker {worker.info.id!r} was silent for {silence_s:g} s")
        else:
            self.put_back(lease, f"worker {worker.info.id!r} lives but never listed it")

    def give_back(self, lease: Lease) -> None:
        """The attempt never left the server, or a server crashed: it goes back as it is."""
        task = lease.task
        self._handing.drop(task)
        self._owner.attempt_returned(task.run_key, task.path, task.attempt)

    def put_back(self, lease: Lease, why: str) -> None:
        """The attempt goes back because its worker turned out not to have it; if that goes on it is lost."""
        task = lease.task
        if lease.inherited or self.returns.allow(task.run_key, task.path, task.attempt):
            self.give_back(lease)
        else:
            self._lose(lease, "lost", f"{why}; this happened {self._settings.returns + 1} times")

    def _lose(self, lease: Lease, kind: str, detail: str) -> None:
        task = lease.task
        self._handing.drop(task)
        self.returns.forget(task.run_key, task.path)
        self._owner.attempt_ended(task.run_key, task.path, task.attempt, kind, detail)
