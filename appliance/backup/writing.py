"""One backup from its beginning to its name: written beside it, on the disk, read again, and only then renamed.

A process that is killed leaves a file that ends in ``.part`` and is opened by nobody; the next backup of the same name
or in the same folder removes it.
"""

import fcntl
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import trio

from appliance.backup.age_file import AgeWriter
from appliance.backup.archive import Manifest, write_archive
from appliance.backup.contents import describe, gather, open_snapshot
from appliance.backup.dump import Dump, lower_priority
from appliance.backup.verifying import Verified, verify
from appliance.children.programs import find_postgres_clients
from appliance.clock import Clock
from appliance.config import Config
from appliance.db.endpoint import Endpoint
from appliance.db.roles import BACKUP
from appliance.errors import ApplianceError
from appliance.new_file import PART, new_file

T = TypeVar("T")

SYNC_BYTES = 8 * 1024 * 1024
"""Bytes after which what was written goes to the disk: commits of the database wait for what is written before them."""
Progress = Callable[[str, int], None]
"""Told what is done ("writing", "verifying") and the bytes so far."""


@dataclass(frozen=True, slots=True)
class Written:
    """A backup that is whole."""

    file: Path
    bytes: int
    seconds: float
    verified: Verified


@dataclass(frozen=True, slots=True)
class Task:
    """Where a backup goes, and what it is of."""

    file: Path
    passphrase: str | None
    """None writes it plain, in a folder of ours alone."""
    config: Config
    config_file: Path | None
    endpoint: Endpoint
    clock: Clock
    failpoint: Callable[[str], None]
    progress: Progress


async def write_backup(task: Task) -> Written:
    """Write and verify a backup. Raises ApplianceError, Invalid when there is such a file; then nothing is left."""
    began = time.monotonic()
    with new_file(task.file) as new:
        task.failpoint("backup_begun")
        async with open_snapshot(task.endpoint) as snapshot:
            clients = await find_postgres_clients(snapshot.postgres_major)
            files = gather(task.config, task.config_file)
            manifest = describe(snapshot, task.config, files, task.clock, dump_major=clients.major)
            conninfo = task.endpoint.conninfo(BACKUP)
            dump = Dump(clients.folder / "pg_dump", conninfo, snapshot.id)
            try:
                await _in_thread(dump.stop, partial(_write, task, new.descriptor, manifest, files, dump))
            finally:
                dump.close()
        task.failpoint("backup_written")
        stop = threading.Event()
        check = partial(_verify, task, new.part, clients.folder / "pg_restore", stop)
        verified = await _in_thread(stop.set, check)
        task.failpoint("backup_verified")
    task.failpoint("backup_named")
    return Written(task.file, task.file.stat().st_size, time.monotonic() - began, verified)


def _write(task: Task, descriptor: int, manifest: Manifest, files: dict[str, bytes], dump: Iterable[bytes]) -> None:
    lower_priority(threading.get_native_id())
    out = _SyncedFile(descriptor)
    if task.passphrase is None:
        write_archive(out, manifest, files, _counted(dump, task))
    else:
        sealed = AgeWriter(out, task.passphrase)
        write_archive(sealed, manifest, files, _counted(dump, task))
        sealed.finish()
    out.sync()


def _counted(dump: Iterable[bytes], task: Task) -> Iterator[bytes]:
    count = 0
    for chunk in dump:
        yield chunk
        if count == 0:
            task.failpoint("backup_half")
        count += len(chunk)
        task.progress("writing", count)


def _verify(task: Task, part: Path, pg_restore: Path, stop: threading.Event) -> Verified:
    lower_priority(threading.get_native_id())

    def read(count: int) -> None:
        if stop.is_set():
            raise ApplianceError("the backup was stopped before its end")
        task.progress("verifying", count)

    return verify(part, task.passphrase, pg_restore, read)


async def _in_thread(stop: Callable[[], None], work: Callable[[], T]) -> T:
    """Return what ``work`` returns; call ``stop`` when cancelled, upon which ``work`` must raise soon.

    A thread cannot be cancelled, and must not be left alone with the file.
    """
    done = False

    async def watch() -> None:
        try:
            await trio.sleep_forever()
        finally:
            if not done:
                stop()

    def attempt() -> T | Exception:  # an error that is raised in the nursery would come in a group
        try:
            return work()
        except Exception as error:  # noqa: BLE001 - raised again below
            return error

    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch)
        result = await trio.to_thread.run_sync(attempt)
        done = True
        nursery.cancel_scope.cancel()
    if isinstance(result, Exception):
        raise result
    return result


def remove_parts(folder: Path, names: Callable[[str], bool]) -> list[Path]:
    """Remove files that a killed backup has left in ``folder``, those with ``names`` alone; return them."""
    removed = []
    for path in sorted(folder.glob(f"*{PART}")):
        if not names(path.name.removesuffix(PART)):
            continue
        with suppress(OSError):  # somebody writes it, or it is that of another user: a new backup matters more
            descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)  # NFS locks what may be written alone
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink(missing_ok=True)
                removed.append(path)
            finally:
                os.close(descriptor)
    return removed


class _SyncedFile:
    """A file that is on the disk as far as it was written, SYNC_BYTES apart, and takes no room in the page cache."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._written = self._synced = 0

    def write(self, data: bytes | bytearray | memoryview, /) -> int:
        view = memoryview(data)
        while view:
            count = os.write(self._descriptor, view)
            self._written += count
            view = view[count:]
        if self._written - self._synced >= SYNC_BYTES:
            self._drop()
        return len(data)

    def sync(self) -> None:
        self._drop()
        os.fsync(self._descriptor)

    def _drop(self) -> None:
        os.fdatasync(self._descriptor)
        os.posix_fadvise(self._descriptor, self._synced, self._written - self._synced, os.POSIX_FADV_DONTNEED)
        self._synced = self._written
