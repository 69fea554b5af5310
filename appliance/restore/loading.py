"""The dump of a backup on its way into a database: ``pg_restore`` makes statements of it, ``psql`` runs them.

All in one transaction, which is committed only when the archive has been read to its end and found whole: whatever is
killed or fails before leaves the database as it was.
"""

import contextlib
import os
import subprocess
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from appliance.backup.archive import DumpPart, Summary, open_backup, read_archive
from appliance.children.process import ENVIRONMENT
from appliance.db.endpoint import environment
from appliance.errors import ApplianceError

CHUNK = 256 * 1024
"""Bytes passed on at once."""


@dataclass(frozen=True, slots=True)
class Source:
    """A backup that was verified."""

    path: Path
    passphrase: str | None


class Loading:
    """One load. :meth:`run` blocks; :meth:`stop` may be called by any thread, and afterwards always."""

    def __init__(self, source: Source, programs: Path, conninfo: str, guard: str) -> None:
        """``programs``: the folder of pg_restore and psql; ``guard``: SQL for the end of the same transaction."""
        self._source = source
        self._guard = guard
        self._errors = {name: os.memfd_create(name) for name in ("pg_restore", "psql", "list")}
        os.write(self._errors["list"], _ours(_list(source, programs / "pg_restore")))
        self._whole, self._stopped = threading.Event(), threading.Event()
        self._reader = subprocess.Popen(
            [str(programs / "pg_restore"), f"--use-list=/dev/fd/{self._errors['list']}", "--file=-"],
            pass_fds=(self._errors["list"],),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors["pg_restore"],
            env=dict(ENVIRONMENT),
            cwd="/",
        )
        self._writer = subprocess.Popen(
            [str(programs / "psql"), "--no-psqlrc", "--quiet", "--no-password", "--set=ON_ERROR_STOP=1", "--file=-"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=self._errors["psql"],
            env={**ENVIRONMENT, **environment(conninfo), "PGAPPNAME": "appliance restore"},
            cwd="/",
        )

    def run(self, progress: Callable[[int], None]) -> None:
        """Load all of it. ``progress`` is called with the bytes of the dump so far.

        Raises ApplianceError when a program fails, and what reading the archive raises; nothing is loaded then.
        """
        passing = threading.Thread(target=self._pass_on, daemon=True)
        passing.start()
        try:
            self._feed(progress)
        except BaseException:
            self.stop()
            passing.join()
            raise
        passing.join()
        self._raise_failure()

    def stop(self) -> None:
        """End both programs if they still run, and reap them."""
        self._stopped.set()
        self._whole.set()
        for process in (self._reader, self._writer):
            if process.poll() is None:
                process.kill()
            process.wait()

    def close(self) -> None:
        """Stop, and give back what was used."""
        self.stop()
        for stream in (self._reader.stdin, self._reader.stdout, self._writer.stdin):
            with contextlib.suppress(BrokenPipeError):  # of what was not written
                _pipe(stream).close()
        for descriptor in self._errors.values():
            os.close(descriptor)

    def _feed(self, progress: Callable[[int], None]) -> None:
        """Give pg_restore what it takes, and read the archive to its end. Without pg_restore it need not be read."""
        stdin = _pipe(self._reader.stdin)
        count, whole, reads_on = 0, False, True
        try:
            with open_backup(self._source.path, self._source.passphrase) as stream:
                for entry in read_archive(stream):
                    if isinstance(entry, DumpPart):
                        reads_on = reads_on and _written(stdin, entry.data)
                        if not reads_on and self._reader.wait() != 0:
                            break  # it has failed, and says why
                        count += len(entry.data)
                        progress(count)
                    whole = isinstance(entry, Summary)
        finally:
            with contextlib.suppress(BrokenPipeError):
                stdin.close()
        if not whole and self._reader.wait() == 0:
            raise ApplianceError(f"{self._source.path} ends too early")
        self._whole.set()

    def _pass_on(self) -> None:
        """Give psql what pg_restore writes, in a transaction that is committed last of all."""
        stdout, stdin = _pipe(self._reader.stdout), _pipe(self._writer.stdin)
        try:
            stdin.write(b"BEGIN;\n")
            while chunk := stdout.read(CHUNK):
                stdin.write(chunk)
            failed = self._reader.wait() != 0
            self._whole.wait()
            if failed or self._stopped.is_set():
                self._writer.kill()  # whose session ends without a commit
            else:
                stdin.write(f"{self._guard}\nCOMMIT;\n".encode())
            stdin.close()
        except BrokenPipeError:
            self._reader.kill()  # psql has failed
        except ValueError:
            pass  # stopped meanwhile
        self._writer.wait()

    def _raise_failure(self) -> None:
        if self._stopped.is_set():
            raise ApplianceError("the restore was stopped before its end")
        for name, process in (("psql", self._writer), ("pg_restore", self._reader)):
            words = _first_line(self._errors[name])
            if process.returncode != 0 and (words or name == "pg_restore" or self._reader.returncode == 0):
                raise ApplianceError(f"{name} failed: {words or f'exit code {process.returncode}'}")


def _list(source: Source, pg_restore: Path) -> bytes:
    """Return the table of contents of the dump. Raises ApplianceError when pg_restore cannot read it."""
    process = subprocess.Popen(
        [str(pg_restore), "--list"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=dict(ENVIRONMENT),
        cwd="/",
    )
    fed = threading.Thread(target=_feed_list, args=(source, _pipe(process.stdin)), daemon=True)
    with process:
        fed.start()
        found = _pipe(process.stdout).read()
        fed.join()
    if process.returncode != 0:
        raise ApplianceError(f"pg_restore cannot read the dump in {source.path}")
    return found


def _feed_list(source: Source, stdin: IO[bytes]) -> None:
    """Give pg_restore as much of the dump as it reads: its table of contents comes first."""
    with contextlib.suppress(BrokenPipeError), open_backup(source.path, source.passphrase) as stream:
        for entry in read_archive(stream):
            if isinstance(entry, DumpPart):
                stdin.write(entry.data)
    with contextlib.suppress(BrokenPipeError):
        stdin.close()


def _ours(contents: bytes) -> bytes:
    """Return the table of contents without rights on what belongs to the server: who prepares that, has its own."""
    return b"".join(line for line in contents.splitlines(keepends=True) if b" ACL pg_catalog " not in line)


def _written(stdin: IO[bytes], data: bytes) -> bool:
    """Return whether the program took ``data``; False: it has ended."""
    try:
        stdin.write(data)
    except BrokenPipeError:
        return False
    return True


def _pipe(stream: IO[bytes] | None) -> IO[bytes]:
    assert stream is not None, "it was asked for as a pipe"  # noqa: S101 - narrows the type
    return stream


def _first_line(descriptor: int) -> str:
    text = os.pread(descriptor, os.fstat(descriptor).st_size, 0).decode(errors="replace")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if "ERROR" in line or "error:" in line]
    return next(iter([*errors, *lines]), "")
