"""What a start does on a full disk: it waits, says so, and goes on by itself."""

import errno
from collections.abc import Awaitable, Callable
from typing import TypeVar

import psycopg
import structlog
import trio

from appliance.disk.watch import DiskWatch
from appliance.errors import ApplianceError

T = TypeVar("T")

NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})
LEAST_FREE_BYTES = 8 * 1024 * 1024
"""What the small rows and files of a start take at most; a migration may take more, and is tried again."""
LEAST_FREE_FILES = 16
LOOK_SECONDS = 0.5
AGAIN_SECONDS = 2.0

log = structlog.get_logger(__name__)


async def some_room(disk: DiskWatch) -> None:
    """Return once there is room for the small things of a start: at once, as a rule, for the reserve was given back."""
    said = False
    while _short(disk):
        if not said:
            said = True
            log.error("the start waits for room on the disk", cause=disk.look() or "less than 8 MB are free")
        await trio.sleep(LOOK_SECONDS)
        disk.look()


async def persist(disk: DiskWatch, work: Callable[[], Awaitable[T]], *, what: str) -> T:
    """Do ``work``, and do it anew as long as it finds no room on the disk."""
    while True:
        try:
            return await work()
        except (psycopg.Error, OSError, ApplianceError) as error:
            if not _found_no_room(disk, error):
                raise
            log.error("the start waits for room on the disk", what=what, cause=str(error).strip())
        await trio.sleep(AGAIN_SECONDS)


def _short(disk: DiskWatch) -> bool:
    room = disk.room
    return room.free < LEAST_FREE_BYTES or bool(room.files and room.free_files < LEAST_FREE_FILES)


def _found_no_room(disk: DiskWatch, error: BaseException) -> bool:
    cause = error.__cause__ if isinstance(error, ApplianceError) else error
    match cause:
        case psycopg.errors.DiskFull():
            return True
        case psycopg.OperationalError():  # Postgres itself has found no room, and starts again
            return disk.look() is not None
        case OSError():
            return cause.errno in NO_ROOM
        case _:
            return False
