"""Start-up: every open run is folded from its history and goes on where it was."""

import structlog

from holdfast_server.engine import effects as fx
from holdfast_server.runtime.residence import fold_run
from holdfast_server.runtime.runtime import Runtime
from holdfast_server.store.port import StoreCorruptError

__all__ = ["recover"]

log = structlog.get_logger("holdfast.recovery")


async def recover(runtime: Runtime) -> int:
    """Takes all open runs into memory and lets their standing effects happen. Answers how many there are.

    Raises:
        StoreError: the disk does not answer.
    """
    runtime.last_key = await runtime.store.last_run_key()
    rows = await runtime.store.open_runs()
    for row in rows:
        try:
            run = await fold_run(runtime.store, runtime.catalog, row.key)
        except StoreCorruptError:
            # One damaged run must not keep the others from going on; it stays as it is for an operator to see.
            log.exception("an open run cannot be folded and is left alone", run_id=row.run_id)
            continue
        if run is None:
            log.error("an open run has no history and is left alone", run_id=row.run_id)
            continue
        host = runtime.residence.add(row.key, run)
        host.durable_seq = run.seq
        for effect in fx.standing(run):
            runtime.perform(host, effect)
    if rows:
        log.info("open runs go on", runs=len(rows))
    return len(rows)
