"""Where readings go: the telemetry table, its partitions made as they are needed.

Enters: readings, inside the caller's transaction. Leaves: the readings that were stored, those that were there already,
and those that Postgres refuses. There are three ways, from fast to careful:

* ``DIRECT`` copies into the table. It fails as a whole on a duplicate, which is rare: only a reconnect brings any.
* ``STAGED`` copies into a staging table and inserts what is not there yet.
* ``BISECTED`` does so in halves under savepoints, down to the rows that Postgres refuses.
"""

from collections.abc import Callable, Iterable, Sequence
from enum import Enum
from typing import Any

import psycopg

from appliance.db import statements
from appliance.db.partitions import ensure_partitions
from appliance.db.sqlstate import Failure, classify
from appliance.db.trio_psycopg import Connection
from appliance.ingest.batch import MICROSECONDS, IndexRange, Reading, RefusedSubmission
from appliance.ingest.quarantine.sampling import moment
from appliance.ingest.telemetry.copy_row import HEADER, TRAILER
from appliance.reading import Reason

DAY = 86_400 * MICROSECONDS
WIDE = 40
"""Days between two readings of a batch from which on its days are looked at one by one. While the clock is in doubt, a
time that is right by either clock counts, and the two may be years apart."""
DAYS_TOGETHER = 50
"""Partitions made in one transaction: each takes some ten locks, and Postgres has a few thousand."""
MAX_DAYS = 10_000
"""Days remembered as having their partition."""


class StorePath(Enum):
    """How the readings of a batch are stored."""

    DIRECT = "direct"
    STAGED = "staged"
    BISECTED = "bisected"


class TelemetryStore:
    """Puts readings into telemetry. Each task that writes has one: it remembers which days have their partition."""

    def __init__(self) -> None:
        self._queries = statements.load("ingest")
        self._days: set[int] = set()

    def forget_days(self) -> None:
        """Forget which days have a partition: one that was expected is not there."""
        self._days.clear()

    async def ensure_days(
        self, connection: Connection[Any], readings: Iterable[Reading], span: IndexRange | None
    ) -> None:
        """Make the partitions that ``readings``, all within ``span``, need, unless they are known to be there."""
        if span is None:
            return
        first, last = span[0] // DAY, span[1] // DAY
        wanted: Iterable[int] = range(first, last + 1)
        if last - first >= WIDE:
            wanted = {reading.ts // DAY for reading in readings}
        for first_missing, last_missing in _runs(day for day in wanted if day not in self._days):
            await ensure_partitions(connection, moment(first_missing * DAY).date(), moment(last_missing * DAY).date())
            if len(self._days) >= MAX_DAYS:
                self._days.clear()
            self._days.update(range(first_missing, last_missing + 1))

    async def put(
        self,
        connection: Connection[Any],
        readings: Sequence[Reading],
        way: StorePath,
        meanwhile: Callable[[Sequence[Reading]], None] = lambda _: None,
    ) -> tuple[Sequence[Reading], Sequence[Reading], Sequence[RefusedSubmission]]:
        """Put readings into telemetry; return those stored, those there already and those that Postgres refused.

        ``meanwhile`` is called with ``readings`` while Postgres works, if all of them are stored or none.
        """
        if not readings:
            return (), (), ()
        if way is StorePath.DIRECT:
            await self._copy(connection, "copy_telemetry", readings, meanwhile)
            return readings, (), ()
        await connection.execute(self._queries["create_staging"])
        if way is StorePath.STAGED:
            stored, duplicates = await self._stage(connection, readings)
            return stored, duplicates, ()
        poison: list[RefusedSubmission] = []
        found: list[Reading] = []
        doubled: list[Reading] = []
        await self._bisect(connection, readings, found, doubled, poison)
        return found, doubled, poison

    async def _copy(
        self,
        connection: Connection[Any],
        statement: str,
        readings: Sequence[Reading],
        meanwhile: Callable[[Sequence[Reading]], None] = lambda _: None,
    ) -> None:
        data = b"".join([HEADER, *[reading.row for reading in readings], TRAILER])
        async with connection.cursor() as cursor, cursor.copy(self._queries[statement]) as copy:
            await copy.write(data)
            meanwhile(readings)

    async def _stage(
        self, connection: Connection[Any], readings: Sequence[Reading]
    ) -> tuple[list[Reading], list[Reading]]:
        await connection.execute(self._queries["clear_staging"])
        await self._copy(connection, "copy_staging", readings)
        cursor = await connection.execute(self._queries["insert_staged"])
        fresh = set(await cursor.fetchall())
        stored: list[Reading] = []
        duplicates: list[Reading] = []
        for reading in readings:
            digest = int.from_bytes(reading.digest, "big", signed=True)
            key = (reading.route.tenant_id, reading.route.device_id, reading.ts, digest)
            if key in fresh:
                fresh.discard(key)
                stored.append(reading)
            else:
                duplicates.append(reading)
        return stored, duplicates

    async def _bisect(
        self,
        connection: Connection[Any],
        readings: Sequence[Reading],
        stored: list[Reading],
        duplicates: list[Reading],
        poison: list[RefusedSubmission],
    ) -> None:
        """Store halves under savepoints until only the rows that Postgres refuses are left (P4)."""
        try:
            async with connection.transaction():
                some, doubled = await self._stage(connection, readings)
        except psycopg.Error as error:
            if classify(error) is not Failure.POISON:
                raise
            if len(readings) == 1:
                poison.append(_store_refused(readings[0], error))
                return
            middle = len(readings) // 2
            await self._bisect(connection, readings[:middle], stored, duplicates, poison)
            await self._bisect(connection, readings[middle:], stored, duplicates, poison)
            return
        stored += some
        duplicates += doubled


def _runs(days: Iterable[int]) -> list[tuple[int, int]]:
    """Return the first and the last of each run of consecutive days, of DAYS_TOGETHER at most."""
    runs: list[tuple[int, int]] = []
    for day in sorted(days):
        if runs and runs[-1][1] == day - 1 and day - runs[-1][0] < DAYS_TOGETHER:
            runs[-1] = (runs[-1][0], day)
        else:
            runs.append((day, day))
    return runs


def _store_refused(reading: Reading, error: psycopg.Error) -> RefusedSubmission:
    """Return the refusal of check 15: Postgres does not take the reading."""
    route = reading.route
    return RefusedSubmission(
        reading.index,
        Reason.STORE_REFUSED,
        f"Postgres refused the row ({error.sqlstate}): {str(error).splitlines()[0]}",
        f"tenant/{route.tenant_id}/device/{route.device_id}/{route.kind.value}",
        reading.payload,
        route.tenant_id,
        route.device_id,
        route.kind.value,
        None,
        reading.ts,
    )
