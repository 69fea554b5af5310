"""``pg_dump`` as a stream of bytes, and ``pg_restore`` as a reader of its table of contents.

Both are programs of Postgres, started with an environment of their own: it holds how to reach the database and nothing
else of ours.
"""

import os
import re
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from appliance.backup.age_file import Damaged
from appliance.children.process import ENVIRONMENT
from appliance.db.endpoint import environment
from appliance.errors import ApplianceError

NICE = 10
"""The priority of what works for a backup, on the scale from -20 (first) to 19 (last)."""
CHUNK = 256 * 1024
"""Bytes read from pg_dump at once."""
LOCK_WAIT = "60s"
"""How long pg_dump waits for the locks of its tables; nothing of ours holds one for longer that a reader waits for."""
LEFT_OUT = ("api_requests",)
"""Tables whose rows stay out: the answers to requests of a day, one-time secrets among them."""
_ENTRY = re.compile(rb"^\d+; \d+ \d+ TABLE DATA public (\S+) ", re.MULTILINE)


def lower_priority(pid: int) -> None:
    """Lower the priority of a process, or of a thread by its native id, to NICE: messages come first."""
    with suppress(PermissionError, ProcessLookupError):
        if os.getpriority(os.PRIO_PROCESS, pid) < NICE:
            os.setpriority(os.PRIO_PROCESS, pid, NICE)


class Dump:
    """A running pg_dump. Iterate over it once, to its end: raises ApplianceError when it failed, or was stopped."""

    def __init__(self, pg_dump: Path, conninfo: str, snapshot: str) -> None:
        """``snapshot`` was exported by a transaction that stays open until the first bytes have come."""
        left_out = [f"--exclude-table-data=public.{table}" for table in LEFT_OUT]
        options = ["--format=custom", "--compress=1", "--no-password", f"--lock-wait-timeout={LOCK_WAIT}"]
        self._errors = _CapturedOutput()
        self._process = subprocess.Popen(
            [str(pg_dump), *options, f"--snapshot={snapshot}", *left_out],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._errors.descriptor,
            env={**ENVIRONMENT, **environment(conninfo), "PGAPPNAME": "appliance backup"},
            cwd="/",
        )
        lower_priority(self._process.pid)
        self._stopped = threading.Event()

    def __iter__(self) -> Iterator[bytes]:
        assert self._process.stdout is not None  # noqa: S101 - it was asked for as a pipe
        while chunk := self._process.stdout.read(CHUNK):
            yield chunk
        code = self._process.wait()
        if self._stopped.is_set():
            raise ApplianceError("the backup was stopped before its end")
        if code != 0:
            raise ApplianceError(f"pg_dump failed: {_last_line(self._errors.read()) or f'exit code {code}'}")

    def stop(self) -> None:
        """End it at once; whoever iterates gets an error. May be called by any thread."""
        self._stopped.set()
        self._process.kill()

    def close(self) -> None:
        """End it if it still runs, and reap it."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._errors.close()


class TableOfContents:
    """A running ``pg_restore --list``, which is given a dump and reads as much of it as it needs."""

    def __init__(self, pg_restore: Path) -> None:
        self._out, self._errors = _CapturedOutput(), _CapturedOutput()
        self._process = subprocess.Popen(
            [str(pg_restore), "--list"],
            stdin=subprocess.PIPE,
            stdout=self._out.descriptor,
            stderr=self._errors.descriptor,
            env=dict(ENVIRONMENT),
            cwd="/",
        )
        self._reads_on = True

    def feed(self, data: bytes) -> None:
        """Give it the next bytes of the dump."""
        assert self._process.stdin is not None  # noqa: S101 - it was asked for as a pipe
        if self._reads_on:
            try:
                self._process.stdin.write(data)
            except BrokenPipeError:  # it has read its table of contents, or failed
                self._reads_on = False

    def tables(self) -> frozenset[str]:
        """Return the tables whose rows the dump has, once it was given all of it. Raises Damaged when it is no dump."""
        assert self._process.stdin is not None  # noqa: S101 - it was asked for as a pipe
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        if self._process.wait() != 0:
            raise Damaged(f"pg_restore cannot read its dump: {_last_line(self._errors.read())}")
        return frozenset(name.decode() for name in _ENTRY.findall(self._out.read()))

    def close(self) -> None:
        """End it if it still runs, and reap it."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        if self._process.stdin is not None:
            with suppress(BrokenPipeError):  # of what it did not read
                self._process.stdin.close()
        self._out.close()
        self._errors.close()


@contextmanager
def listing(pg_restore: Path) -> Iterator[TableOfContents]:
    """Yield a running ``pg_restore --list``."""
    contents = TableOfContents(pg_restore)
    try:
        yield contents
    finally:
        contents.close()


class _CapturedOutput:
    """What a program writes, kept in memory: nobody has to read it meanwhile, so that it never waits for us."""

    def __init__(self) -> None:
        self.descriptor = os.memfd_create("output")

    def read(self) -> bytes:
        return os.pread(self.descriptor, os.fstat(self.descriptor).st_size, 0)

    def close(self) -> None:
        os.close(self.descriptor)


def _last_line(output: bytes) -> str:
    """Return the line that says why: the last one of pg_dump's that is an error."""
    lines = [line.strip() for line in output.decode(errors="replace").splitlines() if line.strip()]
    errors = [line for line in lines if "error:" in line]
    return next(iter([*errors, *lines[-1:]]), "")
