"""Write files atomically, owned by the user who reads them."""

import os
import tempfile
from pathlib import Path

from appliance.children.account import Account


def write_atomically(path: Path, data: bytes, *, owner: Account | None = None) -> None:
    """Replace ``path`` by ``data``, mode 0600, synced; a crash leaves the old file or the new one.

    Safe in a folder that a less trusted user owns: the new file is made with O_EXCL and renamed over whatever is
    there, so a symbolic link laid in the way is replaced, never followed.
    """
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            if owner is not None:
                os.fchown(file.fileno(), owner.uid, owner.gid)
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def bring_up_to_date(path: Path, data: bytes, *, owner: Account | None = None) -> None:
    """Like :func:`write_atomically`, but write nothing when ``path`` holds ``data`` already.

    So a child can be restarted on a full disk.
    """
    try:
        if path.read_bytes() == data:
            return
    except FileNotFoundError:
        pass
    write_atomically(path, data, owner=owner)


def sync_folder(folder: Path) -> None:
    """Sync the names in ``folder`` (a rename, a removal) to the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(path: Path, mode: int, *, owner: Account | None = None) -> None:
    """Create ``path`` in an existing folder, or correct the mode and owner of an existing one."""
    path.mkdir(mode=0o700, exist_ok=True)
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        if owner is not None:
            os.fchown(descriptor, owner.uid, owner.gid)
        os.fchmod(descriptor, mode)
    finally:
        os.close(descriptor)
