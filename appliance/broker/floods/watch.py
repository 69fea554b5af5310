"""Shuts out the users who flood the broker.

A device with a credential of its own is a user; all others of a tenant are its claim user: it is looked up who sends.
A tenant of which many devices are refused a little each is left alone, unless they are ids that nobody registered.
"""

from collections.abc import Collection, Sequence

import psycopg
import structlog
import trio

from appliance.broker.accounts import device_user
from appliance.broker.floods.meter import Flood, FloodMeter, Refused
from appliance.broker.floods.record import FloodCause, FloodRecord
from appliance.broker.retained.topics import Retained, RetainedTopics
from appliance.clock import Clock
from appliance.db.pool import Pool
from appliance.devices import topics as device_topics
from appliance.devices.device import DeviceStatus
from appliance.devices.registry.senders import Sender, senders_of
from appliance.devices.topics import DeviceTopic
from appliance.ingest.batch import Batch
from appliance.runtime.activity import activity

ROUND_SECONDS = 1.0
"""Seconds between two looks when nobody floods."""
LEAST_SECONDS = 0.1
"""Seconds between two looks at the least: each may be a query."""
QUERY_SECONDS = 2.0
"""Seconds that the database may take to say which devices there are."""
MAX_UNREGISTERED_TOPICS = 3000
"""Topics of devices that are not registered on which a tenant may leave copies within a minute: all kinds of 1,000
devices that wait for approval. A claim user can invent ids."""
MAX_UNREGISTERED_BYTES = 32 * 1024 * 1024
"""Bytes of copies of such devices that may wait to be cleared: a small part of what the broker may use."""
ACQUITTED_SECONDS = 10.0
"""Seconds for which a tenant that leaves many copies of registered devices is not looked at again, unless there are
MAX_UNREGISTERED_TOPICS more."""
MAX_JUDGED = 4 * MAX_UNREGISTERED_TOPICS
"""Topics of a tenant that are looked at, the newest."""
REGISTERED = frozenset(DeviceStatus) - {DeviceStatus.DECOMMISSIONED}

DeviceKey = tuple[str, str]

log = structlog.get_logger(__name__)


class FloodWatch:
    """Looks at what :meth:`admitted` is told of, and at the topics with retained copies."""

    def __init__(
        self, meter: FloodMeter, topics: RetainedTopics, pool: Pool, record: FloodRecord, clock: Clock
    ) -> None:
        self._meter = meter
        self._topics = topics
        self._pool = pool
        self._record = record
        self._clock = clock
        self._woken = trio.Event()
        self._acquitted: dict[str, tuple[float, int]] = {}
        """Tenant that leaves many copies -> until when that is fine, and how many topics it had."""

    def admitted(self, batch: Batch) -> None:
        """Take note of messages that the checks have refused: before their commit, which a flood delays."""
        if batch.refused and self._meter.note(batch.refused, self._clock.monotonic()):
            self._woken.set()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Look until cancelled."""
        task_status.started()
        while True:
            activity().doing("looks whether a user floods the broker")
            await trio.sleep(LEAST_SECONDS)
            with trio.move_on_after(ROUND_SECONDS):
                await self._woken.wait()
            self._woken = trio.Event()
            try:
                await self.look()
            except (psycopg.Error, OSError, trio.TooSlowError) as error:
                activity().failed(error)
            else:
                activity().did()

    async def look(self) -> None:
        """Judge whoever sends too much. Raises what a query raises while the database is away."""
        for flood in list(self._meter.floods()):
            await self._judge_flood(flood)
        now = self._clock.monotonic()
        suspects = {
            tenant_id: load.topics
            for tenant_id, load in self._topics.loads().items()
            if load.topics > MAX_UNREGISTERED_TOPICS or load.due > MAX_UNREGISTERED_BYTES
        }
        self._acquitted = {one: judged for one, judged in self._acquitted.items() if one in suspects}
        for tenant_id, topics in suspects.items():
            until, known = self._acquitted.get(tenant_id, (now, 0))
            if self._record.is_out(tenant_id) or (now < until and topics - known <= MAX_UNREGISTERED_TOPICS):
                continue
            if not await self._judge_retained(tenant_id):
                self._acquitted[tenant_id] = (now + ACQUITTED_SECONDS, topics)

    async def _judge_flood(self, flood: Flood) -> None:
        tenant_id, device_id = flood.tenant_id, flood.device_id
        if device_id is None:
            if not self._record.is_out(tenant_id) and await self._mostly_unregistered(tenant_id, flood.senders):
                what = f"{_amount(flood.refused)} of devices that are not registered were refused"
                self._record.catch(tenant_id, FloodCause.REFUSED, f"sent too much: {what}")
            return
        own_user = device_user(tenant_id, device_id)
        if self._record.is_out(own_user) or self._record.is_out(tenant_id):
            return
        sender = (await self._senders([(tenant_id, device_id)])).get((tenant_id, device_id))
        user = own_user if sender is not None and sender.has_credential else tenant_id
        what = f"sent too much: {_amount(flood.refused)} were refused"
        self._record.catch(user, FloodCause.REFUSED, what if user == own_user else f"{what}, of {device_id}")

    async def _mostly_unregistered(self, tenant_id: str, devices: Sequence[str]) -> bool:
        looked_at = [(tenant_id, one) for one in devices[-MAX_JUDGED:] if device_topics.valid_id(one)]
        known = await self._senders(looked_at)
        registered = sum(one.status in REGISTERED for one in known.values())
        return 2 * registered < len(devices[-MAX_JUDGED:])

    async def _judge_retained(self, tenant_id: str) -> bool:
        """Shut a claim user out that leaves too many copies; return whether it does."""
        found = self._topics.newest_of(tenant_id, MAX_JUDGED)
        devices: dict[str, DeviceKey] = {}
        for one in found:
            parsed = device_topics.parse(one.topic)
            if isinstance(parsed, DeviceTopic):
                devices[one.topic] = (parsed.tenant_id, parsed.device_id)
        known = await self._senders(devices.values())
        unregistered = [one for one in found if not _registered(known, devices, one)]
        if (
            len(unregistered) <= MAX_UNREGISTERED_TOPICS
            and sum(one.size for one in unregistered) <= MAX_UNREGISTERED_BYTES
        ):
            return False
        detail = f"left retained messages on {len(unregistered):,} topics of devices that are not registered"
        self._record.catch(tenant_id, FloodCause.RETAINED, detail)
        return True

    async def _senders(self, devices: Collection[DeviceKey]) -> dict[DeviceKey, Sender]:
        with trio.fail_after(QUERY_SECONDS):
            async with self._pool.connection() as connection:
                return await senders_of(connection, devices)


def _registered(known: dict[DeviceKey, Sender], devices: dict[str, DeviceKey], one: Retained) -> bool:
    device = devices.get(one.topic)
    sender = None if device is None else known.get(device)
    return sender is not None and sender.status in REGISTERED


def _amount(refused: Refused) -> str:
    return f"{refused.messages:,} messages with {refused.size // 1024:,} kB"
