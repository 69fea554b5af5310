"""Hours of devices in which readings were stored: marked, so that they are rolled up anew (``appliance.history``).

Marked hours are written with the states of devices, a second behind their readings at most. Nearly all readings fall
into the present hour, which needs one mark a device: it is due when the hour is over, so one mark stands
for all that follow in it. Any other hour is marked whenever a reading falls into it, for a mark set before may be gone
by now.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from appliance.db import statements
from appliance.db.pool import Pool

HOUR = 3600 * 1_000_000
"""Microseconds."""
MAX_KNOWN = 200_000
"""Devices remembered as marked in the present hour; past that they are marked again, which costs a row each."""

HourKey = tuple[str, str]


class RollupOwner(Protocol):
    """Whose reading it is: :class:`appliance.devices.live.state.DeviceState`."""

    tenant_id: str
    device_id: str


class DatedReading(Protocol):
    """A stored reading: :class:`appliance.ingest.batch.Reading`."""

    @property
    def state(self) -> RollupOwner:
        """Its device."""
        ...

    @property
    def ts(self) -> int:
        """Its time, in microseconds since 1970 UTC."""
        ...


class RollupQueue:
    """The marks that are to be written."""

    def __init__(self) -> None:
        self._hour = 0
        self._known: set[HourKey] = set()
        self._due: dict[tuple[str, str, int], None] = {}
        self._writing: list[tuple[str, str, int]] = []

    def stored(
        self,
        readings: Sequence[DatedReading],
        span: tuple[int, int] | None,
        talking: Iterable[RollupOwner],
        now: int,
        unwritten: Callable[[], Iterable[RollupOwner]],
    ) -> None:
        """``readings``, all within ``span``, were committed; ``talking`` are their devices that did not talk before.

        In a new hour all devices count whose state is ``unwritten``: they talk on without being told.
        """
        if not readings or span is None:
            return
        hour = now - now % HOUR
        if hour != self._hour:
            self._hour = hour
            self._known.clear()
            talking = unwritten()
        for owner in talking:
            key = (owner.tenant_id, owner.device_id)
            if key not in self._known:
                if len(self._known) >= MAX_KNOWN:
                    self._known.clear()
                self._known.add(key)
                self._due[*key, hour] = None
        if span[0] < hour or span[1] >= hour + HOUR:
            for reading in readings:
                own = reading.ts - reading.ts % HOUR
                if own != hour:
                    self._due[reading.state.tenant_id, reading.state.device_id, own] = None

    def take(self) -> None:
        """Those due now are being written; ``written`` or ``give_back`` says how it ended."""
        self._writing += self._due
        self._due = {}

    def rows(self) -> list[tuple[str, str, int]]:
        """Tenant, device and hour (microseconds since 1970 UTC) of the marks that are being written."""
        return self._writing

    def written(self) -> None:
        """They were written."""
        self._writing = []

    def give_back(self) -> None:
        """They were not."""
        self._due = dict.fromkeys(self._writing) | self._due
        self._writing = []


async def rebuild_rollup_queue(pool: Pool, instance: str) -> int:
    """Mark what this instance stored after it last wrote marks; how many hours of devices those were."""
    async with pool.connection() as connection:
        cursor = await connection.execute(statements.load("devices")["rebuild_rollup_queue"], {"instance": instance})
        return max(cursor.rowcount, 0)
