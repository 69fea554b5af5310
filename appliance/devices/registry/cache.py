"""The registry cache: what admission asks of devices, tenants and their subscriptions, without a round trip.

Enters: keys of devices that send, and notifications of changes. Leaves: an :class:`AdmissionStatus` for each, positive
or negative. Bounded. Never wrong for long (P23): triggers notify every change that matters within the second; a status
ends by itself at the instant its subscription changes; after a lost LISTEN connection everything is forgotten. Safe
while it is read: entries are only added, dropped or marked, never changed half-way.
"""

import hashlib
import hmac
from collections.abc import Container, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import msgspec
import structlog

from appliance.clock import Clock
from appliance.db import statements
from appliance.db.pool import Pool
from appliance.db.trio_psycopg import Connection
from appliance.devices.device import Device, DeviceStatus
from appliance.devices.live.state import DeviceState
from appliance.devices.live.state_book import StateBook
from appliance.devices.registry.provisioning import (
    DeviceKey,
    ProvisioningRequest,
    ProvisioningResult,
)
from appliance.devices.registry.refusals import REFUSED_STATUSES, TOO_LATE
from appliance.devices.site_ids import mentioned_site
from appliance.devices.sites import mention
from appliance.reading import Reason, Refusal
from appliance.subscriptions import rows
from appliance.subscriptions.lifecycle import Subscription, SubscriptionStatus, changes_at, status_at, usable

REGISTRY_CHANNEL = "appliance_registry"
FOREVER = float("inf")
UNSURE_SECONDS = 0.5
"""Seconds for which a status counts that was read while something changed, since it may be the old one."""
MAX_TENANTS = 10_000

STATEMENTS = statements.load("registry")

log = structlog.get_logger(__name__)


class TenantRules:
    """A tenant in memory; ``known`` is False for one that does not exist. ``valid`` ends with a change.

    ``registered_at`` and ``allowance_full_at`` (of its limit; 0: nothing was noted) are as in ``DeviceState``.
    """

    __slots__ = (
        "active", "allowance_full_at", "claim_token_hash", "known", "registered_at", "subscriptions", "valid",
    )  # fmt: skip

    def __init__(
        self,
        *,
        known: bool,
        active: bool = False,
        claim_token_hash: bytes | None = None,
        subscriptions: Iterable[Subscription] = (),
        registered_at: int = 0,
        allowance_full_at: int = 0,
    ) -> None:
        self.known = known
        self.active = active
        self.claim_token_hash = claim_token_hash
        """SHA-256 of the claim password, None while there is none or the claim is off."""
        self.registered_at = registered_at
        self.allowance_full_at = allowance_full_at
        self.subscriptions = {row.subscription_id: row for row in subscriptions}
        self.valid = True


class AdmissionStatus:
    """What admission needs to know of a device. ``until``, in seconds since 1970, is when it must be read again."""

    __slots__ = (
        "previous_token_hash", "previous_token_until", "refusal", "registered", "site_id", "state", "tenant",
        "token_hash", "until",
    )  # fmt: skip

    def __init__(self, tenant: TenantRules, refusal: Refusal | None, until: float, *, registered: bool = False) -> None:
        self.tenant = tenant
        self.refusal = refusal
        """The refusal of its messages by checks 8 to 11; None if they are accepted."""
        self.until = until
        self.registered = registered
        self.site_id: str | None = None
        self.token_hash: bytes | None = None
        self.previous_token_hash: bytes | None = None
        self.previous_token_until = 0.0
        self.state: DeviceState | None = None

    def holds(self, now: float) -> bool:
        """Return whether this is still valid at ``now``."""
        return self.until > now and self.tenant.valid

    def accepts_token(self, token: str, now: float) -> bool:
        """Return whether ``token`` is the device's own; the previous one counts until its time is up."""
        digest = hashlib.sha256(token.encode()).digest()
        # Both are compared in any case, so that the time taken reveals nothing.
        own = hmac.compare_digest(digest, self.token_hash or b"")
        previous = hmac.compare_digest(digest, self.previous_token_hash or b"")
        return own or (previous and now < self.previous_token_until)


class Decides(Protocol):
    """Decides on devices that are not registered: :class:`appliance.devices.registry.provisioning.Provisioner`."""

    async def provision(self, requests: Iterable[ProvisioningRequest]) -> dict[DeviceKey, ProvisioningResult]:
        """Return a verdict for each request."""
        ...


class Registry:
    """The registry cache: at most ``capacity`` statuses; negative ones are kept for ``refusal_ttl`` seconds."""

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
        self._statuses: dict[DeviceKey, AdmissionStatus] = {}
        self._tenants: dict[str, TenantRules] = {}
        self._version = 0

    def __len__(self) -> int:
        return len(self._statuses)

    # Called by admission, for each message

    def get(self, key: DeviceKey, now: float) -> AdmissionStatus | None:
        """Return the status of a device if it is in memory and valid at ``now`` (seconds since 1970)."""
        status = self._statuses.get(key)
        if status is None or status.until <= now or not status.tenant.valid:
            return None
        return status

    def tenant(self, tenant_id: str) -> TenantRules | None:
        """Return the tenant in memory, or None if it must be read."""
        tenant = self._tenants.get(tenant_id)
        return tenant if tenant is not None and tenant.valid else None

    # Called for notifications of the database

    def changed(self, payload: str) -> None:
        """Take one notification of REGISTRY_CHANNEL; one that cannot be parsed makes the cache forget everything."""
        self._version += 1
        try:
            message = msgspec.json.decode(payload)
            for tenant_id, device_id in message.get("devices", ()):
                self._statuses.pop((tenant_id, device_id), None)
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
        self._statuses.clear()
        self._tenants.clear()

    def _drop_tenant(self, tenant_id: str) -> None:
        tenant = self._tenants.pop(tenant_id, None)
        if tenant is not None:
            tenant.valid = False  # and with it every status that depends on it

    # Read from the database

    async def resolve(
        self, wanted: Mapping[DeviceKey, str | None], unpaid: Container[DeviceKey] = ()
    ) -> dict[DeviceKey, AdmissionStatus]:
        """Return the status of each device of ``wanted`` (key -> site that a message names); provision new devices.

        Of the ``unpaid`` none is provisioned: no message of theirs has passed the limiter yet.
        Raises psycopg.Error when the database cannot be reached; then nothing is known, and the caller tries again.
        """
        version = self._version
        async with self._pool.connection() as connection:
            found = await self._load(connection, wanted)
            without_site = {
                key: site for key, site in wanted.items() if site and key in found and found[key].site_id is None
            }
            without_site = {key: site for key, site in without_site.items() if found[key].registered}
            if without_site:
                await self._adopt(connection, without_site)
                found |= await self._load(connection, without_site)
        new_devices = [
            ProvisioningRequest(*key, site)
            for key, site in wanted.items()
            if not found[key].registered and found[key].tenant.active and key not in unpaid
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
        self._keep(
            {key: status for key, status in found.items() if status.registered or key not in unpaid},
            unsure=version != self._version,
        )
        return found

    async def statuses(self, keys: Iterable[DeviceKey]) -> dict[DeviceKey, AdmissionStatus]:
        """Return the statuses of devices in the database now; nothing is provisioned, and nothing is cached."""
        async with self._pool.connection() as connection:
            return await self._load(connection, keys)

    async def authentic(self, key: DeviceKey, secret: str) -> bool:
        """Return whether ``secret`` is the device's own token or, for a device without one, the claim password.

        Nothing is provisioned. The time taken does not reveal why a secret was rejected.
        """
        now = self._clock.now()
        status = self.get(key, now)
        if status is None:
            version = self._version
            async with self._pool.connection() as connection:
                status = (await self._load(connection, [key]))[key]
            if status.registered:  # an unknown device is left to the provisioner
                self._keep({key: status}, unsure=version != self._version)
        own = status.accepts_token(secret, now)
        claim = hmac.compare_digest(
            hashlib.sha256(secret.encode()).digest(), status.tenant.claim_token_hash or b"\0" * 32
        )
        return own or (claim and status.token_hash is None and status.tenant.claim_token_hash is not None)

    async def authentic_claim(self, tenant_id: str, secret: str) -> bool:
        """Return whether ``secret`` is the tenant's claim password, and the claim is open."""
        tenant = self.tenant(tenant_id)
        if tenant is None:
            async with self._pool.connection() as connection:
                tenant = (await self._load_tenants(connection, [tenant_id]))[tenant_id]
        expected = tenant.claim_token_hash
        same = hmac.compare_digest(hashlib.sha256(secret.encode()).digest(), expected or b"\0" * 32)
        return same and expected is not None and tenant.active

    async def tenants(self, names: Iterable[str]) -> None:
        """Load tenants into memory, including that they do not exist."""
        async with self._pool.connection() as connection:
            await self._load_tenants(connection, names)

    def _refused(self, tenant: TenantRules, refusal: Refusal) -> AdmissionStatus:
        """Return a negative entry. What was decided too late is asked again with the next message."""
        now = self._clock.now()
        return AdmissionStatus(tenant, refusal, now if refusal is TOO_LATE else now + self._refusal_ttl)

    async def _load(self, connection: Connection[Any], keys: Iterable[DeviceKey]) -> dict[DeviceKey, AdmissionStatus]:
        ordered = sorted(keys)
        tenants = await self._load_tenants(connection, {tenant_id for tenant_id, _ in ordered})
        parameters = {"tenants": [key[0] for key in ordered], "devices": [key[1] for key in ordered]}
        cursor = await connection.execute(STATEMENTS["select_admission"], parameters)
        # Those of a tenant that is being deleted are not there any more than it is.
        devices = {(row[0], row[1]): row for row in await cursor.fetchall() if tenants[row[0]].known}
        await self._states.load(connection, devices)
        now = datetime.fromtimestamp(self._clock.settled(), UTC)
        statuses: dict[DeviceKey, AdmissionStatus] = {}
        for key in ordered:
            row = devices.get(key)
            if row is None:
                statuses[key] = self._refused(tenants[key[0]], _unknown_tenant(key[0], tenants[key[0]]))
            else:
                statuses[key] = self._status(tenants[key[0]], row, now)
                state = statuses[key].state = self._states.get(key)
                if state is not None:
                    state.registered_at = row[-1]
        return statuses

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

    def _status(self, tenant: TenantRules, row: Sequence[Any], now: datetime) -> AdmissionStatus:
        _, _, device_status, subscription_id, site_id, token_hash, previous_hash, previous_until, _ = row
        refusal, until = self._judge(tenant, DeviceStatus(device_status), subscription_id, now)
        status = AdmissionStatus(tenant, refusal, until, registered=True)
        status.site_id = site_id
        status.token_hash = token_hash
        status.previous_token_hash = previous_hash
        if previous_until is not None and previous_until > now:
            # While the clock is in doubt it ends as little as a term.
            status.previous_token_until = previous_until.timestamp() if self._clock.trusted else FOREVER
        return status

    def _judge(
        self, tenant: TenantRules, status: DeviceStatus, subscription_id: str | None, now: datetime
    ) -> tuple[Refusal | None, float]:
        """Apply checks 8, 10 and 11; return the refusal, and the instant at which it changes by itself."""
        if not tenant.active:
            return Refusal(Reason.TENANT_SUSPENDED, "the tenant is suspended"), FOREVER
        if status is not DeviceStatus.ACTIVE:
            return REFUSED_STATUSES[status], FOREVER
        subscription = tenant.subscriptions.get(subscription_id or "")
        if subscription is None:  # changed between the two statements that read it: read again soon
            return None, self._clock.now() + UNSURE_SECONDS
        parent = tenant.subscriptions.get(subscription.parent_subscription_id or "")
        change = changes_at(subscription, now, parent=parent, grace=self._grace)
        # While the clock is in doubt no term ends; when that is over, everything is forgotten.
        until = FOREVER if change is None or not self._clock.trusted else change.timestamp()
        worth = status_at(subscription, now, parent=parent, grace=self._grace)
        if usable(worth):
            return None, until
        reason = Reason.SUBSCRIPTION_EXPIRED if worth is SubscriptionStatus.EXPIRED else Reason.SUBSCRIPTION_SUSPENDED
        return Refusal(reason, f"{subscription.subscription_id} is {worth.value}"), until

    async def _adopt(self, connection: Connection[Any], sites: Mapping[DeviceKey, str]) -> None:
        ordered = sorted(sites)
        now = datetime.fromtimestamp(self._clock.now(), UTC)
        parameters = {
            "tenants": [key[0] for key in ordered],
            "devices": [key[1] for key in ordered],
            "sites": [mentioned_site(sites[key]).site_id for key in ordered],
            "now": now,
        }
        await mention(connection, [(key[0], sites[key]) for key in ordered], now)
        await connection.execute(STATEMENTS["adopt_sites"], parameters)

    def _keep(self, found: Mapping[DeviceKey, AdmissionStatus], *, unsure: bool) -> None:
        soon = self._clock.now() + UNSURE_SECONDS
        for key, status in found.items():
            if unsure and status.until > soon:
                status.until = soon
            self._statuses.pop(key, None)
            self._statuses[key] = status
        for key in list(self._statuses)[: max(0, len(self._statuses) - self._capacity)]:
            del self._statuses[key]


def _tenant(row: Sequence[Any] | None, subscriptions: Sequence[Subscription]) -> TenantRules:
    if row is None:
        return TenantRules(known=False)
    _, status, claim_enabled, claim_token_hash, registered_at, allowance_full_at = row
    return TenantRules(
        known=True,
        active=status == "ACTIVE",
        claim_token_hash=claim_token_hash if claim_enabled else None,
        subscriptions=subscriptions,
        registered_at=registered_at,
        allowance_full_at=allowance_full_at or 0,
    )


def _unknown_tenant(tenant_id: str, tenant: TenantRules) -> Refusal:
    """Return the refusal of a device that is not registered, before the provisioner is asked."""
    if not tenant.known:
        return Refusal(Reason.UNKNOWN_TENANT, f"there is no tenant {tenant_id}")
    if not tenant.active:
        return Refusal(Reason.TENANT_SUSPENDED, "the tenant is suspended")
    return Refusal(Reason.UNREGISTERED_DEVICE, "the device is not registered")
