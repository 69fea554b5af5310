"""A real file system of some megabytes, which can be filled and freed as another program would."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MB = 1_000_000
FILLER = "somebody-elses"


class SmallVolume:
    """A mounted file system in memory."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def free(self) -> int:
        """Return the bytes that are free."""
        found = os.statvfs(self.path)
        return found.f_bavail * found.f_frsize

    def fill(self, free: int) -> None:
        """Take everything but ``free`` bytes, at once."""
        taken = self.path / FILLER
        size = taken.stat().st_size if taken.exists() else 0
        descriptor = os.open(taken, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            # The last page goes to whoever is faster: less is asked for until it is had.
            for less in range(0, 64 * MB, 65_536):
                wanted = max(0, self.free() - free - less)
                try:
                    os.posix_fallocate(descriptor, size, max(1, wanted))
                except OSError:
                    continue
                return
        finally:
            os.close(descriptor)

    def fill_files(self, free: int) -> None:
        """Take all inodes but ``free``."""
        folder = self.path / "files"
        folder.mkdir()
        for number in range(os.statvfs(self.path).f_favail - free):
            (folder / str(number)).touch()

    def clear(self) -> None:
        """Give back what was taken."""
        (self.path / FILLER).unlink(missing_ok=True)
        if (self.path / "files").exists():
            for file in (self.path / "files").iterdir():
                file.unlink()
            (self.path / "files").rmdir()


def may_mount() -> bool:
    """Return whether this process may mount a file system."""
    return os.geteuid() == 0 and subprocess.run(["unshare", "-m", "true"], check=False).returncode == 0


@contextmanager
def small_volume(path: Path, size: int) -> Iterator[SmallVolume]:
    """Mount a file system of ``size`` bytes on a new folder for the block."""
    path.mkdir()
    options = f"size={size},nr_inodes=20000,mode=755"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "appliance-test", path], check=True)
    try:
        yield SmallVolume(path)
    finally:
        subprocess.run(["umount", "-l", path], check=True)
