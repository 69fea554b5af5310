"""The daily partitions of ``telemetry``: made before a reading of their day can be stored, dropped as a whole."""

from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from appliance.db import locks, statements
from appliance.db.trio_psycopg import Connection

STATEMENTS = statements.load("db")


class BackupRuns(Exception):
    """A backup reads the tables, and keeps them from being locked until its end."""


@dataclass(frozen=True, slots=True)
class DayPartition:
    """The partition of one UTC day."""

    day: date
    bytes: int
    """Indexes included."""
    empty: bool
    pending_hours: int
    """Hours of devices that are still to be rolled up, at most: each is counted once for every time it was queued."""


async def ensure_partitions(connection: Connection[Any], first: date, last: date) -> int:
    """Create the partitions of the UTC days ``first`` to ``last``, both included; return how many were missing.

    Safe to call at any time, from several processes; waits for no reader or writer of other days.
    """
    cursor = await connection.execute(STATEMENTS["ensure_telemetry_partitions"], {"first": first, "last": last})
    row = await cursor.fetchone()
    assert row is not None, "a function call returns one row"  # noqa: S101 - narrows the type
    made: int = row[0]
    return made


async def read_days(connection: Connection[Any]) -> tuple[DayPartition, ...]:
    """Return the days that have a partition, the oldest first: some file system calls of the server a day, no scan."""
    cursor = await connection.execute(STATEMENTS["telemetry_partitions"])
    return tuple(DayPartition(*row) for row in await cursor.fetchall())


async def drop_day(
    connection: Connection[Any],
    day: date,
    *,
    cutoff: datetime,
    now: datetime,
    instance: str,
    actor: str,
    cause: str,
    without_rollups: bool,
) -> int | None:
    """Drop the partition of ``day``, with its count in the ledger and its audit row; return how many readings went.

    Returns None if there is no such partition, or while another session drops one. ``cutoff`` is the moment by which
    the caller decided: the database refuses a day that is not older as a whole (InvalidParameterValue). Raises
    LockNotAvailable if somebody reads or writes telemetry for longer than 200 ms, ObjectNotInPrerequisiteState if
    hours of the day are still to be rolled up, unless it goes ``without_rollups``, as only the causes "max_bytes" and
    "disk" may. Raises BackupRuns while a backup reads the tables, before anything is locked: its end would be waited
    for in vain, and the stream would wait behind that.
    """
    turn = await (await connection.execute(STATEMENTS["exclude_backups"], {"key": locks.BACKUP_LOCK})).fetchone()
    if turn == (None,):
        return None
    if turn == (False,):
        raise BackupRuns
    parameters = {
        "day": day,
        "cutoff": cutoff,
        "now": now,
        "instance": instance,
        "actor": actor,
        "cause": cause,
        "without_rollups": without_rollups,
    }
    row = await (await connection.execute(STATEMENTS["drop_telemetry_day"], parameters)).fetchone()
    return None if row is None else row[0]
