"""A file that somebody asked for: it is there as a whole, or nothing of it is.

It is written beside its name, for its owner alone, and gets the name once it is on the disk. A process that is killed
leaves a file that ends in ``.part``; the next one that writes a file of that name takes its place.
"""

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from appliance.errors import ApplianceError, Invalid

PART = ".part"
"""Ends the name of a file that is not whole yet."""


class NewFile:
    """A file that has not got its name yet."""

    def __init__(self, part: Path, descriptor: int) -> None:
        self.part = part
        self.descriptor = descriptor

    def write(self, data: bytes) -> None:
        """Append all of ``data``. Raises OSError."""
        view = memoryview(data)
        while view:
            view = view[os.write(self.descriptor, view) :]


@contextmanager
def new_file(file: Path) -> Iterator[NewFile]:
    """Yield the file that becomes ``file`` when the block ends; if it is left by an error, nothing stays.

    Raises Invalid when ``file`` exists, ApplianceError when it cannot be written, for an OSError of the block, too.
    """
    try:
        with _part_of(file) as new:
            yield new
            os.fsync(new.descriptor)
            _refuse_taken(file)
            new.part.rename(file)
        _sync_name(file.parent)
    except OSError as error:
        raise ApplianceError(f"{file} cannot be written: {_mend(file, error)}") from error


@contextmanager
def _part_of(file: Path) -> Iterator[NewFile]:
    _refuse_taken(file)
    part = file.with_name(file.name + PART)
    _remove_left(file, part)
    try:
        # Made anew, and never what was there: its owner could read what we write into it.
        descriptor = os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        raise _taken(file) from None
    try:
        if not _locks(descriptor, part):
            raise _taken(file)
        try:
            yield NewFile(part, descriptor)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
    finally:
        os.close(descriptor)


def _remove_left(file: Path, part: Path) -> None:
    """Remove the part that a killed process has left. Raises ApplianceError when it is being written."""
    try:
        descriptor = os.open(part, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        if not _locks(descriptor, part):
            raise _taken(file)
        part.unlink()
    finally:
        os.close(descriptor)


def _locks(descriptor: int, part: Path) -> bool:
    """Lock the file, and return whether it is ours: nobody writes it, and it has not got its name or gone meanwhile."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(os.fstat(descriptor), os.lstat(part))
    except (BlockingIOError, FileNotFoundError):
        return False


def _taken(file: Path) -> ApplianceError:
    return ApplianceError(f"{file} is being written already: wait for it, or name another file")


def _refuse_taken(file: Path) -> None:
    if file.exists() or file.is_symlink():
        raise Invalid(f"{file} exists already: name a new file; none is ever overwritten.", "file")


def _sync_name(folder: Path) -> None:
    """Sync the new name to the disk, where that can be done.

    Some file systems of the network and of virtual machines cannot, and a folder may be written to and not read.
    """
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EACCES):
            raise


def _mend(file: Path, error: OSError) -> str:
    match error.errno:
        case errno.ENOENT | errno.ENOTDIR:
            return f"the folder {file.parent} does not exist"
        case errno.ENOSPC | errno.EDQUOT:
            return f"the disk of {file.parent} is full; nothing was left there"
        case errno.EACCES | errno.EPERM | errno.EROFS:
            return f"user id {os.geteuid()} may not write to {file.parent} ({error.strerror})"
    return error.strerror or str(error)
