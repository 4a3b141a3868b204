"""What a disk may hold after the power went: the writes that were not synced, in any order, in part, or not at all.

A trace lists what SQLite did to the files of one folder. `Disk` follows it, and keeps of each file what is certainly on
the disk, what the system shows, and every content each sector had since the last sync: the disk may hold any of them.

Three things are taken for granted, as SQLite does: what was synced stays, a write changes no byte outside of its range,
and the disk is told the truth about what it is asked to sync.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

__all__ = ["Cut", "Delete", "Disk", "Mark", "Open", "Operation", "Sync", "Truncate", "Write"]

SECTOR_BYTES = 512


@dataclass(frozen=True, slots=True)
class Open:
    """A file is opened, and made if it is not there."""

    name: str


@dataclass(frozen=True, slots=True)
class Write:
    """Bytes are written."""

    name: str
    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Truncate:
    """A file is cut or extended."""

    name: str
    size: int


@dataclass(frozen=True, slots=True)
class Sync:
    """A file is synced, and with it maybe the folder.

    If it failed, the system takes what was to be written for clean: it is shown, and no later sync writes it.
    """

    name: str
    folder: bool
    failed: bool = False


@dataclass(frozen=True, slots=True)
class Delete:
    """A file is removed, and the folder maybe synced."""

    name: str
    folder: bool


@dataclass(frozen=True, slots=True)
class Mark:
    """Whoever drives the load notes something, for example that it was given an answer."""

    what: object


Operation = Open | Write | Truncate | Sync | Delete | Mark


class Cut(StrEnum):
    """What happens to the writes that were not synced."""

    NOTHING = "none of them is there"
    EVERYTHING = "all of them are there, as after a kill"
    IN_ORDER = "those up to some moment are there"
    ANY_SECTORS = "of each sector any content since the last sync is there"
    TORN_SECTORS = "likewise, and sectors are torn: their first bytes are newer than the rest, or the other way round"


@dataclass(slots=True)
class _File:
    """One file. `shown` is what a program reads, `disk` what is certainly there."""

    shown: bytearray = field(default_factory=bytearray)
    disk: bytearray = field(default_factory=bytearray)
    contents: dict[int, list[tuple[int, bytes]]] = field(default_factory=dict)
    """By sector: what it held since the last sync, each with the number of the operation."""
    sizes: list[tuple[int, int]] = field(default_factory=list)

    def write(self, number: int, offset: int, data: bytes) -> None:
        """Bytes are written."""
        end = offset + len(data)
        if end > len(self.shown):
            self.shown.extend(bytes(end - len(self.shown)))
            self.sizes.append((number, end))
        self.shown[offset:end] = data
        for sector in range(offset // SECTOR_BYTES, (end - 1) // SECTOR_BYTES + 1):
            content = bytes(self.shown[sector * SECTOR_BYTES : (sector + 1) * SECTOR_BYTES])
            self.contents.setdefault(sector, []).append((number, content))

    def truncate(self, number: int, size: int) -> None:
        """The file is cut or extended."""
        del self.shown[size:]
        self.shown.extend(bytes(size - len(self.shown)))
        self.sizes.append((number, size))

    def sync(self, *, failed: bool) -> None:
        """What is shown is on the disk, or will never be."""
        if not failed:
            _resize(self.disk, len(self.shown))
            for sector in self.contents:
                begin = sector * SECTOR_BYTES
                self.disk[begin : begin + SECTOR_BYTES] = self.shown[begin : begin + SECTOR_BYTES]
        self.contents.clear()
        self.sizes.clear()

    def after(self, cut: Cut, chance: random.Random) -> bytes:
        """What may be there after the power went."""
        if cut is Cut.EVERYTHING:
            return bytes(self.shown)
        if cut is Cut.NOTHING:
            return bytes(self.disk)
        numbers = sorted({number for contents in self.contents.values() for number, _ in contents})
        if cut is Cut.IN_ORDER:
            return self._up_to(chance.choice([-1, *numbers]))
        image = bytearray(self.disk)
        _resize(image, chance.choice([len(self.disk), *(size for _, size in self.sizes)]))
        for sector, contents in sorted(self.contents.items()):
            begin = sector * SECTOR_BYTES
            before = bytes(self.disk[begin : begin + SECTOR_BYTES])
            _place(image, begin, _chosen([before, *(content for _, content in contents)], cut, chance))
        return bytes(image)

    def _up_to(self, last: int) -> bytes:
        image = bytearray(self.disk)
        for number, size in self.sizes:
            if number <= last:
                _resize(image, size)
        for sector, contents in self.contents.items():
            for number, content in contents:
                if number <= last:
                    _place(image, sector * SECTOR_BYTES, content)
        return bytes(image)


def _chosen(contents: Sequence[bytes], cut: Cut, chance: random.Random) -> bytes:
    position = chance.randrange(len(contents))
    content = contents[position]
    if cut is Cut.TORN_SECTORS and position:
        torn_at = chance.randrange(SECTOR_BYTES)
        halves = [content, contents[position - 1].ljust(len(content), b"\0")]
        chance.shuffle(halves)
        content = halves[0][:torn_at] + halves[1][torn_at:]
    return content


def _resize(image: bytearray, size: int) -> None:
    del image[size:]
    image.extend(bytes(size - len(image)))


def _place(image: bytearray, begin: int, content: bytes) -> None:
    """Put a sector in its place; what is beyond the end of the file is not there."""
    end = min(begin + len(content), len(image))
    if begin < end:
        image[begin:end] = content[: end - begin]


class Disk:
    """The files of one folder, as a trace changes them.

    Args:
        files: what is there at the beginning, by name.
    """

    def __init__(self, files: dict[str, bytes] | None = None) -> None:
        self._folder: dict[str, list[_File | None]] = {}
        """By name: what is certainly there, then what came since the folder was synced. None is no file."""
        self._number = 0
        for name, content in (files or {}).items():
            self._folder[name] = [_File(bytearray(content), bytearray(content))]

    def follow(self, operation: Operation) -> None:
        """Take over the next operation of a trace."""
        self._number += 1
        match operation:
            case Open(name):
                if self._entry(name)[-1] is None:
                    self._entry(name).append(_File())
            case Write(name, offset, data):
                self._file(name).write(self._number, offset, data)
            case Truncate(name, size):
                self._file(name).truncate(self._number, size)
            case Sync(name, folder, failed):
                self._file(name).sync(failed=failed)
                if folder and not failed:
                    self._sync_folder()
            case Delete(name, folder):
                self._entry(name).append(None)
                if folder:
                    self._sync_folder()
            case Mark():
                pass

    def cut(self, cut: Cut, chance: random.Random, folder: Path) -> None:
        """Write into a folder what may be left when the power goes now."""
        for name, versions in sorted(self._folder.items()):
            match cut:
                case Cut.NOTHING:
                    file = versions[0]
                case Cut.EVERYTHING | Cut.IN_ORDER:
                    file = versions[-1]
                case _:
                    file = chance.choice(versions)
            if file is not None:
                (folder / name).write_bytes(file.after(cut, chance))

    @property
    def unsynced(self) -> int:
        """Number of sectors whose content is not certain."""
        return sum(len(file.contents) for versions in self._folder.values() for file in versions if file is not None)

    def _sync_folder(self) -> None:
        for versions in self._folder.values():
            del versions[:-1]

    def _entry(self, name: str) -> list[_File | None]:
        return self._folder.setdefault(name, [None])

    def _file(self, name: str) -> _File:
        file = self._entry(name)[-1]
        if file is None:
            raise LookupError(f"{name} is not there")
        return file
