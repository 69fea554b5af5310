"""The registry cache: what admission asks of devices, tenants and their subscriptions, without a round trip.

Enters: keys of devices that send, and notifications of changes. Leaves: an :class:`AdmissionStatus` for each, positive
or negative. Bounded. Never wrong for long (P23): triggers notify every change that matters within the second; a status
ends by itself at the instant its subscription changes; after a lost LISTEN connection everything is forgotten. Safe
while it is read: entries are only added, dropped or marked, never changed half-way.
"""

import hashlib
import hmac
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import msgspec
import structlog

from appliance.clock import Clock
from appliance.db import statements
from appliance.db.pool import Pool
from appliance.db.trio_psycopg import Connection
from appliance.devices.device import Device, DeviceStatus
from appliance.devices.live.state import DeviceState, StateBook
from appliance.devices.registry.provisioning import (
    REFUSED_STATUSES,
    TOO_LATE,
    DeviceKey,
    ProvisioningRequest,
    ProvisioningResult,
)
from appliance.reading import Reason, Refusal
from appliance.subscriptions import rows
from appliance.subscriptions.lifecycle import Status, Subscription, changes_at, status_at, usable

REGISTRY_CHANNEL = "appliance_registry"
FOREVER = float("inf")
UNSURE_SECONDS = 0.5
"""How long a standing counts that was read while something changed: it may be the old one, but not for a second."""
MAX_TENANTS = 10_000

STATEMENTS = statements.load("registry")

log = structlog.get_logger(__name__)


class TenantRules:
    """What is remembered of a tenant; ``known`` is False for one that is not there. ``valid`` ends with a change."""

    __slots__ = ("active", "claim_token_hash", "known", "subscriptions", "valid")

    def __init__(
        self,
        *,
        known: bool,
        active: bool = False,
        claim_token_hash: bytes | None = None,
        subscriptions: Iterable[Subscription] = (),
    ) -> None:
        self.known = known
        self.active = active
        self.claim_token_hash = claim_token_hash
        """SHA-256 of the claim password, None while there is none or the claim is off."""
        self.subscriptions = {row.subscription_id: row for row in subscriptions}
        self.valid = True


class AdmissionStatus:
    """What admission needs to know of a device. ``until`` is in seconds since 1970: then it is judged anew."""

    __slots__ = (
        "previous_token_hash", "previous_token_until", "refusal", "registered", "site_id", "state", "tenant",
        "token_hash", "until",
    )  # fmt: skip

    def __init__(self, tenant: TenantRules, refusal: Refusal | None, until: float, *, registered: bool = False) -> None:
        self.tenant = tenant
        self.refusal = refusal
        """Why its messages are not accepted, by checks 8 to 11; None: they are."""
        self.until = until
        self.registered = registered
        self.site_id: str | None = None
        self.token_hash: bytes | None = None
        self.previous_token_hash: bytes | None = None
        self.previous_token_until = 0.0
        self.state: DeviceState | None = None

    def holds(self, now: float) -> bool:
        """Whether this may still be believed."""
        return self.until > now and self.tenant.valid

    def accepts_token(self, token: str, now: float) -> bool:
        """Whether ``token`` is the device's own; the one before a rotation counts until its time is up."""
        digest = hashlib.sha256(token.encode()).digest()
        # Both are compared, whatever the first says: the time taken tells nothing.
        own = hmac.compare_digest(digest, self.token_hash or b"")
        previous = hmac.compare_digest(digest, self.previous_token_hash or b"")
        return own or (previous and now < self.previous_token_until)


class Decides(Protocol):
    """Who decides on devices that are not registered: :class:`appliance.devices.registry.provisioning.Provisioner`."""

    async def provision(self, requests: Iterable[ProvisioningRequest]) -> dict[DeviceKey, ProvisioningResult]:
        """A verdict for each."""
        ...


class Registry:
    """See the module's docstring. ``capacity`` bounds the standings; ``refusal_ttl`` is in seconds."""

    def __init__(
        self,
        pool: Pool,
        states: StateBook,
        provisioner: Decides,
        clock: Clock,
        *,
        capacity: int,
        refusal_ttl: float,
        grace: timedelta,
    ) -> None:
        self._pool = pool
        self._states = states
        self._provisioner = provisioner
        self._clock = clock
        self._capacity = capacity
        self._refusal_ttl = refusal_ttl
        self._grace = grace
        self._standings: dict[DeviceKey, AdmissionStatus] = {}
        self._tenants: dict[str, TenantRules] = {}
        self._version = 0

    def __len__(self) -> int:
        return len(self._standings)

    # Asked by admission, a message at a time

    def get(self, key: DeviceKey, now: float) -> AdmissionStatus | None:
        """The standing of a device, if it is in memory and still holds at ``now`` (seconds since 1970)."""
        standing = self._standings.get(key)
        if standing is None or standing.until <= now or not standing.tenant.valid:
            return None
        return standing

    def tenant(self, tenant_id: str) -> TenantRules | None:
        """What is remembered of a tenant, or None if it must be asked for."""
        tenant = self._tenants.get(tenant_id)
        return tenant if tenant is not None and tenant.valid else None

    # Told by the database

    def changed(self, payload: str) -> None:
        """Take one notification of REGISTRY_CHANNEL; what cannot be understood forgets everything."""
        self._version += 1
        try:
            message = msgspec.json.decode(payload)
            for tenant_id, device_id in message.get("devices", ()):
                self._standings.pop((tenant_id, device_id), None)
            for tenant_id in message.get("tenants", ()):
                self._drop_tenant(tenant_id)
            if message.get("all"):
                self.forget()
        except (msgspec.DecodeError, AttributeError, TypeError, ValueError):
            log.warning("a notification that is not understood", payload=payload[:200])
            self.forget()

    def forget(self) -> None:
        """Drop everything: changes may have been missed."""
        self._version += 1
        for tenant in self._tenants.values():
            tenant.valid = False
        self._standings.clear()
        self._tenants.clear()

    def _drop_tenant(self, tenant_id: str) -> None:
        tenant = self._tenants.pop(tenant_id, None)
        if tenant is not None:
            tenant.valid = False  # and with it every standing that leans on it

    # Read from the database

    async def resolve(self, wanted: Mapping[DeviceKey, str | None]) -> dict[DeviceKey, AdmissionStatus]:
        """A standing for each device of ``wanted`` (key -> site that a message names), new devices provisioned.

        Raises psycopg.Error when the database cannot be had; then nothing is known, and it is to be tried again.
        """
        version = self._version
        async with self._pool.connection() as connection:
            found = await self._load(connection, wanted)
            homeless = {
                key: site for key, site in wanted.items() if site and key in found and found[key].site_id is None
            }
            homeless = {key: site for key, site in homeless.items() if found[key].registered}
            if homeless:
                await self._adopt(connection, homeless)
                found |= await self._load(connection, homeless)
        new_devices = [
            ProvisioningRequest(*key, site)
            for key, site in wanted.items()
            if not found[key].registered and found[key].tenant.active
        ]
        if new_devices:
            verdicts = await self._provisioner.provision(new_devices)
            registered = [key for key, verdict in verdicts.items() if isinstance(verdict, Device)]
            if registered:
                async with self._pool.connection() as connection:
                    found |= await self._load(connection, registered)
            for key, verdict in verdicts.items():
                if isinstance(verdict, Refusal):
                    found[key] = self._refused(found[key].tenant, verdict)
        self._keep(found, unsure=version != self._version)
        return found

    async def standings(self, keys: Iterable[DeviceKey]) -> dict[DeviceKey, AdmissionStatus]:
        """How devices stand in the database now; nothing is provisioned, and nothing is kept."""
        async with self._pool.connection() as connection:
            return await self._load(connection, keys)

    async def authentic(self, key: DeviceKey, secret: str) -> bool:
        """Whether ``secret`` is the device's own token or, of a device without one, its tenant's claim password.

        Nothing is provisioned. The time taken does not tell which of the reasons for a no it was.
        """
        now = self._clock.wall()
        standing = self.get(key, now)
        if standing is None:
            version = self._version
            async with self._pool.connection() as connection:
                standing = (await self._load(connection, [key]))[key]
            if standing.registered:  # a stranger is the provisioner's to judge, once it has shown the claim password
                self._keep({key: standing}, unsure=version != self._version)
        own = standing.accepts_token(secret, now)
        claim = hmac.compare_digest(
            hashlib.sha256(secret.encode()).digest(), standing.tenant.claim_token_hash or b"\0" * 32
        )
        return own or (claim and standing.token_hash is None and standing.tenant.claim_token_hash is not None)

    async def authentic_claim(self, tenant_id: str, secret: str) -> bool:
        """Whether ``secret`` is the tenant's claim password, and the claim is open."""
        tenant = self.tenant(tenant_id)
        if tenant is None:
            async with self._pool.connection() as connection:
                tenant = (await self._load_tenants(connection, [tenant_id]))[tenant_id]
        expected = tenant.claim_token_hash
        same = hmac.compare_digest(hashlib.sha256(secret.encode()).digest(), expected or b"\0" * 32)
        return same and expected is not None and tenant.active

    async def tenants(self, names: Iterable[str]) -> None:
        """Bring tenants into memory, those that are not there as such."""
        async with self._pool.connection() as connection:
            await self._load_tenants(connection, names)

    def _refused(self, tenant: TenantRules, refusal: Refusal) -> AdmissionStatus:
        """A negative entry. What came too late is asked again with the next message."""
        now = self._clock.wall()
        return AdmissionStatus(tenant, refusal, now if refusal is TOO_LATE else now + self._refusal_ttl)

    async def _load(self, connection: Connection[Any], keys: Iterable[DeviceKey]) -> dict[DeviceKey, AdmissionStatus]:
        ordered = sorted(keys)
        tenants = await self._load_tenants(connection, {tenant_id for tenant_id, _ in ordered})
        parameters = {"tenants": [key[0] for key in ordered], "devices": [key[1] for key in ordered]}
        cursor = await connection.execute(STATEMENTS["select_standings"], parameters)
        devices = {(row[0], row[1]): row for row in await cursor.fetchall()}
        await self._states.load(connection, devices)
        now = datetime.fromtimestamp(self._clock.wall(), UTC)
        standings: dict[DeviceKey, AdmissionStatus] = {}
        for key in ordered:
            row = devices.get(key)
            if row is None:
                standings[key] = self._refused(tenants[key[0]], _unknown_tenant(key[0], tenants[key[0]]))
            else:
                standings[key] = self._standing(tenants[key[0]], row, now)
                standings[key].state = self._states.get(key)
        return standings

    async def _load_tenants(self, connection: Connection[Any], names: Iterable[str]) -> dict[str, TenantRules]:
        wanted = sorted(set(names))
        found = {name: tenant for name in wanted if (tenant := self.tenant(name)) is not None}
        missing = [name for name in wanted if name not in found]
        if missing:
            version = self._version
            async with connection.transaction():
                cursor = await connection.execute(STATEMENTS["select_tenants"], {"tenants": missing})
                known = {row[0]: row for row in await cursor.fetchall()}
                owned = await rows.select(connection, known)
            for name in missing:
                tenant = _tenant(known.get(name), [row for row in owned if row.tenant_id == name])
                tenant.valid = version == self._version
                found[name] = tenant
                if len(self._tenants) >= MAX_TENANTS:
                    self._drop_tenant(next(iter(self._tenants)))
                self._tenants[name] = tenant
        return found

    def _standing(self, tenant: TenantRules, row: Sequence[Any], now: datetime) -> AdmissionStatus:
        _, _, status, subscription_id, site_id, token_hash, previous_hash, previous_until = row
        refusal, until = self._judge(tenant, DeviceStatus(status), subscription_id, now)
        standing = AdmissionStatus(tenant, refusal, until, registered=True)
        standing.site_id = site_id
        standing.token_hash = token_hash
        standing.previous_token_hash = previous_hash
        standing.previous_token_until = previous_until.timestamp() if previous_until else 0.0
        return standing

    def _judge(
        self, tenant: TenantRules, status: DeviceStatus, subscription_id: str | None, now: datetime
    ) -> tuple[Refusal | None, float]:
        """Checks 8, 10 and 11, and the instant at which the answer changes by itself."""
        if not tenant.active:
            return Refusal(Reason.TENANT_SUSPENDED, "the tenant is suspended"), FOREVER
        if status is not DeviceStatus.ACTIVE:
            return REFUSED_STATUSES[status], FOREVER
        subscription = tenant.subscriptions.get(subscription_id or "")
        if subscription is None:  # read in two statements, and changed in between: soon again
            return None, now.timestamp() + UNSURE_SECONDS
        parent = tenant.subscriptions.get(subscription.parent_subscription_id or "")
        change = changes_at(subscription, now, parent=parent, grace=self._grace)
        until = FOREVER if change is None else change.timestamp()
        worth = status_at(subscription, now, parent=parent, grace=self._grace)
        if usable(worth):
            return None, until
        reason = Reason.SUBSCRIPTION_EXPIRED if worth is Status.EXPIRED else Reason.SUBSCRIPTION_SUSPENDED
        return Refusal(reason, f"{subscription.subscription_id} is {worth.value}"), until

    async def _adopt(self, connection: Connection[Any], sites: Mapping[DeviceKey, str]) -> None:
        ordered = sorted(sites)
        parameters = {
            "tenants": [key[0] for key in ordered],
            "devices": [key[1] for key in ordered],
            "sites": [sites[key] for key in ordered],
        }
        await connection.execute(STATEMENTS["adopt_sites"], parameters)

    def _keep(self, found: Mapping[DeviceKey, AdmissionStatus], *, unsure: bool) -> None:
        soon = self._clock.wall() + UNSURE_SECONDS
        for key, standing in found.items():
            if unsure and standing.until > soon:
                standing.until = soon
            self._standings.pop(key, None)
            self._standings[key] = standing
        for key in list(self._standings)[: max(0, len(self._standings) - self._capacity)]:
            del self._standings[key]


def _tenant(row: Sequence[Any] | None, subscriptions: Sequence[Subscription]) -> TenantRules:
    if row is None:
        return TenantRules(known=False)
    _, status, claim_enabled, claim_token_hash = row
    return TenantRules(
        known=True,
        active=status == "ACTIVE",
        claim_token_hash=claim_token_hash if claim_enabled else None,
        subscriptions=subscriptions,
    )


def _unknown_tenant(tenant_id: str, tenant: TenantRules) -> Refusal:
    """Of a device that is not registered, before the provisioner was asked."""
    if not tenant.known:
        return Refusal(Reason.UNKNOWN_TENANT, f"there is no tenant {tenant_id}")
    if not tenant.active:
        return Refusal(Reason.TENANT_SUSPENDED, "the tenant is suspended")
    return Refusal(Reason.UNREGISTERED_DEVICE, "the device is not registered")
