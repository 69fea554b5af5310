"""The replacement of a data folder's content by another one that was built beside it: all of it, or nothing.

Everything happens inside the data folder, which may be a mount point. What is new is built in ``restoring/``. Once that
is complete, a journal is written, and from then on the replacement is only ever finished: what was there is renamed
into ``replaced-TIME/``, what is new comes out of ``restoring/``. Each step finds by itself whether it was done, so that
a killed process leaves the old content or one that the next start completes.
"""

import contextlib
import os
import shutil
import signal
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path

import msgspec
import structlog

from appliance.children.files import make_folder, sync_folder, write_atomically
from appliance.children.leftovers import leftovers
from appliance.disk.reserve import FOLDER as RESERVE
from appliance.errors import ApplianceError

log = structlog.get_logger(__name__)

BUILT = "restoring"
"""The folder in which the new content is built."""
JOURNAL = "restore.json"
REPLACED = "replaced-"
"""How the folders begin that hold what was there before."""
COPIES = "upgrades"
"""Copies of the database taken before migrations."""
RUN_FILE = "run.json"
STAYS = frozenset({BUILT, JOURNAL, "appliance.lock", "clock.json", RUN_FILE, "sockets", RESERVE, COPIES, "lost+found"})
"""Belong to the place, not to the appliance whose data are there: the clock's record is of this machine."""
SERVERS = frozenset({"postgres", "initdb", "mosquitto"})
ASK_SECONDS, KILL_SECONDS = 5.0, 10.0
"""Seconds for which a server is asked to end, and then killed, before it counts as one that stays."""
POLL_SECONDS = 0.02
"""Seconds between two looks whether it has ended."""

Step = Callable[[], None]
"""Called between any two changes on disk: where a test ends the process."""


class Journal(msgspec.Struct, frozen=True):
    """What is moved: names in the data folder."""

    aside: str | None
    """The folder that takes what was there; None: nothing was."""
    out: tuple[str, ...]
    """What was there, which goes into ``aside``."""
    into: tuple[str, ...]
    """What is new, which comes out of ``restoring/``."""


def belongings(path: Path, stays: Collection[str] = ()) -> list[str]:
    """Return the names in ``path`` that belong to the appliance whose data are there; none for an empty folder."""
    if not path.is_dir():
        return []
    names = (entry.name for entry in path.iterdir())
    return sorted(name for name in names if name not in STAYS | set(stays) and not name.startswith(REPLACED))


def refuse_mounts(path: Path, names: Collection[str]) -> None:
    """Raise ApplianceError when one of the names in ``path`` is a mount, which cannot be renamed."""
    for name in names:
        if os.path.ismount(path / name):
            raise ApplianceError(f"{path / name} is a mount of its own and cannot be moved aside: unmount it first")


def begin(path: Path, into: Sequence[str], aside: str, stays: Collection[str], step: Step) -> str | None:
    """Replace the content of ``path`` by ``into``, which is complete in ``restoring/``; the caller holds its lock.

    Returns the name of the folder that has what was there, if there was anything. Raises ApplianceError before
    anything is moved when something cannot be.
    """
    out = tuple(belongings(path, stays))
    refuse_mounts(path, out)
    taken = _unused(path, aside) if out else None
    sync_folder(path / BUILT)
    journal = Journal(taken, out, tuple(into))
    with _told(path, begun=False):
        write_atomically(path / JOURNAL, msgspec.json.format(msgspec.json.encode(journal)) + b"\n")
    step()
    _finish(path, journal, step)
    return taken


def settle(path: Path) -> None:
    """Finish a replacement that was interrupted, or remove what it had built; the caller holds the lock of ``path``."""
    try:
        journal = msgspec.json.decode((path / JOURNAL).read_bytes(), type=Journal)
    except FileNotFoundError:
        discard(path)
        return
    except msgspec.MsgspecError as error:
        raise ApplianceError(
            f"{path / JOURNAL} is damaged ({error}): move it away, and restore the backup again"
        ) from None
    log.warning("finishing a restore that was interrupted", folder=str(path))
    _finish(path, journal, lambda: None)


def discard(path: Path) -> None:
    """Remove what was built in ``path`` and is not needed: nothing of it was in use."""
    built = path / BUILT
    if not built.is_dir():
        return
    end_servers(built)
    shutil.rmtree(built)


def end_servers(folder: Path) -> None:
    """End the servers that a killed process left in folders of ``folder``, whose data nobody needs.

    Asked first: Postgres leaves a segment of shared memory when it is killed. Raises ApplianceError when one stays.
    """
    began = time.monotonic()
    folders = [folder / name for name in ("postgres", "postgres.new", "mosquitto")]
    while found := [process for place in folders for process in leftovers(place, SERVERS)]:
        for process in found:
            try:
                os.kill(process.pid, signal.SIGINT if time.monotonic() - began < ASK_SECONDS else signal.SIGKILL)
            except ProcessLookupError:
                continue
        if time.monotonic() - began > ASK_SECONDS + KILL_SECONDS:
            raise ApplianceError(f"processes still work on {folder}: {', '.join(str(one.pid) for one in found)}")
        time.sleep(POLL_SECONDS)


def size(path: Path) -> int:
    """Return the bytes on disk of a folder or file; of a link, those of the link, and 0 of what is gone meanwhile."""
    if path.is_symlink() or not path.is_dir():
        with contextlib.suppress(FileNotFoundError):
            return path.lstat().st_blocks * 512
        return 0
    total = 0
    for folder, _, files in os.walk(path):
        for name in (*files, "."):
            try:
                total += (Path(folder) / name).lstat().st_blocks * 512
            except FileNotFoundError:
                continue
    return total


@contextlib.contextmanager
def _told(path: Path, *, begun: bool) -> Iterator[None]:
    """Raise ApplianceError in place of OSError, with what became of the replacement."""
    try:
        yield
    except OSError as error:
        if begun or (path / JOURNAL).exists():
            end = (
                "Mend that; the next `appliance run` or `appliance restore` puts the rest in place, and needs no backup"
            )
        else:
            end = f"Nothing was moved: what was in {path} is as it was. Mend that, and restore again"
        raise ApplianceError(f"what was restored cannot be put in place: {error}. {end}") from error


def _finish(path: Path, journal: Journal, step: Step) -> None:
    with _told(path, begun=True):
        _move(path, journal, step)


def _move(path: Path, journal: Journal, step: Step) -> None:
    (path / RUN_FILE).unlink(missing_ok=True)
    if journal.aside is not None:
        make_folder(path / journal.aside, 0o700)
        for name in journal.out:
            step()
            if not os.path.lexists(path / journal.aside / name) and os.path.lexists(path / name):
                (path / name).rename(path / journal.aside / name)
        sync_folder(path / journal.aside)
        sync_folder(path)
    for name in journal.into:
        step()
        if os.path.lexists(path / BUILT / name):
            (path / BUILT / name).rename(path / name)
    sync_folder(path)
    step()
    shutil.rmtree(path / BUILT, ignore_errors=True)
    step()
    (path / JOURNAL).unlink()
    sync_folder(path)


def _unused(path: Path, name: str) -> str:
    found, number = name, 1
    while os.path.lexists(path / found):
        number += 1
        found = f"{name}-{number}"
    return found
