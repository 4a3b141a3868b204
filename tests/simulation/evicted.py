"""Holds what the disk has of evicted runs against their histories: it must find each of them, and nothing else."""

from collections.abc import Mapping

from holdfast_server.engine import state as st
from holdfast_server.engine.snapshot import read_snapshot
from holdfast_server.store.port import Eviction
from tests.simulation.disk import OPEN, Disk
from tests.simulation.due import deadlines, queued
from tests.unit.engine.book import Book

__all__ = ["check_eviction", "check_tables"]


def check_eviction(eviction: Eviction, book: Book) -> None:
    """What is written of a run that leaves the memory is what its history says.

    Raises:
        AssertionError: it is not.
    """
    run = book.run
    held = [
        step.name for _scope, step, record in run.activations() if record is not None and record.state == st.RUNNING
    ]
    assert not held, f"it leaves the memory while workers have {held}"
    tasks = queued(run)
    written = {(task.path, task.queue, task.handler) for task in eviction.tasks}
    assert written == tasks, f"its attempts that wait are {tasks}; on disk they are {written}"
    paths = [gate.path for gate in eviction.gates]
    gates = list(run.open_gates)
    assert sorted(paths) == sorted(gates), f"its open gates are {gates}; on disk they are {paths}"
    timers_us = [due_us for _path, _what, due_us in deadlines(run)]
    if timers_us and not run.paused:  # what falls due in a pause happens at its end, without a timer
        assert 0 < eviction.wake_us <= min(timers_us), f"it wakes at {eviction.wake_us}, not at {min(timers_us)}"
    if eviction.snapshot_seq:
        assert eviction.snapshot_seq == run.seq, f"its snapshot is of event {eviction.snapshot_seq}"
        assert read_snapshot(eviction.snapshot).state(book.plan) == run, "its snapshot is not its state"


def check_tables(disk: Disk, books: Mapping[int, Book]) -> None:
    """The tables have evicted runs, all of them, and none else.

    Raises:
        AssertionError: they have not.
    """
    out = {key for key, row in disk.runs.items() if not row.hot and row.state in OPEN}
    assert disk.evicted.keys() == out, f"evicted are {sorted(out)}; on disk they are {sorted(disk.evicted)}"
    strays = {key for key, _path in (*disk.evicted_tasks, *disk.evicted_gates)} - out
    assert not strays, f"there are attempts or gates of {sorted(strays)}, which are not evicted"
    for key in out:
        assert books[key].run.open, f"run {key} is closed and evicted"
