"""Bugs the simulation has to find: each a few replacements in the server's code, made in a copy of it.

What stands in `old` is code of today. When that changes, the bug has to be planted anew: see CONTRIBUTING.
"""

from dataclasses import dataclass

__all__ = ["PLANTED", "Bug", "Change"]


@dataclass(frozen=True, slots=True)
class Change:
    """One replacement.

    Attributes:
        file: in `holdfast_server`.
        old: what stands there now, once.
        new: what the bug makes of it.
    """

    file: str
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Bug:
    """A mistake somebody could make.

    Attributes:
        name: for the test.
        changes: the mistake.
        seeds: it has to be found within so many.
        faults: what has to go wrong for it to matter; see `world.SHARES`.
    """

    name: str
    changes: tuple[Change, ...]
    seeds: int = 400
    faults: tuple[str, ...] = ()


PLANTED = (
    # -- journal -----------------------------------------------------------------------------------------------------
    Bug(
        "callers are answered before the commit",
        (
            Change(
                "journal/group_commit.py",
                "            group.waiters.append(waiter)\n            await waiter\n",
                "            group.waiters.append(waiter)\n",
            ),
        ),
    ),
    Bug(
        "what was decided on top of a failed commit is kept",
        (
            Change(
                "journal/group_commit.py",
                "[*group.entries.values(), *after.entries.values()]",
                "[*group.entries.values()]",
            ),
        ),
    ),
    Bug(
        "a batch does not notice that a commit failed while it was taken in",
        (
            Change(
                "runtime/tasks.py",
                "await self._runtime.journal.durable(failures_before)",
                "await self._runtime.journal.durable()",
            ),
        ),
        faults=("disk_fails", "disk_slow", "network"),
    ),
    # -- runtime -----------------------------------------------------------------------------------------------------
    Bug(
        "a run goes on from a state whose commit failed",
        (Change("runtime/mending.py", "                host.stale = True\n", "                host.stale = False\n"),),
    ),
    Bug(
        "effects happen before their commit",
        (
            Change(
                "runtime/runtime.py",
                "            entry.effects.extend(decision.effects)\n",
                "            for effect in decision.effects:\n                self.perform(host, effect)\n",
            ),
        ),
    ),
    Bug(
        "a change that is repeated is made again",
        (
            Change(
                "runtime/changes.py",
                "    record = run.requests.get(request_id) if request_id else None\n",
                "    record = None\n",
            ),
        ),
    ),
    Bug(
        "reads show what is not on disk yet",
        (
            Change(
                "runtime/reading.py",
                "        while host.stale or host.durable_seq < host.state.seq:\n",
                "        while host.stale:\n",
            ),
            Change(
                "runtime/reading.py", "            await self._runtime.durable(host)\n        return", "        return"
            ),
        ),
    ),
    # -- starting ----------------------------------------------------------------------------------------------------
    Bug(
        "the request id of a start is forgotten",
        (
            Change(
                "runtime/starting.py",
                "            run.start_us,\n            request.request_id,\n",
                '            run.start_us,\n            "",\n',
            ),
        ),
    ),
    Bug(
        "signals of a start that is repeated are sent again",
        (
            Change(
                "runtime/starting.py",
                "mark = RequestMark(id=request.request_id, hash=item.hash)\n            bag",
                "mark = None\n            bag",
            ),
        ),
    ),
    # -- matching ----------------------------------------------------------------------------------------------------
    Bug(
        "after a restart an attempt that a worker has is handed out again",
        (
            Change(
                "engine/effects.py",
                "    elif record.state == st.RUNNING:\n        yield TaskHeld(",
                "    elif record.state == st.RUNNING:\n        yield _ready(path, record)\n    elif False:\n"
                "        yield TaskHeld(",
            ),
            Change("runtime/tasks.py", "record.state != st.QUEUED or record.attempt", "record.attempt"),
        ),
    ),
    Bug(
        "a slot is not given back",
        (
            Change(
                "matching/handing.py", "            del worker.leases[lease.token]\n", "            _ = lease.token\n"
            ),
        ),
    ),
    Bug(
        "a worker gets more than it has slots for",
        (Change("matching/handing.py", "min(limit, worker.free, self._settings", "min(limit, self._settings"),),
    ),
    Bug(
        "heartbeats do not renew leases",
        (
            Change(
                "matching/leases.py",
                "max(self.renew_us, self.worker.seen_us) if self.claimed else self.renew_us",
                "self.renew_us",
            ),
            Change(
                "matching/keeping.py", "        lease.renew_us = now_us\n        lease.claimed", "        lease.claimed"
            ),
        ),
    ),
    Bug(
        "a stale token is accepted",
        (
            Change(
                "matching/keeping.py",
                "        elif not known.inherited or known.worker is not worker or known.number != content.lease:\n",
                "        elif not known.inherited:\n",
            ),
            Change(
                "runtime/tasks.py",
                "        elif record.state != st.RUNNING or record.lease != lease:\n",
                "        elif record.state != st.RUNNING:\n",
            ),
        ),
        faults=("crashes",),
    ),
    Bug(
        "numbers of leases are given again after a restart",
        (Change("runtime/tasks.py", "count((server_epoch << LEASES_PER_EPOCH_BITS) + 1)", "count(1)"),),
    ),
    # -- timers ------------------------------------------------------------------------------------------------------
    Bug(
        "a timer that is set does not move the alarm",
        (Change("timers/service.py", "            self._alarm.expect(due_us)\n", "            pass\n"),),
    ),
    Bug(
        "timers fire early, which the engine takes for void",
        (Change("timers/heap.py", "self._heap[0][0] > now_us:", "self._heap[0][0] > now_us + 5_000_000:"),),
    ),
    # -- recovery and eviction ---------------------------------------------------------------------------------------
    Bug(
        "a restart forgets deadlines",
        (
            Change(
                "engine/effects.py",
                "    elif record.due_us:\n        yield TimerSet(path, _due_timer",
                "    elif record.due_us and record.gate is None:\n        yield TimerSet(path, _due_timer",
            ),
        ),
    ),
    Bug(
        "a restart wakes no run that was evicted",
        (Change("runtime/recovery.py", "    await runtime.wakes.start()\n", ""),),
        faults=("crashes", "restarts"),
    ),
    Bug(
        "a run leaves the memory without its open gates",
        (
            Change(
                "runtime/eviction.py",
                "            [_evicted_gate(host, path) for path in run.open_gates],\n",
                "            [],\n",
            ),
        ),
    ),
    Bug(
        "a run leaves the memory while something of it is not on disk",
        (Change("runtime/eviction.py", "            or host.durable_seq != run.seq\n", ""),),
    ),
    Bug(
        "a run is brought into memory twice at the same time",
        (
            Change(
                "runtime/loading.py",
                "            await asyncio.wait([flight])\n        if self._runtime",
                "            break\n        if self._runtime",
            ),
            Change(
                "runtime/loading.py",
                "[key for key in keys if key not in self._flights and residence.by_key(key) is None]",
                "list(keys)",
            ),
            Change("runtime/loading.py", "del self._flights[key]", "self._flights.pop(key, None)"),
        ),
    ),
    # -- engine ------------------------------------------------------------------------------------------------------
    Bug(
        "an edge is resolved twice",
        (
            Change(
                "engine/outcomes.py",
                "    outcomes = edges.resolve(turn, scope, step, st.SUCCEEDED, output, None)\n",
                "    outcomes = edges.resolve(turn, scope, step, st.SUCCEEDED, output, None) * 2\n",
            ),
        ),
    ),
    Bug(
        "one attempt too many",
        (
            Change(
                "engine/steps/queueing.py",
                "policy(step, record).max_attempts - 1,",
                "policy(step, record).max_attempts,",
            ),
        ),
    ),
    Bug(
        "RetryRun starts what has succeeded over",
        (
            Change(
                "engine/reopening.py",
                "    return record.state in (st.FAILED, st.CANCELED)\n",
                "    return record.state in (st.FAILED, st.CANCELED, st.SUCCEEDED)\n",
            ),
        ),
    ),
)
"""All of them."""
