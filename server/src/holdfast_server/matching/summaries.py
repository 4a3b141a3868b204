"""What lists show of queues and workers."""

from google.protobuf.timestamp_pb2 import Timestamp

from holdfast.v1.task_pb2 import QueueSummary, WorkerQueue, WorkerSummary
from holdfast_server.engine.times import timestamp
from holdfast_server.matching.queues import TaskQueue
from holdfast_server.matching.workers import Worker

__all__ = ["of_queue", "of_worker"]


def of_queue(queue: TaskQueue) -> QueueSummary:
    """A queue for people."""
    workers = list(queue.workers())
    oldest_us = queue.oldest_us()
    waiting = {handler for handler, line in queue.lines.items() if line.waiting} | set(queue.outside.handlers())
    unserved = [handler for handler in waiting if not queue.serves(handler)]
    return QueueSummary(
        queue=queue.name,
        queued=queue.waiting + queue.outside.waiting,
        running=queue.running,
        oldest_time=_timestamp(oldest_us),
        workers=len(workers),
        slots_free=sum(max(worker.free, 0) for worker in workers),
        unserved_handlers=sorted(unserved),
    )


def of_worker(worker: Worker) -> WorkerSummary:
    """A worker for people."""
    served = sorted(worker.serving.items(), key=lambda item: item[0].name)
    return WorkerSummary(
        worker=worker.info,
        queues=[WorkerQueue(queue=queue.name, handlers=sorted(group.handlers)) for queue, group in served],
        slots_total=worker.slots_total,
        slots_used=len(worker.holds),
        last_seen_time=timestamp(worker.seen_us),
        draining=worker.draining,
    )


def _timestamp(time_us: int | None) -> Timestamp | None:
    return None if time_us is None else timestamp(time_us)
