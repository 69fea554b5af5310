"""MESSAGES_LOST: a device loses readings to a rate limit. One alert a device while it lasts, with their number.

Refused messages are counted exactly by tenant and reason; which devices they are of is known only while a batch is
written. So an observer of batches adds them up by device and writes them beside the readings, at most once a second: a
flood costs the stream one row a second and device. The first loss after a quiet second is in the transaction of its
batch; what a crash loses is the number of the last second.
"""

from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog

from appliance.alerts.alert import AlertType
from appliance.alerts.conditions.condition import Condition
from appliance.alerts.conditions.store import STATEMENTS
from appliance.db.pool import Pool
from appliance.db.trio_psycopg import Connection
from appliance.ingest.batch import MICROSECONDS, BatchOutcome
from appliance.reading import Reason
from appliance.severity import Severity

QUIET = timedelta(minutes=10)
"""Without a loss for as long, it is over."""
AHEAD = timedelta(minutes=10)
"""A loss that lies as far ahead was noted by a wrong clock."""
WRITE_INTERVAL = 1.0
"""Seconds between two writes of the stream."""
MAX_DEVICES = 10_000
"""Devices that lose messages within WRITE_INTERVAL and are counted; of further ones the next second tells."""

DeviceKey = tuple[str, str]

log = structlog.get_logger(__name__)


class LossObserver:
    """An observer of batches: counts the messages that devices lose to a limit."""

    name = "message losses"

    def __init__(self) -> None:
        self._pending: Counter[DeviceKey] = Counter()
        """Committed as refused, and not written yet."""
        self._written_at = 0

    @property
    def waiting(self) -> int:
        """Return the number of devices whose losses are not written yet."""
        return len(self._pending)

    def due(self, now: int) -> bool:
        """Return whether something is to be written and the interval has passed since the last write."""
        return bool(self._pending) and self._interval_passed(now)

    async def load(self, connection: Connection[Any], outcome: BatchOutcome) -> None:
        """Do nothing: what is not written yet is in memory."""

    def prepare(self, outcome: BatchOutcome, now: int) -> "LossWrite | None":
        """Count the losses of the batch; take all that are not written, if the interval has passed."""
        found = _losses(outcome)
        writes = self._interval_passed(now)
        if not found and not (writes and self._pending):
            return None
        return LossWrite(self, found, self._pending + found if writes else {}, now)

    def missed(self, outcome: BatchOutcome) -> None:
        """Count the losses of a batch that was committed without this observer."""
        self.committed(_losses(outcome), {}, 0)

    def shed(self, error: Exception) -> None:
        """Do nothing more: what is not written is written with a later batch."""
        log.debug("message losses wait for a later batch", error=str(error).strip())

    def committed(self, found: Mapping[DeviceKey, int], written: Mapping[DeviceKey, int], now: int) -> None:
        """Take note that losses were counted, and perhaps written."""
        if written:
            self._pending.clear()
            self._written_at = now
            return
        for key, lost in found.items():
            if key in self._pending or len(self._pending) < MAX_DEVICES:
                self._pending[key] += lost

    def _interval_passed(self, now: int) -> bool:
        """Return whether it is time for a write; a clock that was set back makes it time, too."""
        return not 0 <= now - self._written_at < WRITE_INTERVAL * MICROSECONDS


class LossWrite:
    """The losses that one try of a batch counts, and those that it writes."""

    __slots__ = ("_found", "_now", "_observer", "written")

    def __init__(
        self, observer: LossObserver, found: Mapping[DeviceKey, int], written: Mapping[DeviceKey, int], now: int
    ) -> None:
        self._observer = observer
        self._found = found
        self.written = written
        self._now = now

    async def write(self, connection: Connection[Any]) -> None:
        """Queue the statement, if it is time for one; its rows are in order of keys."""
        if not self.written:
            return
        keys = sorted(self.written)
        await connection.execute(
            STATEMENTS["add_losses"],
            {
                "tenants": [tenant_id for tenant_id, _ in keys],
                "devices": [device_id for _, device_id in keys],
                "lost": [self.written[key] for key in keys],
                "now": datetime.fromtimestamp(self._now / MICROSECONDS, UTC),
            },
        )

    def committed(self) -> None:
        """Tell the observer."""
        self._observer.committed(self._found, self.written, self._now)

    def given_back(self) -> None:
        """Do nothing: the observer does not know of it yet."""


def _losses(outcome: BatchOutcome) -> Counter[DeviceKey]:
    """Return how many messages of which devices a limit has refused."""
    return Counter(
        [
            (message.tenant_id, message.device_id)
            for message in outcome.refused
            if message.reason is Reason.RATE_LIMITED and message.tenant_id and message.device_id
        ]
    )


async def forget_losses(pool: Pool, now: datetime, *, trusted: bool) -> None:
    """Forget the losses that are over. While the clock is not ``trusted``, none is.

    In a transaction of its own: the stream adds to the same rows.
    """
    if trusted:
        async with pool.connection() as connection:
            await connection.execute(STATEMENTS["forget_losses"], {"since": now - QUIET, "until": now + AHEAD})


async def loss_conditions(connection: Connection[Any]) -> list[Condition]:
    """Return which devices lose messages."""
    cursor = await connection.execute(STATEMENTS["select_losses"])
    return [_condition(*row) for row in await cursor.fetchall()]


def _condition(
    tenant_id: str, device_id: str, site_id: str | None, title: str, lost: int, first_at: datetime
) -> Condition:
    return Condition(
        tenant_id,
        f"messages_lost:{device_id}",
        AlertType.MESSAGES_LOST,
        Severity.HIGH,
        f"{title} loses readings: it sends more than its limit allows",
        {"value": lost},
        site_id,
        device_id,
        count=lost,
        started_at=first_at,
    )
