"""A snapshot that is damaged is not read, so that the history is folded instead."""

import pytest

from holdfast_server.engine.snapshot import SnapshotFormatError, read_snapshot, write_snapshot
from tests.unit.engine.driver import Play

SOURCE = (
    "{name: a, signals: [{name: go}], steps: [{name: work, task: {handler: work}}, {name: ask, gate: {title: Ask}}]}"
)


def snapshot() -> bytes:
    play = Play(SOURCE)
    play.start(input={"text": "ф" * 20})
    play.signal("go", ["x"])
    return write_snapshot(play.run)


def test_wherever_it_is_cut_it_is_not_read() -> None:
    data = snapshot()

    for length in range(len(data)):
        with pytest.raises(SnapshotFormatError):
            read_snapshot(data[:length])
    assert read_snapshot(data).workflow == "a"


def test_whatever_byte_of_it_is_another_it_is_read_or_refused() -> None:
    data = snapshot()
    refused = 0
    for position in range(len(data)):
        damaged = bytearray(data)
        damaged[position] ^= 0xFF
        try:
            read_snapshot(bytes(damaged))
        except SnapshotFormatError:
            refused += 1

    assert refused > len(data) // 4
