"""Devices never seen before: each becomes registered, PENDING, or refused, many in one transaction.

Enters: requests of the pipeline, from several of its batches at once. Leaves: a verdict for each, within ``max_wait``.
Never: a second row or a second seat for one device, whatever other processes do at the same moment; a change of a
device that is there.

One transaction takes its locks in the order that every change of seats keeps to (``appliance.devices.seats.changes``):
the advisory locks of the devices, ascending, and then a second look; all subscription rows of the tenants; device rows.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Any

import psycopg
import structlog
import trio

from appliance.backoff import Backoff
from appliance.clock import Clock
from appliance.db import statements
from appliance.db.audit import Actor, ActorKind, Entry, record
from appliance.db.locks import device_lock_key, lock_until_commit
from appliance.db.pool import Pool
from appliance.db.sqlstate import Failure, classify
from appliance.db.trio_psycopg import Connection
from appliance.devices.device import Device, DeviceStatus
from appliance.devices.registry.refusals import TOO_LATE, refusal_by_status
from appliance.devices.seats.allocator import SeatAllocator
from appliance.devices.seats.changes import LIMIT_CONSTRAINT, device_of, entry
from appliance.devices.site_ids import mentioned_site
from appliance.devices.sites import mention
from appliance.errors import ApplianceError, NoCapacity
from appliance.reading import Reason, Refusal
from appliance.runtime.activity import activity
from appliance.subscriptions import rows

MAX_DEVICES = 256
"""In one transaction."""
MAX_TICKETS = 64
"""Batches that may wait in the queue; others wait to enter it, within the same time."""
MAX_PENDING = 1000
"""Devices of one tenant that may wait for approval; beyond it, new ones are refused without a row."""
LOCK_TIMEOUT_MS = 500
"""Milliseconds that a holder of a tenant's rows (an import, a manual transaction) delays other tenants, each round."""
TRIES = 3
"""Of a transaction that ended in a deadlock, before it waits for the next round."""

LOCK_NOT_AVAILABLE = "55P03"
ROLLED_BACK = "40"
"""SQLSTATE class: a deadlock or a serialization failure, worth another try at once."""

STATEMENTS = statements.load("provisioning")
ACTOR = Actor("provisioning", ActorKind.APPLIANCE)

DeviceKey = tuple[str, str]
"""(tenant_id, device_id)"""

ProvisioningResult = Device | Refusal
"""The device, which is registered and ACTIVE, or why its messages are not accepted."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ProvisioningRequest:
    """A device that ingest does not know."""

    tenant_id: str
    device_id: str
    site: str | None = None
    """The site that its message names, by id or name; it belongs there from then on."""

    @property
    def key(self) -> DeviceKey:
        """(tenant_id, device_id)"""
        return self.tenant_id, self.device_id


@dataclass(frozen=True, slots=True)
class ProvisioningTenant:
    """What provisioning needs to know of a tenant."""

    tenant_id: str
    status: str
    strategy: str
    pending: int
    """The number of its devices that wait for approval."""


@dataclass(frozen=True, slots=True)
class UnseatedDevice:
    """A device row to insert: ACTIVE with a seat, or PENDING without."""

    request: ProvisioningRequest
    subscription_id: str | None

    @property
    def status(self) -> DeviceStatus:
        """Return ACTIVE for a device with a seat, else PENDING."""
        return DeviceStatus.PENDING if self.subscription_id is None else DeviceStatus.ACTIVE


def refusal_by_tenant(tenant_id: str, tenant: ProvisioningTenant | None) -> Refusal | None:
    """Return the refusal of all devices of the tenant, known or new; None if they are served."""
    if tenant is None:
        return Refusal(Reason.UNKNOWN_TENANT, f"there is no tenant {tenant_id}")
    if tenant.status != "ACTIVE":
        return Refusal(Reason.TENANT_SUSPENDED, f"tenant {tenant_id} is suspended")
    return None


def seat_new_devices(
    requests: Iterable[ProvisioningRequest],
    tenants: Mapping[str, ProvisioningTenant],
    allocators: Mapping[str, SeatAllocator],
) -> tuple[list[UnseatedDevice], dict[DeviceKey, ProvisioningResult]]:
    """Decide on ``requests`` of unregistered devices: return the rows to insert, and the refusals of the others."""
    new_devices: list[UnseatedDevice] = []
    refused: dict[DeviceKey, ProvisioningResult] = {}
    room = {tenant_id: MAX_PENDING - tenant.pending for tenant_id, tenant in tenants.items()}
    for request in requests:
        tenant = tenants[request.tenant_id]
        if tenant.strategy == "auto":
            try:
                new_devices.append(UnseatedDevice(request, allocators[request.tenant_id].take()))
            except NoCapacity as error:
                refused[request.key] = Refusal(Reason.NO_SUBSCRIPTION_CAPACITY, str(error))
        elif tenant.strategy == "off":
            refused[request.key] = Refusal(Reason.UNREGISTERED_DEVICE, "the tenant registers its devices by hand")
        elif room[request.tenant_id] > 0:
            room[request.tenant_id] -= 1
            new_devices.append(UnseatedDevice(request, None))
        else:
            detail = f"{MAX_PENDING} devices of the tenant wait for approval already"
            refused[request.key] = Refusal(Reason.UNREGISTERED_DEVICE, detail)
    return new_devices, refused


async def provision_once(
    connection: Connection[Any],
    requests: Sequence[ProvisioningRequest],
    *,
    now: datetime,
    settled: datetime,
    grace: timedelta,
) -> dict[DeviceKey, ProvisioningResult]:
    """Decide on ``requests`` in one transaction, at most MAX_DEVICES. Role ``appliance_ingest``, autocommit.

    Raises the errors of the database: 40xxx, and 55P03 when another transaction holds the locks, can be retried.
    """
    ordered = sorted({request.key: request for request in requests}.values(), key=lambda request: request.key)
    async with connection.transaction():
        await connection.execute(STATEMENTS["set_lock_timeout"], {"milliseconds": LOCK_TIMEOUT_MS})
        await lock_until_commit(connection, [device_lock_key(*request.key) for request in ordered])
        tenants = await _tenants(connection, ordered)
        refusals = {key: refusal_by_tenant(key[0], tenants.get(key[0])) for key in (request.key for request in ordered)}
        verdicts: dict[DeviceKey, ProvisioningResult] = {
            key: refusal for key, refusal in refusals.items() if refusal is not None
        }
        verdicts |= await _known(connection, [request for request in ordered if request.key not in verdicts])
        absent = [request for request in ordered if request.key not in verdicts]
        if absent:
            verdicts |= await _admit(connection, absent, tenants, now, settled, grace)
    return verdicts


async def _admit(
    connection: Connection[Any],
    requests: Sequence[ProvisioningRequest],
    tenants: Mapping[str, ProvisioningTenant],
    now: datetime,
    settled: datetime,
    grace: timedelta,
) -> dict[DeviceKey, ProvisioningResult]:
    """Insert the accepted devices, with their seats and audit rows."""
    seating = {request.tenant_id for request in requests if tenants[request.tenant_id].strategy == "auto"}
    owned = groupby(await rows.lock(connection, seating), key=lambda row: row.tenant_id) if seating else ()
    allocators = {tenant_id: SeatAllocator([], settled, grace=grace) for tenant_id in seating}
    allocators |= {tenant_id: SeatAllocator(list(group), settled, grace=grace) for tenant_id, group in owned}
    # A person registers a device without its advisory lock. Whoever did so while we waited for the subscriptions has
    # left it there, perhaps on the last seat; where no seat is asked for, the INSERT finds it in its way.
    verdicts = await _known(connection, requests) if seating else {}
    absent = [request for request in requests if request.key not in verdicts]
    new_devices, refused = seat_new_devices(absent, tenants, allocators)
    made = await _insert(connection, new_devices, now)
    await record(connection, *map(_entry, made), now=now)
    verdicts |= refused | {(device.tenant_id, device.device_id): refusal_by_status(device) for device in made}
    rest = [new_device.request for new_device in new_devices if new_device.request.key not in verdicts]
    return verdicts | (await _known(connection, rest) if rest else {})


async def _tenants(
    connection: Connection[Any], requests: Iterable[ProvisioningRequest]
) -> dict[str, ProvisioningTenant]:
    parameters = {"tenants": sorted({request.tenant_id for request in requests})}
    cursor = await connection.execute(STATEMENTS["select_tenants"], parameters)
    return {row[0]: ProvisioningTenant(*row) for row in await cursor.fetchall()}


async def _known(
    connection: Connection[Any], requests: Sequence[ProvisioningRequest]
) -> dict[DeviceKey, ProvisioningResult]:
    """Return the verdicts on devices that are registered."""
    parameters = {
        "tenants": [request.tenant_id for request in requests],
        "devices": [request.device_id for request in requests],
    }
    cursor = await connection.execute(STATEMENTS["select_devices"], parameters)
    return {
        (device.tenant_id, device.device_id): refusal_by_status(device)
        for device in map(device_of, await cursor.fetchall())
    }


async def _insert(connection: Connection[Any], new_devices: Sequence[UnseatedDevice], now: datetime) -> list[Device]:
    if not new_devices:
        return []
    sites = [new_device.request.site for new_device in new_devices]
    parameters = {
        "tenants": [new_device.request.tenant_id for new_device in new_devices],
        "devices": [new_device.request.device_id for new_device in new_devices],
        "statuses": [new_device.status.value for new_device in new_devices],
        "subscriptions": [new_device.subscription_id for new_device in new_devices],
        "sites": [None if site is None else mentioned_site(site).site_id for site in sites],
        "now": now,
    }
    tenants = [new_device.request.tenant_id for new_device in new_devices]
    await mention(connection, zip(tenants, sites, strict=True), now)
    cursor = await connection.execute(STATEMENTS["insert_devices"], parameters)
    return [device_of(row) for row in await cursor.fetchall()]


def _entry(device: Device) -> Entry:
    return entry(ACTOR, "announce", None, device)


@dataclass(slots=True, eq=False)
class _Ticket:
    """The requests of one caller. ``undecided`` shrinks as ``verdicts`` grow."""

    undecided: dict[DeviceKey, ProvisioningRequest]
    deadline: float
    verdicts: dict[DeviceKey, ProvisioningResult] = field(default_factory=dict)
    error: Exception | None = None
    done: trio.Event = field(default_factory=trio.Event)

    def settle(self, verdicts: Mapping[DeviceKey, ProvisioningResult]) -> None:
        """Take the verdicts on this ticket; the last one lets the caller go on."""
        for key in self.undecided.keys() & verdicts.keys():
            self.verdicts[key] = verdicts[key]
            del self.undecided[key]
        if not self.undecided:
            self.done.set()

    def fail(self, error: Exception) -> None:
        """End the wait of the caller with an error."""
        self.error = error
        self.done.set()


class Provisioner:
    """The one task of a process that decides on new devices, for as many callers as there are.

    It works in rounds over all who wait. A tenant whose rows somebody holds is put off to the next round, so that the
    others wait for it no longer than LOCK_TIMEOUT_MS.
    """

    def __init__(self, pool: Pool, *, grace: timedelta, max_wait: float, clock: Clock) -> None:
        """``max_wait`` is in seconds; see :meth:`provision`."""
        self._pool = pool
        self._grace = grace
        self._max_wait = max_wait
        self._clock = clock
        self._send, self._receive = trio.open_memory_channel[_Ticket](MAX_TICKETS)

    async def provision(self, requests: Iterable[ProvisioningRequest]) -> dict[DeviceKey, ProvisioningResult]:
        """Return a verdict for each of ``requests``, within ``max_wait`` seconds; undecided ones are TOO_LATE.

        Raises psycopg.Error (PoolTimeout is one) or OSError when the database cannot be reached: then nothing is
        known, and the batch is held and tried again.
        """
        wanted = {request.key: request for request in requests}
        ticket = _Ticket(dict(wanted), trio.current_time() + self._max_wait)
        ticket.settle({})
        with trio.move_on_at(ticket.deadline):
            if wanted:
                await self._send.send(ticket)
            await ticket.done.wait()
        if ticket.error is not None:
            raise ticket.error
        return {key: ticket.verdicts.get(key, TOO_LATE) for key in wanted}

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve callers for ever. Raises ApplianceError when the schema is not what this program expects."""
        task_status.started()
        backoff = Backoff(first=0.02, maximum=0.2, jitter=0.9)
        waiting: list[_Ticket] = []
        while True:
            if waiting:
                await trio.sleep(backoff.next())
            else:
                backoff.reset()
                activity().doing("waits for a new device")
                waiting.append(await self._receive.receive())
            while len(waiting) < MAX_TICKETS:
                try:
                    waiting.append(self._receive.receive_nowait())
                except trio.WouldBlock:
                    break
            activity().doing("registers new devices")
            await self._round(waiting)
            activity().did()
            now = trio.current_time()
            waiting = [ticket for ticket in waiting if not ticket.done.is_set() and ticket.deadline > now]

    async def _round(self, tickets: Sequence[_Ticket]) -> None:
        """Decide on the requests of ``tickets``, as far as it can be decided now."""
        wanted: dict[DeviceKey, ProvisioningRequest] = {}
        for ticket in reversed(tickets):
            wanted |= ticket.undecided
        ordered = [wanted[key] for key in sorted(wanted)]
        with trio.move_on_at(max(ticket.deadline for ticket in tickets)):
            try:
                for start in range(0, len(ordered), MAX_DEVICES):
                    verdicts = await self._decide(ordered[start : start + MAX_DEVICES])
                    for ticket in tickets:
                        ticket.settle(verdicts)
            except (psycopg.Error, OSError) as error:  # the database, not the devices
                log.warning("new devices wait for the database", devices=len(wanted), error=str(error).strip())
                for ticket in tickets:
                    if not ticket.done.is_set():
                        ticket.fail(error)

    async def _decide(self, requests: Sequence[ProvisioningRequest]) -> dict[DeviceKey, ProvisioningResult]:
        """Return the verdicts of one transaction, retried or split as its failures require.

        Devices that cannot be decided now are left out.
        """
        for _ in range(TRIES):
            try:
                return await self._try(requests)
            except psycopg.Error as error:
                state = error.sqlstate or ""
                if state == LOCK_NOT_AVAILABLE:
                    tenants = [list(group) for _, group in groupby(requests, key=lambda request: request.tenant_id)]
                    return await self._apart(tenants) if len(tenants) > 1 else {}
                if not state.startswith(ROLLED_BACK):
                    return await self._isolate(requests, error)
        return {}

    async def _isolate(
        self, requests: Sequence[ProvisioningRequest], error: psycopg.Error
    ) -> dict[DeviceKey, ProvisioningResult]:
        """Act on ``error``: stop, wait, or find the one device that the database refuses."""
        failure = classify(error)
        if failure is Failure.STOP:
            raise ApplianceError(
                f"the database rejected a statement of the appliance: {error}; its schema is not the expected one. "
                "Run `appliance migrate`, or look for changes made by hand."
            ) from error
        if failure in (Failure.RETRY, Failure.RESOURCES):
            raise error
        if len(requests) == 1:
            return {requests[0].key: _refused_by_database(error)}
        middle = len(requests) // 2
        return await self._apart([requests[:middle], requests[middle:]])

    async def _apart(self, parts: Iterable[Sequence[ProvisioningRequest]]) -> dict[DeviceKey, ProvisioningResult]:
        """Decide on each part in a transaction of its own."""
        verdicts: dict[DeviceKey, ProvisioningResult] = {}
        for part in parts:
            verdicts |= await self._decide(part)
        return verdicts

    async def _try(self, requests: Sequence[ProvisioningRequest]) -> dict[DeviceKey, ProvisioningResult]:
        now, settled = (datetime.fromtimestamp(at, UTC) for at in (self._clock.now(), self._clock.settled()))
        # Less than the callers wait, so that they learn in time that the database is away, and hold their batches.
        async with self._pool.connection(timeout=self._max_wait * 0.8) as connection:
            verdicts = await provision_once(connection, requests, now=now, settled=settled, grace=self._grace)
        registered = sum(isinstance(verdict, Device) for verdict in verdicts.values())
        log.info("new devices decided", registered=registered, refused=len(verdicts) - registered)
        return verdicts


def _refused_by_database(error: psycopg.Error) -> Refusal:
    if error.diag.constraint_name == LIMIT_CONSTRAINT:
        return Refusal(Reason.NO_SUBSCRIPTION_CAPACITY, "the subscription has no free seat")
    return Refusal(Reason.STORE_REFUSED, f"{error.sqlstate}: {error.diag.message_primary or error}")
