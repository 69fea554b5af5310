"""Drops one day of readings, with its count in the ledger and its audit row, or says what it waits for."""

from collections.abc import Callable
from datetime import datetime

import psycopg
import structlog

from appliance.db.partitions import BackupRuns, drop_day
from appliance.db.pool import Pool
from appliance.ingest.telemetry.expiry import ExpiredDay, Wait
from appliance.metrics import Metrics

ACTOR = "retention"

log = structlog.get_logger(__name__)


class DayDropper:
    """Drops days for the process ``instance``."""

    def __init__(self, pool: Pool, instance: str, metrics: Metrics, failpoint: Callable[[str], None]) -> None:
        self._pool = pool
        self._instance = instance
        self._metrics = metrics
        self._failpoint = failpoint

    async def drop(
        self, one: ExpiredDay, *, cutoff: datetime, now: datetime, without_rollups: bool
    ) -> tuple[Wait, int]:
        """Drop a day in a transaction; return what it waits for (TURN: nothing), and how many days went.

        ``cutoff`` is the moment by which the caller decided. Raises psycopg.Error, OSError: the day is there then.
        """
        day, cause = one.partition.day, one.cause.value
        try:
            async with self._pool.connection() as connection, connection.transaction():
                readings = await drop_day(
                    connection,
                    day,
                    cutoff=cutoff,
                    now=now,
                    instance=self._instance,
                    actor=ACTOR,
                    cause=cause,
                    without_rollups=without_rollups,
                )
                self._failpoint("before_drop_commit")
        except BackupRuns:
            return Wait.BACKUP, 0
        except psycopg.errors.LockNotAvailable:
            return Wait.LOCK, 0
        except psycopg.errors.ObjectNotInPrerequisiteState:
            return Wait.ROLLUPS, 0
        self._failpoint("after_drop_commit")
        if readings is None:
            return Wait.TURN, 0
        self._metrics.dropped_days.labels(cause).inc()
        log.info("day dropped", day=day.isoformat(), readings=readings, bytes=one.partition.bytes, cause=cause)
        return Wait.TURN, 1
