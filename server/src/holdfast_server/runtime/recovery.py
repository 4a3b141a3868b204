"""Start-up: every run that was in memory is folded from its history and goes on where it was; the others stay out."""

import structlog

from holdfast_server.runtime.host import OnDisk
from holdfast_server.runtime.runtime import Runtime
from holdfast_server.store.port import StoreCorruptError

__all__ = ["recover"]

log = structlog.get_logger("holdfast.recovery")

CHUNK = 500


async def recover(runtime: Runtime) -> int:
    """Takes all hot runs into memory and lets their standing effects happen. Answers how many there are.

    Raises:
        StoreError: the disk does not answer.
    """
    runtime.last_key = await runtime.store.last_run_key()
    rows = await runtime.store.hot_runs()
    for start in range(0, len(rows), CHUNK):
        chunk = rows[start : start + CHUNK]
        states = await runtime.folder.runs([row.key for row in chunk])
        for row in chunk:
            run = states.get(row.key)
            if isinstance(run, StoreCorruptError):
                # One damaged run must not keep the others from going on; it stays as it is for an operator to see.
                log.error("an open run cannot be folded and is left alone", run_id=row.run_id, error=str(run))
            elif run is None:
                log.error("an open run has no history and is left alone", run_id=row.run_id)
            else:
                runtime.loading.take_in(row.key, run, OnDisk.HOT)
    await runtime.backlog.start()
    await runtime.wakes.start()
    runtime.evictor.start()
    runtime.retention.start()
    if rows:
        log.info("open runs go on", runs=len(rows))
    return len(rows)
