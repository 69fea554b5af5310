"""Changes of tenants by operators, for pages and the API alike: one transaction each, then a wait for the broker.

A claim password that was created or revoked takes effect when the broker has applied the change.
"""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from appliance.db.trio_psycopg import Connection
from appliance.devices import tenants
from appliance.devices.credentials.broker_sync import CredentialChange, SyncStatus
from appliance.devices.tenants import IssuedClaim, Strategy, Tenant, TenantStatus
from appliance.subscriptions import rows as subscription_rows
from appliance.subscriptions.lifecycle import Subscription, usable
from appliance.subscriptions.statuses import as_of
from appliance.web.platform import Platform

Moment = Annotated[datetime, Meta(tz=True)]


class TenantChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What to change of a tenant; a member that is left out stays."""

    name: str | UnsetType | None = UNSET
    time_zone: str | UnsetType = UNSET
    provisioning: Strategy | UnsetType = UNSET
    rate: Annotated[float | UnsetType | None, Meta(description="Null: as configured.")] = UNSET
    burst: Annotated[int | UnsetType | None, Meta(description="Null: as configured.")] = UNSET
    tenant_rate: Annotated[float | UnsetType | None, Meta(description="0: no limit; null: as configured.")] = UNSET
    status: TenantStatus | UnsetType = UNSET
    claim_enabled: bool | UnsetType = UNSET
    version: Annotated[Moment | None, Meta(description="The version that was read: a stale one is a conflict.")] = None


@dataclass(frozen=True, slots=True)
class TenantOverview:
    """A tenant, and its subscriptions with their current status."""

    tenant: Tenant
    subscriptions: Sequence[Subscription]

    @property
    def seats_used(self) -> int:
        """Return the seats in use of the subscriptions that give seats now."""
        return sum(row.active_device_count for row in self.subscriptions if usable(row.status))

    @property
    def seats_limit(self) -> int:
        """Return all seats of the subscriptions that give seats now."""
        return sum(row.device_limit for row in self.subscriptions if usable(row.status))


@dataclass(frozen=True, slots=True)
class ClaimResult:
    """A claim user with its password, which is known only now, and whether the broker has applied it."""

    claim: IssuedClaim
    sync_status: SyncStatus


class TenantActions:
    """Changes of tenants by the current operator. Errors are those of ``appliance.devices.tenants``."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform

    async def list_page(
        self, *, search: str = "", status: TenantStatus | None = None, limit: int, after: str | None = None
    ) -> tuple[list[TenantOverview], str | None]:
        """Return at most ``limit`` tenants by id, and the last id of the page if more follow."""
        async with self._platform.access.reading() as connection:
            page = await tenants.list_page(connection, search=search, status=status, limit=limit + 1, after=after)
            overviews = await self._overviews(connection, page[:limit])
        return overviews, overviews[-1].tenant.tenant_id if len(page) > limit else None

    async def get(self, tenant_id: str) -> TenantOverview:
        """Return one tenant. Raises NotFound."""
        async with self._platform.access.reading() as connection:
            (overview,) = await self._overviews(connection, [await tenants.get(connection, tenant_id)])
        return overview

    async def add(self, tenant_id: str, name: str, time_zone: str, provisioning: Strategy) -> ClaimResult:
        """Add a tenant with an open claim user. Raises Invalid, which names the field; Conflict."""
        async with self._changing() as change:
            claim = await tenants.add(
                change.connection,
                tenant_id,
                self._platform.access.context(),
                name=name,
                provisioning=provisioning,
                time_zone=time_zone or "UTC",
            )
        return ClaimResult(claim, change.sync_status)

    async def change(self, tenant_id: str, wanted: TenantChange) -> SyncStatus:
        """Make all given changes, or none. Raises Invalid, which names the field; NotFound; Conflict."""
        async with self._changing() as change:
            connection = change.connection
            context, seen = self._platform.access.context(), await tenants.get(connection, tenant_id)
            name = seen.name if wanted.name is UNSET else wanted.name
            zone = seen.time_zone if wanted.time_zone is UNSET else wanted.time_zone
            # Without a version, the one just read counts, so that a change made in between is not overwritten.
            await tenants.describe(connection, tenant_id, name, zone, context, version=wanted.version or seen.version)
            limits = {
                field: value
                for field in ("rate", "burst", "tenant_rate")
                if (value := getattr(wanted, field)) is not UNSET
            }
            await tenants.set_limits(connection, tenant_id, replace(seen.limits, **limits), context)
            if wanted.provisioning is not UNSET:
                await tenants.set_provisioning(connection, tenant_id, wanted.provisioning, context)
            if wanted.status is not UNSET:
                step = tenants.suspend if wanted.status is TenantStatus.SUSPENDED else tenants.resume
                await step(connection, tenant_id, context)
            if wanted.claim_enabled in (UNSET, seen.claim_enabled):
                change.spare_broker()
            else:
                await tenants.set_claim(connection, tenant_id, context, enabled=wanted.claim_enabled is True)
        return change.sync_status

    async def rotate_claim(self, tenant_id: str) -> ClaimResult:
        """Replace the claim password; the old one stops working. Raises NotFound."""
        async with self._changing() as change:
            claim = await tenants.rotate_claim(change.connection, tenant_id, self._platform.access.context())
        return ClaimResult(claim, change.sync_status)

    async def _overviews(self, connection: Connection[Any], page: Sequence[Tenant]) -> list[TenantOverview]:
        access, grace = self._platform.access, self._platform.grace
        rows = await subscription_rows.select(connection, [tenant.tenant_id for tenant in page])
        owned: dict[str, list[Subscription]] = {}
        for row in as_of(rows, access.settled(), grace):
            owned.setdefault(row.tenant_id, []).append(row)
        return [TenantOverview(tenant, owned.get(tenant.tenant_id, [])) for tenant in page]

    def _changing(self) -> AbstractAsyncContextManager[CredentialChange]:
        """Return a transaction of the viewer that changes credentials."""
        return self._platform.access.changing_credentials()
