"""The model of the disk itself: what was synced stays, what was not may be there in any mixture."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.chaos.power.disk import SECTOR_BYTES, Cut, Delete, Disk, Open, Operation, Sync, Truncate, Write
from tests.chaos.power.sweep import chance_of

OLD = b"o" * 4 * SECTOR_BYTES
NEW = b"n" * 2 * SECTOR_BYTES
SYNCED = (Open("db"), Write("db", 0, OLD), Sync("db", folder=True))


def images(folder: Path, cut: Cut, *operations: Operation, count: int = 200) -> Sequence[dict[str, bytes]]:
    """What may be left after some operations."""
    disk = Disk()
    for operation in operations:
        disk.follow(operation)
    found = []
    for number in range(count):
        image = Path(tempfile.mkdtemp(dir=folder))
        disk.cut(cut, chance_of(number), image)
        found.append({path.name: path.read_bytes() for path in image.iterdir()})
    return found


@pytest.mark.parametrize("cut", Cut)
def test_what_was_synced_stays(tmp_path: Path, cut: Cut) -> None:
    assert all(image == {"db": OLD} for image in images(tmp_path, cut, *SYNCED))


def test_of_what_was_not_synced_all_or_nothing_is_there(tmp_path: Path) -> None:
    operations = (*SYNCED, Write("db", SECTOR_BYTES, NEW), Truncate("db", 3 * SECTOR_BYTES))
    after = OLD[:SECTOR_BYTES] + NEW

    assert images(tmp_path, Cut.NOTHING, *operations, count=1) == [{"db": OLD}]
    assert images(tmp_path, Cut.EVERYTHING, *operations, count=1) == [{"db": after}]
    assert {image["db"] for image in images(tmp_path, Cut.IN_ORDER, *operations)} >= {OLD, after + OLD[-SECTOR_BYTES:]}


def test_sectors_come_in_any_order(tmp_path: Path) -> None:
    found = {image["db"] for image in images(tmp_path, Cut.ANY_SECTORS, *SYNCED, Write("db", SECTOR_BYTES, NEW))}

    halves = {
        (image[SECTOR_BYTES : SECTOR_BYTES + 1], image[2 * SECTOR_BYTES : 2 * SECTOR_BYTES + 1]) for image in found
    }
    assert halves == {(b"o", b"o"), (b"n", b"o"), (b"o", b"n"), (b"n", b"n")}
    assert all(image[:SECTOR_BYTES] + image[-SECTOR_BYTES:] == OLD[: 2 * SECTOR_BYTES] for image in found)


def test_a_torn_sector_changes_only_where_it_was_written(tmp_path: Path) -> None:
    found = {image["db"] for image in images(tmp_path, Cut.TORN_SECTORS, *SYNCED, Write("db", 100, b"n" * 300))}

    assert len(found) > 10
    assert all(image[:100] == OLD[:100] and image[400:] == OLD[400:] for image in found)


@pytest.mark.parametrize("cut", [cut for cut in Cut if cut is not Cut.EVERYTHING])
def test_after_a_sync_that_failed_no_later_one_writes_what_it_was_to_write(tmp_path: Path, cut: Cut) -> None:
    failed = (*SYNCED, Write("db", 0, NEW), Sync("db", folder=False, failed=True))

    assert images(tmp_path, cut, *failed, Sync("db", folder=False), count=1) == [{"db": OLD}]
    # A program that writes it again is safe.
    mended = (Write("db", 0, NEW), Sync("db", folder=False))
    assert images(tmp_path, cut, *failed, *mended, count=10)[-1] == {"db": NEW + OLD[len(NEW) :]}


def test_after_a_kill_the_system_shows_what_a_failed_sync_did_not_write(tmp_path: Path) -> None:
    failed = (*SYNCED, Write("db", 0, NEW), Sync("db", folder=False, failed=True))

    assert images(tmp_path, Cut.EVERYTHING, *failed, count=1) == [{"db": NEW + OLD[len(NEW) :]}]


def test_files_come_and_go_with_the_folder(tmp_path: Path) -> None:
    made = (*SYNCED, Open("log"), Write("log", 0, b"log"), Sync("log", folder=False))
    gone = (*made, Sync("db", folder=True), Delete("log", folder=False))

    assert images(tmp_path, Cut.NOTHING, *made, count=1) == [{"db": OLD}]
    assert {len(image) for image in images(tmp_path, Cut.ANY_SECTORS, *made)} == {1, 2}
    assert images(tmp_path, Cut.NOTHING, *gone, count=1) == [{"db": OLD, "log": b"log"}]
    (after,) = images(tmp_path, Cut.EVERYTHING, *gone, Sync("db", folder=True), count=1)
    assert after == {"db": OLD}
