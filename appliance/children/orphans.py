"""Reap orphans as process 1: in a container the kernel gives us every orphan, and a zombie stays until waited for."""

import os
from pathlib import Path

import structlog
import trio

from appliance.runtime.periodic import every

log = structlog.get_logger(__name__)

PERIOD_SECONDS = 5.0


async def reap_orphans(*, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
    """Reap children that nobody else waits for, for ever. Only process 1 is given such children.

    Our own code waits for its processes within moments. A child that is a zombie in two checks in a row, five seconds
    apart, was given to us by the kernel.
    """
    before: frozenset[int] = frozenset()

    async def make_round() -> None:
        nonlocal before
        zombies = zombie_children()
        reap(zombies & before)
        before = zombies

    await every(PERIOD_SECONDS, make_round, chore="orphans", task_status=task_status)


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
