"""Reap orphans as process 1: in a container the kernel gives us every orphan, and a zombie stays until waited for."""

import os
from pathlib import Path

import structlog
import trio

log = structlog.get_logger(__name__)

PERIOD_SECONDS = 5.0


async def reap_forever(*, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
    """Reap children that nobody else waits for, until cancelled. Return at once when we are not process 1.

    Our own code waits for its processes within moments. A child that is a zombie in two checks in a row, five seconds
    apart, was given to us by the kernel.
    """
    task_status.started()
    if os.getpid() != 1:
        return
    before: frozenset[int] = frozenset()
    while True:
        await trio.sleep(PERIOD_SECONDS)
        zombies = zombie_children()
        reap(zombies & before)
        before = zombies


def zombie_children() -> frozenset[int]:
    """Return the pids of our direct children that have ended and were not waited for."""
    return frozenset(int(entry.name) for entry in Path("/proc").iterdir() if _is_zombie_child(entry))


def _is_zombie_child(entry: Path) -> bool:
    if not entry.name.isdecimal():
        return False
    try:
        stat = (entry / "stat").read_text(errors="replace")
    except OSError:
        return False
    state, parent = stat.rpartition(")")[2].split()[:2]  # the name before it may hold blanks and brackets
    return state == "Z" and int(parent) == os.getpid()


def reap(pids: frozenset[int]) -> None:
    """Wait for each of ``pids`` without blocking."""
    for pid in pids:
        try:
            os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:
            continue  # its owner was quicker
        log.debug("reaped an orphan", pid=pid)
