"""What must be true of the history of any run by itself, whatever broke while it was written."""

from collections.abc import Iterator, Sequence

from google.protobuf.timestamp_pb2 import Timestamp

from holdfast.v1.history_pb2 import HistoryEvent, QueueCause, TimerKind

__all__ = ["CLOSING", "contradictions", "ran_again"]

CLOSING = frozenset({"run_succeeded", "run_failed", "run_canceled", "run_terminated", "run_timed_out"})


def ran_again(history: Sequence[HistoryEvent]) -> Iterator[str]:
    """Yield the steps that were given out or ended again after they had succeeded."""
    succeeded: set[str] = set()
    for event in history:
        kind = event.WhichOneof("body") or ""
        if not kind.startswith("step_"):
            continue
        path = getattr(event, kind).path
        if path in succeeded:
            yield f"{kind} of {path} at {event.seq}, after it had succeeded"
        if kind == "step_succeeded":
            succeeded.add(path)


def contradictions(history: Sequence[HistoryEvent]) -> Iterator[str]:
    """Yield what cannot be in one history."""
    yield from _order(history)
    yield from _attempts(history)
    yield from _timers(history)
    yield from _once(history)


def _order(history: Sequence[HistoryEvent]) -> Iterator[str]:
    closed = False
    before_ns = 0
    for number, event in enumerate(history, 1):
        kind = event.WhichOneof("body")
        if event.seq != number:
            yield f"event {number} has the number {event.seq}"
        if (kind == "run_started") != (number == 1):
            yield f"{kind} at {number}"
        if closed and kind != "run_reopened":
            yield f"{kind} at {number}, after the end"
        closed = kind in CLOSING
        now_ns = event.time.ToNanoseconds()
        if now_ns < before_ns:
            yield f"the time of event {number} is before that of the event in front of it"
        before_ns = now_ns


def _attempts(history: Sequence[HistoryEvent]) -> Iterator[str]:
    """An attempt is queued once, and again only if it came back unused: neither crash nor kill uses one up."""
    queued: dict[str, int] = {}
    ended: dict[str, int] = {}
    for event in history:
        kind = event.WhichOneof("body")
        if kind == "step_queued":
            queue = event.step_queued
            last = queued.get(queue.path, 0)
            again = queue.attempt == last and queue.cause == QueueCause.QUEUE_CAUSE_RETURNED
            if not again and queue.attempt != last + 1:
                yield f"attempt {queue.attempt} of {queue.path} is queued at {event.seq}, after attempt {last}"
            if not again and last and ended.get(queue.path, 0) != last:
                yield f"attempt {queue.attempt} of {queue.path} is queued at {event.seq}, and {last} has not ended"
            queued[queue.path] = queue.attempt
        elif kind is not None and kind in {"step_attempt_failed", "step_failed", "step_canceled"}:
            body = getattr(event, kind)
            ended[body.path] = body.attempt


def _timers(history: Sequence[HistoryEvent]) -> Iterator[str]:
    due: dict[tuple[str, int], Timestamp] = {}
    for event in history:
        for body in (event.run_started, event.run_reopened):
            if body.HasField("deadline_time"):
                due["", TimerKind.TIMER_KIND_RUN_TIMEOUT] = body.deadline_time
        if event.run_started.HasField("start_after_time"):
            due["", TimerKind.TIMER_KIND_START] = event.run_started.start_after_time
        if event.HasField("timer_started"):
            timer = event.timer_started
            due[timer.path, timer.kind] = timer.due_time
        elif event.HasField("timer_fired"):
            fired = event.timer_fired
            time = due.pop((fired.path, fired.kind), None)
            if time is None:
                yield f"the timer of {fired.path or 'the run'} fires at {event.seq}, and none is running"
            elif event.time.ToNanoseconds() < time.ToNanoseconds():
                yield f"the timer of {fired.path or 'the run'} fires at {event.seq}, too early"


def _once(history: Sequence[HistoryEvent]) -> Iterator[str]:
    """A gate is resolved once, a signal is taken once, a request counts once."""
    open_gates: set[str] = set()
    signals: set[int] = set()
    requests: set[str] = set()
    for event in history:
        if event.HasField("gate_opened"):
            open_gates.add(event.gate_opened.path)
        elif event.HasField("gate_resolved"):
            if event.gate_resolved.path not in open_gates:
                yield f"gate {event.gate_resolved.path} is resolved at {event.seq}, and it is not open"
            open_gates.discard(event.gate_resolved.path)
        elif event.HasField("signal_received"):
            signals.add(event.seq)
        elif event.HasField("wait_matched"):
            if event.wait_matched.signal_seq not in signals:
                yield f"{event.wait_matched.path} takes a signal at {event.seq} that is not there"
            signals.discard(event.wait_matched.signal_seq)
        if event.HasField("request"):
            if event.request.id in requests:
                yield f"request {event.request.id} counts again at {event.seq}"
            requests.add(event.request.id)
