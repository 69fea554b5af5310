"""Processes that an earlier, killed appliance left behind on one of our folders.

They are recognised by the folder they work on, not by a recorded process id: ids are reused (in a container the same
ones at each boot), while a server whose argument or working directory is our folder can only be ours. The caller holds
the lock on ``data_dir``, so none of them belongs to a running appliance.
"""

import os
import signal
from dataclasses import dataclass
from pathlib import Path

import structlog
import trio

from appliance.children.polling import until

log = structlog.get_logger(__name__)

POLL_SECONDS = 0.02
PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Process:
    """A running process as /proc shows it."""

    pid: int
    argv: tuple[str, ...]


def processes() -> list[Process]:
    """Return all processes that /proc shows us, without zombies (they have no arguments)."""
    found = []
    for entry in PROC.iterdir():
        if entry.name.isdecimal():
            try:
                raw = (entry / "cmdline").read_bytes()
            except OSError:  # it ended while we looked
                continue
            if raw:
                argv = raw.rstrip(b"\0").decode("utf-8", "surrogateescape").split("\0")
                found.append(Process(int(entry.name), tuple(argv)))
    return found


def leftovers(path: Path, programs: frozenset[str]) -> list[Process]:
    """Return the processes of ``programs`` (base names, or ``setpriv`` about to become one) that work on ``path``."""
    return [process for process in processes() if _works_on(process, path, programs)]


def _works_on(process: Process, path: Path, programs: frozenset[str]) -> bool:
    # A Postgres backend rewrites its arguments ("postgres: checkpointer"), but stays in the data folder.
    name = Path(process.argv[0].partition(":")[0]).name
    if name not in programs and name != "setpriv":
        return False
    if process.pid == os.getpid():
        return False
    if str(path) in process.argv[1:]:
        return True
    try:
        return (PROC / str(process.pid) / "cwd").readlink() == path
    except OSError:
        return False


async def stop_leftovers(path: Path, programs: frozenset[str], *, polite: signal.Signals, seconds: float = 10.0) -> int:
    """Stop every leftover on ``path``: ``polite`` first, SIGKILL after ``seconds``. Return their number."""
    found = leftovers(path, programs)
    if not found:
        return 0
    for process in found:
        log.warning("stopping what an earlier appliance left", pid=process.pid, program=process.argv[0])
    _signal(found, polite)
    with trio.move_on_after(seconds):
        await _gone(path, programs)
        return len(found)
    _signal(leftovers(path, programs), signal.SIGKILL)
    await _gone(path, programs)
    return len(found)


async def _gone(path: Path, programs: frozenset[str]) -> None:
    await until(lambda: not leftovers(path, programs), period=POLL_SECONDS)


def _signal(found: list[Process], number: signal.Signals) -> None:
    for process in found:
        try:
            os.kill(process.pid, number)
        except ProcessLookupError:
            continue
