"""What operators have confirmed: that the wall clock of an instance is right, although it is in doubt.

Enters: a change by a person, on a page or by command, with its audit row in the same transaction. Leaves: the end of
the doubt, within a second in a running process, else at its next start. Never: trust in a wall clock that was set after
it was confirmed.
"""

from datetime import UTC, datetime
from typing import Any, Protocol

import trio

from appliance.db import statements
from appliance.db.audit import Entry, record
from appliance.db.change_context import ChangeContext
from appliance.db.pool import Pool
from appliance.db.trio_psycopg import Connection
from appliance.errors import Conflict
from appliance.runtime.periodic import every
from appliance.service_clock.build_date import BUILD_DATE
from appliance.service_clock.service_time import Instant, Step

CLOCK_CHANNEL = "appliance_clock"
PATIENCE_SECONDS = 3600.0
"""Seconds after which a confirmation is looked for without a notification; one of these is never missed for long."""

SHOWN_SECONDS = 900.0
"""Seconds for which a person may look at a clock before they confirm it."""

STATEMENTS = statements.load("service_clock")


class Confirmable(Protocol):
    """A clock in doubt: :class:`appliance.service_clock.clock.ServiceClock`."""

    @property
    def trusted(self) -> bool: ...
    def now(self) -> float: ...
    def wall_instant(self) -> Instant: ...
    def confirm(self, confirmed: Instant) -> Step | None: ...


async def confirm(
    connection: Connection[Any], instance: str, clock: Confirmable, context: ChangeContext, *, shown: float | None
) -> Instant:
    """Record that the wall clock of this machine is right; return what was confirmed.

    ``shown``: what it showed when a person was asked, if they were. Raises Conflict when it is not in doubt, when it
    was set since it was shown, or is before the build date and so certainly wrong.
    """
    confirmed = clock.wall_instant()
    if clock.trusted:
        raise Conflict("The clock is trusted already; there is nothing to confirm.")
    wall = datetime.fromtimestamp(confirmed.time, UTC)
    if wall < BUILD_DATE:
        raise Conflict(
            f"The machine's clock shows {wall:%Y-%m-%d %H:%M} UTC, which is before this program was built "
            f"({BUILD_DATE:%Y-%m-%d}): set it first, for example with `timedatectl set-time`."
        )
    service_time = clock.now()
    if shown is not None and not 0 <= confirmed.time - shown <= SHOWN_SECONDS:
        raise Conflict("The machine's clock was set since it was shown. Look at it again.")
    async with connection.transaction():
        parameters = {
            "instance": instance,
            "wall": confirmed.time,
            "elapsed": confirmed.elapsed,
            "boot_id": confirmed.boot_id,
        }
        await connection.execute(STATEMENTS["confirm"], parameters)
        before = {"service_time": datetime.fromtimestamp(service_time, UTC).isoformat()}
        after = {"wall": wall.isoformat(), "offset_seconds": round(confirmed.time - service_time, 3)}
        await record(
            connection, Entry(context.actor, "clock.confirm", "clock", instance, None, before, after), now=context.now
        )
    return confirmed


async def take(connection: Connection[Any], instance: str) -> Instant | None:
    """Return what was confirmed for this instance and remove it: a confirmation counts once."""
    row = await (await connection.execute(STATEMENTS["take_confirmation"], {"instance": instance})).fetchone()
    return None if row is None else Instant(*row)


async def newest_receipt(connection: Connection[Any], instance: str) -> float | None:
    """Return when this instance last received something, in seconds since 1970; None if never."""
    row = await (await connection.execute(STATEMENTS["newest_receipt"], {"instance": instance})).fetchone()
    return None if row is None else float(row[0])


class Confirmations:
    """Applies what is confirmed while this process runs."""

    def __init__(self, pool: Pool, instance: str, clock: Confirmable) -> None:
        self._pool = pool
        self._instance = instance
        self._clock = clock
        self._told = trio.Event()
        self._told.set()  # one may have been written since the start took the last

    def changed(self, instance: str) -> None:
        """Take a notification of CLOCK_CHANNEL."""
        if instance == self._instance:
            self.wake()

    def wake(self) -> None:
        """Look again: something may have been confirmed."""
        self._told.set()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Apply confirmations, for ever."""

        async def make_round() -> float:
            with trio.move_on_after(PATIENCE_SECONDS):
                await self._told.wait()
            self._told = trio.Event()
            async with self._pool.connection() as connection:
                confirmed = await take(connection, self._instance)
            if confirmed is not None:
                self._clock.confirm(confirmed)
            return 0.0

        await every(PATIENCE_SECONDS, make_round, chore="clock confirmations", task_status=task_status)
