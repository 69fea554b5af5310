"""The reserve: files of ``data_dir`` that hold nothing but room, removed when the disk is full."""

import contextlib
import os
from pathlib import Path

from appliance.disk.levels import RESERVE_FILES, Room, levels_of_bytes

FOLDER = "reserve"


def measure(path: Path) -> Room:
    """Return the room on the file system of ``path``. Raises OSError."""
    found = os.statvfs(path)
    return Room(found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize, found.f_files, found.f_favail)


class Reserve:
    """The reserve of one data folder, on a disk of ``total`` bytes."""

    def __init__(self, data_dir: Path, total: int) -> None:
        self._folder = data_dir / FOLDER
        self._size = levels_of_bytes(total).reserve // RESERVE_FILES
        self._held: frozenset[str] | None = None

    @property
    def held_bytes(self) -> int:
        """Bytes that are kept back now."""
        return len(self._files()) * self._size

    @property
    def owed_bytes(self) -> int:
        """Bytes that should be kept back, and are not."""
        return (RESERVE_FILES - len(self._files())) * self._size

    @property
    def owed_files(self) -> int:
        """Inodes that should be kept back, and are not."""
        return RESERVE_FILES - len(self._files())

    @property
    def was_given_back(self) -> bool:
        """Return whether it was taken once, by whatever process, and is not whole now."""
        return self._folder.is_dir() and self.owed_files > 0

    def take(self) -> None:
        """Keep back all of it. Raises OSError when the disk does not have the room; what was had is kept then."""
        self._folder.mkdir(mode=0o700, exist_ok=True)
        try:
            for name in sorted(_names() - self._files()):
                descriptor = os.open(self._folder / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
                try:
                    os.posix_fallocate(descriptor, 0, self._size)
                finally:
                    os.close(descriptor)
        finally:
            self._held = None

    def give_back(self) -> int:
        """Remove all of it; return how many bytes that were."""
        held = self.held_bytes
        for name in _names():
            with contextlib.suppress(OSError):  # not there; a file system that was made read-only
                (self._folder / name).unlink()
        self._held = None
        return held

    def _files(self) -> frozenset[str]:
        if self._held is None:
            self._held = frozenset(name for name in _names() if self._is_whole(name))
        return self._held

    def _is_whole(self, name: str) -> bool:
        try:
            return (self._folder / name).lstat().st_blocks * 512 >= self._size
        except OSError:
            return False


def _names() -> frozenset[str]:
    return frozenset(f"{number:02}" for number in range(RESERVE_FILES))


def give_back_if_short(data_dir: Path) -> int:
    """Give the reserve back when the disk is full; return how many bytes that were. For starts: nobody watches yet."""
    room = measure(data_dir)
    reserve = Reserve(data_dir, room.total)
    short_of_files = room.files and room.free_files < RESERVE_FILES
    if room.free >= levels_of_bytes(room.total).full and not short_of_files:
        return 0
    return reserve.give_back()
