"""Shuts out the users who flood the broker.

A device with a credential of its own is a user; all others of a tenant are its claim user: it is looked up who sends.
A tenant of which many devices are refused a little each is left alone, unless they are ids that nobody registered: too
many of them, or more of each than the limits of a device allow. Devices with a mistake in what they send, or without a
seat, are not registered either, and must not shut out those that are.
"""

from collections.abc import Collection, Mapping, Sequence

import psycopg
import structlog
import trio

from appliance.broker.accounts import device_user
from appliance.broker.floods.meter import Flood, FloodMeter, Refused
from appliance.broker.floods.record import FloodCause, FloodRecord
from appliance.broker.retained.topics import Retained, RetainedTopics
from appliance.clock import Clock
from appliance.counted import counted
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
MAX_UNREGISTERED_DEVICES = MAX_UNREGISTERED_TOPICS // 3
"""Devices that are not registered and may be refused what their limits allow."""
MAX_ALLOWED_MESSAGES = 50_000
"""Messages of them all within a window: 500 devices at ten a second, a quarter of what the broker queues for all."""
MAX_ALLOWED_BYTES = 12 * 1024 * 1024
"""Bytes of them within a window, likewise."""
SPARED_SECONDS = 0.3
"""Seconds for which a tenant whose devices are refused a little each is not looked at again."""
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
        self._spared: dict[str, float] = {}
        """Tenant of which many devices are refused a little each -> until when that is fine."""

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
        now = self._clock.monotonic()
        self._spared = {tenant_id: until for tenant_id, until in self._spared.items() if now < until}
        for flood in list(self._meter.floods()):
            if flood.device_id is None:
                await self._judge_many(flood, now)
            else:
                await self._judge_device(flood, flood.device_id)
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

    async def _judge_many(self, flood: Flood, now: float) -> None:
        """Shut a claim user out that sends too much of devices that are not registered."""
        tenant_id = flood.tenant_id
        if self._record.is_out(tenant_id) or tenant_id in self._spared:
            return
        if await self._invents(tenant_id, flood.senders):
            what = f"{_amount(flood.refused)} of devices that are not registered were refused"
            self._record.catch(tenant_id, FloodCause.REFUSED, f"sent too much: {what}")
        else:
            self._spared[tenant_id] = now + SPARED_SECONDS

    async def _judge_device(self, flood: Flood, device_id: str) -> None:
        tenant_id = flood.tenant_id
        own_user = device_user(tenant_id, device_id)
        if self._record.is_out(own_user) or self._record.is_out(tenant_id):
            return
        sender = (await self._senders([(tenant_id, device_id)])).get((tenant_id, device_id))
        user = own_user if sender is not None and sender.has_credential else tenant_id
        what = f"sent too much: {_amount(flood.refused)} were refused"
        self._record.catch(user, FloodCause.REFUSED, what if user == own_user else f"{what}, of {device_id}")

    async def _invents(self, tenant_id: str, senders: Mapping[str, Refused]) -> bool:
        """Return whether most of these devices are not registered, and send more than such devices may."""
        newest = list(senders)[-MAX_JUDGED:]
        known = await self._senders([(tenant_id, one) for one in newest if device_topics.valid_id(one)])
        registered = {device for (_, device), one in known.items() if one.status in REGISTERED}
        unregistered = [senders[one] for one in newest if one not in registered]
        if len(unregistered) <= len(registered):
            return False
        total = _sum(unregistered)
        return (
            len(unregistered) > MAX_UNREGISTERED_DEVICES
            or total.messages > MAX_ALLOWED_MESSAGES
            or total.size > MAX_ALLOWED_BYTES
            or _sum([one.beyond(self._meter.allowed) for one in unregistered]).floods
        )

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


def _sum(all_refused: Sequence[Refused]) -> Refused:
    return Refused(sum(one.messages for one in all_refused), sum(one.size for one in all_refused))


def _amount(refused: Refused) -> str:
    return f"{counted(refused.messages, 'message')} with {refused.size // 1024:,} kB"
