"""A real file system of some megabytes, which can be filled and freed as another program would."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MB = 1_000_000
FILLER = "somebody-elses"


class SmallVolume:
    """A mounted file system in memory; ``path`` is where we see it, ``enter`` the command that makes others see it."""

    def __init__(self, path: Path, enter: tuple[str, ...] = ()) -> None:
        self.path = path
        self.enter = enter

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


@contextmanager
def small_volume(path: Path, size: int) -> Iterator[SmallVolume]:
    """Mount a file system of ``size`` bytes on a new folder for the block.

    Only root may mount for everybody. Other users mount it in a namespace of their own, which a process enters by
    ``SmallVolume.enter``; from outside, its files are reached by ``SmallVolume.path``. AssertionError where neither is
    allowed.
    """
    path.mkdir()
    with _mounted(path, size) if os.geteuid() == 0 else _mounted_for_us(path, size) as volume:
        yield volume


@contextmanager
def _mounted(path: Path, size: int) -> Iterator[SmallVolume]:
    options = _options(size)
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "appliance-test", path], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, f"root may not mount here, which this test needs: {done.stderr}"
    try:
        yield SmallVolume(path)
    finally:
        subprocess.run(["umount", "-l", path], check=True)


MOUNT = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
if libc.mount(b"appliance-test", os.fsencode(sys.argv[1]), b"tmpfs", 0, sys.argv[2].encode()):
    sys.exit(f"mount: {os.strerror(ctypes.get_errno())}")
print(os.getpid(), flush=True)
sys.stdin.read()
"""
"""Mount, and hold the namespace until our end of the pipe closes. The command ``mount`` refuses all but root."""


@contextmanager
def _mounted_for_us(path: Path, size: int) -> Iterator[SmallVolume]:
    """Mount it in a user namespace in which we keep our user id: Postgres does not start as a mapped root."""
    namespace = ["unshare", "--user", "--map-current-user", "--mount", "--keep-caps"]
    with subprocess.Popen(
        [*namespace, sys.executable, "-c", MOUNT, path, _options(size)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        assert holder.stderr is not None
        if not (said := holder.stdout.readline()):
            raise AssertionError(
                "this user may make no user namespace to mount in, which this test needs: allow it "
                "(sysctl kernel.unprivileged_userns_clone=1, or kernel.apparmor_restrict_unprivileged_userns=0), "
                f"or run the test as root: {holder.stderr.read()}"
            )
        pid = int(said)
        enter = ("nsenter", f"--target={pid}", "--user", "--mount", "--preserve-credentials", "--")
        try:
            yield SmallVolume(Path(f"/proc/{pid}/root{path.absolute()}"), enter)
        finally:
            holder.stdin.close()


def _options(size: int) -> str:
    return f"size={size},nr_inodes=20000,mode=755"
